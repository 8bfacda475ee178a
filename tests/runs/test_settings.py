"""What is said of a training is kept with its run."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, ShapeError


def test_a_run_keeps_its_settings_when_it_is_continued_and_shows_them(tmp_path):
    given = {"lr": np.float32(0.5), "optimizer": "Adam", "nesterov": True, "decay": None}
    for step, settings in ((1, given), (2, {"lr": 0.1})):
        with steelyard.record(tmp_path, settings=settings) as rec:
            rec(step, {"w": np.ones(3)})
    history = steelyard.history(tmp_path)
    assert (history.settings, history.steps) == ({**given, "lr": 0.5}, [1, 2])
    assert history.to_dict()["settings"] == history.settings
    assert str(history).splitlines()[1] == "lr 0.5, optimizer Adam, nesterov True, decay None"
    with pytest.raises(ShapeError, match="the setting 'net' is a dict; pass finite numbers and texts"):
        steelyard.record(tmp_path / "other", settings={"net": {}})
    with pytest.raises(ShapeError, match="the setting 'lr' is a ndarray; pass finite numbers and texts"):
        steelyard.record(tmp_path / "other", settings={"lr": np.ones(2)})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("settings", [[], {"lr": []}, {"lr": {}}, 1])
def test_settings_that_no_run_has_are_refused(tmp_path, settings):
    with steelyard.record(tmp_path) as rec:
        rec(1, {"w": np.ones(3)})
    layout = json.loads((tmp_path / "run.json").read_text()) | {"settings": settings}
    (tmp_path / "run.json").write_text(json.dumps(layout))
    with pytest.raises(FormatError, match=r"run.json.*is not the layout of a run \('settings' is not of its type\)"):
        steelyard.history(tmp_path)
