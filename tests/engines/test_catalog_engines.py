"""A catalogue has the same rows from every engine."""

from __future__ import annotations

import numpy as np
import pytest

import steelyard

ROWS = "select * exclude (file_row_number) from catalog order by file, kind, name"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made, random = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    for nth in range(6):
        steelyard.save({"w": random.normal(size=(40, 30)), "b": np.arange(5.0)}, made / f"{nth}.npz")
    (made / "bad.npz").write_text("cut off")
    return made


def test_rows_are_equal_on_every_engine(folder, engine, tmp_path):
    here = steelyard.catalog(folder, tmp_path / "here.parquet").query(ROWS).rows
    assert steelyard.catalog(folder, tmp_path / "there.parquet", engine=engine).query(ROWS).rows == here
    assert len(here) == 19


def test_a_large_file_is_shared_by_workers_and_a_journal_goes_on(folder, engine, tmp_path, monkeypatch):
    here = steelyard.catalog(folder, tmp_path / "here.parquet").query(ROWS).rows
    monkeypatch.setattr("steelyard.engines.many.LARGE_BYTES", 1)
    journal = tmp_path / "journal"
    for name in ("one", "two"):
        found = steelyard.catalog(folder, tmp_path / f"{name}.parquet", engine=engine, resume=journal)
        assert found.query(ROWS).rows == here
        monkeypatch.setattr("steelyard.catalogs.rows._merged", None)  # the second time, all is in the journal
