"""Near files and families, as sketches propose and lineage judges them."""

from __future__ import annotations

import os
import shutil
import socket

import numpy as np
import pyarrow.parquet
import pytest

import steelyard
from steelyard.catalogs import kin


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of three steps, one with steps that are near, one with large ones; a copy; and a net of its own."""
    folder, random = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for run, size in (("near", 0.05), ("far", 0.6)):
        net = {"a.weight": random.normal(size=(48, 30)), "b.weight": random.normal(size=(20, 48))}
        for step in range(3):
            steelyard.save({name: array.astype("f4") for name, array in net.items()}, folder / f"{run}{step}.safetensors")
            net = {name: array + size * random.normal(size=array.shape) for name, array in net.items()}
    steelyard.save(steelyard.weights(folder / "far1.safetensors"), folder / "copy.npz")
    steelyard.save({"a.weight": random.normal(size=(48, 30)).astype("f4")}, folder / "apart.safetensors")
    return steelyard.catalog(folder, folder / "c.parquet")


def short(table):
    return [[os.path.basename(cell).partition(".")[0] if isinstance(cell, str) else cell for cell in row] for row in table]


def test_families_are_the_runs_with_the_verdicts_of_lineage(runs):
    rows = short(runs.families())
    members = [{row[1] for row in rows if row[0] == number} for number in (1, 2)]
    assert members == [{"copy", "far0", "far1", "far2"}, {"near0", "near1", "near2"}]
    assert len(rows) == 7
    judged = [row for row in rows if row[2] is not None]
    assert {row[4] for row in judged} == {"same origin", "same weights"}
    assert all(row[5] <= 1e-3 for row in judged if row[4] == "same origin")
    one, other = (os.path.join(os.path.dirname(runs.path), f"{name}.safetensors") for name in ("near0", "near1"))
    (pair,) = steelyard.lineage([one, other]).pairs
    assert [pair.distance] == [row[3] for row in judged if {row[1], row[2]} == {"near0", "near1"}]


def test_near_files_are_found_with_their_distance(runs):
    rows = short(runs.near())
    assert {name for row in rows for name in row[:2]} == {"near0", "near1", "near2"}
    assert all(0.01 < row[2] < 0.1 and row[3] == "same origin" for row in rows)


def test_an_estimate_opens_no_file_and_finds_the_same(runs, monkeypatch):
    exact = [row[:2] for row in short(runs.families())]
    monkeypatch.setattr(kin, "_judged", None)
    rows = runs.families(estimate=True)
    assert [row[:2] for row in short(rows)] == exact
    assert "no file was opened" in rows.note


def test_a_file_that_has_changed_is_no_relative(runs, tmp_path):
    for name in ("one", "two"):
        steelyard.save(
            steelyard.weights(os.path.join(os.path.dirname(runs.path), f"near{name == 'two':d}.safetensors")),
            tmp_path / f"{name}.npz",
        )
    found = steelyard.catalog(tmp_path, tmp_path / "c.parquet")
    assert len(found.families()) == 2
    steelyard.save({"w": np.ones(3)}, tmp_path / "two.npz")
    assert len(found.families()) == 0


def test_pairs_are_not_squared_in_a_large_family():
    base = np.random.default_rng(1).normal(size=(1, 1024))
    sketches = (base + 0.01 * np.random.default_rng(2).normal(size=(500, 1024))).astype("f4")
    ones, _ = kin._proposed(sketches, ["[2, 2]"] * 500)
    assert 499 <= len(ones) <= 500 * kin.BANDS * kin.NEXT / 8


def test_unrelated_weights_are_hardly_ever_proposed():
    sketches = np.random.default_rng(3).normal(size=(600, 1024)).astype("f4")
    ones, others = kin._proposed(sketches, ["[2, 2]"] * 600)
    assert len(ones) < 0.003 * 600 * 599 / 2
    assert not set(kin._proposed(np.repeat(sketches[:1], 2, axis=0), ["[1]", "[2]"])[0])
    assert all(one != other for one, other in zip(ones, others, strict=True))


def with_column(path, name, change):
    """Write a catalogue anew with a column of other values."""
    table = pyarrow.parquet.read_table(path)
    values = [change(value) for value in table.column(name).to_pylist()]
    at = table.schema.get_field_index(name)
    pyarrow.parquet.write_table(table.set_column(at, table.schema.field(at), pyarrow.array(values, table.schema.types[at])), path)


def test_no_url_that_a_catalogue_lists_is_requested(runs, tmp_path, monkeypatch):
    path = shutil.copy(runs.path, tmp_path / "c.parquet")
    with_column(path, "file", lambda file: f"https://example.org{file}")
    monkeypatch.setattr(socket, "create_connection", None)
    found = steelyard.catalog(path)
    assert {row[5].partition(" is ")[2] for row in found.near()} == {
        "a URL, and no URL in a file is requested; ask with an estimate"
    }
    assert len(found.families(estimate=True)) == len(runs.families(estimate=True))


@pytest.mark.parametrize(("name", "value"), [("stamp", "{"), ("stamp", "5"), ("sketch", None), ("digest", "x"), ("file", "/a\0")])
def test_what_a_catalogue_says_of_files_that_is_not_so_is_no_traceback(runs, tmp_path, name, value):
    path = shutil.copy(runs.path, tmp_path / "c.parquet")
    with_column(path, name, lambda _: value)
    found = steelyard.catalog(path)
    assert repr(found.near())
    assert repr(found.families())


def test_a_row_of_no_file_is_damage(runs, tmp_path):
    path = shutil.copy(runs.path, tmp_path / "c.parquet")
    with_column(path, "file", lambda _: None)
    with pytest.raises(steelyard.errors.FormatError, match="it has a row of no file"):
        steelyard.catalog(path)
