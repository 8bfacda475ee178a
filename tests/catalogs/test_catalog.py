"""The catalogue: what it says of weights and files, how it is updated, and what is asked of it."""

from __future__ import annotations

import os
import pickle
import random
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import steelyard
from steelyard.catalogs.rows import SEED, piece
from steelyard.core.readers import from_array
from steelyard.errors import FileMissingError, FormatError, MissingExtraError, ShapeError
from steelyard.runs.sketch import BLOCK, Signs, empty


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    made = tmp_path / "nets"
    (made / "deep").mkdir(parents=True)
    for name in ("a", "b"):
        net = {"fc.weight": random.normal(size=(8, 6)).astype("f4"), "fc.bias": np.zeros(8, "f4"), "steps": np.arange(3)}
        steelyard.save(net, made / f"{name}.safetensors")
    steelyard.save(steelyard.weights(made / "a.safetensors"), made / "deep" / "same.npz")
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        steelyard.save({"w": np.array([[1.0, np.nan], [np.inf, 0.0]])}, made / "nan.npz")
    (made / "bad.safetensors").write_text("cut off")
    return made


@pytest.fixture
def found(folder, tmp_path):
    return steelyard.catalog(folder, tmp_path / "c.parquet")


def test_a_weight_has_the_digest_and_the_statistics_that_the_measurements_give(found, folder):
    digest, stats = steelyard.digest(folder / "a.safetensors"), steelyard.stats(folder / "a.safetensors")
    asked = found.query("select * from weights where file like '%/a.safetensors'").to_records()
    assert {row["name"]: row["digest"] for row in asked} == digest.weights
    for row in asked:
        expected = stats[row["name"]].to_dict()
        assert {key: row[key] for key in ("shape", "dtype", "role", "min", "max", "mean", "std", "l2", "median", "zeros")} == {
            key: expected[key] for key in ("shape", "dtype", "role", "min", "max", "mean", "std", "l2", "median", "zeros")
        }
    assert found.query("select digest from files where file like '%/a.safetensors'").rows[0][0] == digest.whole


def test_a_sketch_is_that_of_a_run_with_this_weight_alone(found, folder):
    array = steelyard.weights(folder / "a.safetensors")["fc.weight"].numpy()
    expected = empty()
    Signs([array.size], SEED).add(expected, 0, 0, array.reshape(-1))
    ((sketch,),) = found.query("select sketch from weights where file like '%/a.safetensors' and name = 'fc.weight'").rows
    assert np.array_equal(np.array(sketch, "f4"), expected.astype("f4"))
    assert found.query("select sketch from weights where name = 'steps'").rows[0] == (None,)


def test_pieces_of_a_large_weight_have_the_sketch_and_the_digest_of_the_whole():
    numbers = np.random.default_rng(1).normal(size=3 * 2**22 + 5).astype("f4")
    weight = from_array("w", numbers)
    pieces = [piece("sha256", weight, start) for start in range(0, weight.size, 2**22)]
    expected, signs = empty(), Signs([weight.size], SEED)
    for block in range(-(-weight.size // BLOCK)):
        signs.add(expected, 0, block, numbers[block * BLOCK : (block + 1) * BLOCK])
    assert np.allclose(sum(each[2] for each in pieces), expected, rtol=1e-5, atol=1e-2)
    for each in pieces[1:]:
        pieces[0][1].merge(each[1])
    assert pieces[0][1].moments.mean == steelyard.stats({"w": numbers})["w"].mean


def test_a_file_has_its_format_totals_and_findings_or_its_error(found):
    rows = {os.path.basename(row["file"]): row for row in found.query("select * from files").to_records()}
    assert (rows["same.npz"]["format"], rows["same.npz"]["weights"], rows["same.npz"]["size"]) == ("numpy", 3, 59)
    assert [finding["rule"] for finding in rows["nan.npz"]["findings"]] == ["not-finite"]
    assert (rows["nan.npz"]["nan"], rows["nan.npz"]["inf"]) == (1, 1)
    assert rows["bad.safetensors"]["error_kind"] == "FormatError"
    assert rows["bad.safetensors"]["digest"] is None


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def test_what_loading_a_file_would_run_is_a_finding(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"w": np.ones(2), "x": Payload()}))
    found = steelyard.catalog(tmp_path, tmp_path / "c.parquet")
    ((what,),) = found.query(
        "select what from (select unnest(findings, recursive := true) from files) where severity = 'error'"
    ).rows
    assert "system" in what


def test_the_second_time_only_what_is_new_or_changed_is_read(folder, tmp_path, monkeypatch):
    out = tmp_path / "c.parquet"
    assert steelyard.catalog(folder, out).update[:4] == (5, 0, 0, 1)
    before = steelyard.catalog(out).query("select * from weights where file like '%/a.safetensors' order by name").rows
    steelyard.save({"w": np.ones(5)}, folder / "b.safetensors")
    (folder / "nan.npz").unlink()
    (folder / "bad.safetensors").unlink()
    steelyard.save({"w": np.ones(7)}, folder / "new.npz")
    found = steelyard.catalog(folder, out)
    assert found.update[:4] == (2, 2, 2, 0)
    assert found.query("select * from weights where file like '%/a.safetensors' order by name").rows == before
    assert found.query("select count(*) from files").rows == ((4,),)
    assert found.query("select name, size from weights where file like '%/b.safetensors'").rows == (("w", 5),)
    monkeypatch.setattr("steelyard.catalogs.rows.listed", None)  # nothing may be opened
    assert steelyard.catalog(folder, out).update[:4] == (0, 4, 0, 0)


