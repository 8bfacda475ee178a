"""A run's folder is read as it is; a damaged one is refused by one line."""

import numpy as np
import pytest

import steelyard
from steelyard.errors import FileMissingError, FormatError
from steelyard.runs.store import open_run


def arrays(step):
    return {"a": np.full((4, 2000), step, np.float32), "b": np.arange(7.0)}


def test_a_damaged_run_is_refused_by_one_line(tmp_path):
    with pytest.raises(FileMissingError, match="is no recorded run"):
        open_run(tmp_path)
    with steelyard.record(tmp_path / "a") as rec:
        for step in range(3):
            rec(step, arrays(step))
    journal, layout = tmp_path / "a/journal.jsonl", tmp_path / "a/run.json"
    good, whole = journal.read_text(), layout.read_text()
    bad = ["{}\n", good + good, good.replace('"snapshot": null', '"snapshot": "../../x.safetensors"'), good.replace("{", "[")]
    for text in bad:
        journal.write_text(text)
        with pytest.raises(FormatError, match=r"journal.jsonl: line \d"):
            open_run(tmp_path / "a")
    journal.write_text(good)
    for old, new in [('"dtype": "float32"', '"dtype": "float99"'), ("2000", "-1"), ('"bins": 128', '"bins": 64'), ("{", "[")]:
        layout.write_text(whole.replace(old, new, 1))
        with pytest.raises(FormatError, match="is not the layout of a run"):
            open_run(tmp_path / "a")