def test_digests_by_another_algorithm_are_made_anew(folder, tmp_path):
    steelyard.catalog(folder, tmp_path / "c.parquet")
    found = steelyard.catalog(folder, tmp_path / "c.parquet", algorithm="blake3")
    assert found.update.kept == 0
    expected = steelyard.digest(folder / "a.safetensors", "blake3").whole
    assert found.query("select digest from files where file like '%/a.safetensors'").rows == ((expected,),)


def test_the_ready_questions(found, folder):
    (same,) = found.duplicates()
    assert [os.path.relpath(file, folder) for file in same[-1]] == ["a.safetensors", os.path.join("deep", "same.npz")]
    assert [(os.path.basename(row[0]), *row[1:]) for row in found.nonfinite()] == [("nan.npz", 1, 1, ["w"])]
    assert {row[0]: row[1] for row in found.formats()} == {"numpy": 2, "safetensors": 2, "(unreadable)": 1}
    weight = steelyard.weights(folder / "b.safetensors")["fc.weight"]
    assert [row[1] for row in found.holders(weight)] == ["fc.weight"]
    assert found.holders(weight.numpy()).rows == found.holders(steelyard.digest({"w": weight.numpy()}).weights["w"][:8]).rows
    assert len(found.holders(np.zeros(8, "f4"))) == 3


@pytest.mark.parametrize("name", ["it's [1]?*.parquet", "\u00fc \u200b.parquet"])
def test_a_catalogue_of_any_name_is_asked(folder, tmp_path, name):
    steelyard.catalog(folder, tmp_path / "other.parquet")
    steelyard.catalog(folder / "a.safetensors", tmp_path / name)
    assert steelyard.catalog(tmp_path / name).query("select count(*) from files").rows == ((1,),)


def test_names_that_are_not_unicode_are_escaped(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff.pkl")).write_bytes(pickle.dumps({"w\ud800": np.ones(2)}))
    found = steelyard.catalog(tmp_path, tmp_path / "c.parquet")
    assert found.update.refused == 0
    ((file, name),) = found.query("select file, name from weights").rows
    assert file.endswith("a\\udcff.pkl")
    assert name == "w\\ud800"


def test_what_is_wrong_is_said_in_one_line_before_anything_is_written(folder, tmp_path):
    out = tmp_path / "c.parquet"
    with pytest.raises(FileMissingError, match="no such file or folder"):
        steelyard.catalog([folder, tmp_path / "none"], out)
    with pytest.raises(ShapeError, match="is a folder"):
        steelyard.catalog(folder)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(FormatError, match="no Parquet file"):
        steelyard.catalog(folder, out)
    assert out.read_text() == "mine"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), out)
    with pytest.raises(FormatError, match="no catalogue of Steelyard"):
        steelyard.catalog(folder, out)


def test_a_question_that_is_refused_has_the_reason_in_one_line(found):
    with pytest.raises(ShapeError, match=r"DuckDB says: .*selec.*; the tables are files and weights") as caught:
        found.query("selec\nx")
    assert "\n" not in str(caught.value)
    with pytest.raises(ShapeError, match="at least 8"):
        found.holders("abc")


@pytest.mark.parametrize("package", ["pyarrow", "duckdb"])
def test_without_the_extra_it_is_named(found, folder, tmp_path, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    call = partial(steelyard.catalog, folder, tmp_path / "new.parquet") if package == "pyarrow" else found.formats
    with pytest.raises(MissingExtraError, match=r"steelyard\[catalog\]"):
        call()


def test_an_answer_is_printed_and_written_as_a_table(found, tmp_path):
    assert "safetensors" in repr(found.formats())
    assert "<table" in found.formats()._repr_html_()
    assert repr(found.query("select 1 where false")) == "rows: none"
    found.query("select shape, findings from catalog order by shape").write(str(tmp_path / "t.csv"))
    assert "8x6" in (tmp_path / "t.csv").read_text()
    assert repr(found).endswith("5 files read, 0 unchanged, 1 cannot be read")


def test_a_damaged_catalogue_is_refused_in_one_line(found):
    whole, chance = Path(found.path).read_bytes(), random.Random(0)
    said = set()
    for nth in range(60):
        changed = bytearray(whole)
        for _ in range(1 + nth % 4):  # one bit may lie in a number, where it is not noticed
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        Path(found.path).write_bytes(changed)
        try:
            steelyard.catalog(found.path).query("select * from weights").to_dict()
            said.add("")
        except (FormatError, ShapeError) as error:
            said.add(str(error))
    assert "" in said
    assert len(said) > 3
    assert "\n" not in "".join(said)


def test_more_rows_than_a_file_of_its_size_can_have_are_refused(found, monkeypatch):
    monkeypatch.setattr("steelyard.catalogs.table.FEW", -os.path.getsize(found.path))
    with pytest.raises(FormatError, match="claims 15 rows, too many for its size"):
        steelyard.catalog(found.path)
