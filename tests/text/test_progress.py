"""What is shown of reading does not change how it is done: small weights are read together on a terminal too."""

import io
import sys

import numpy as np
import pytest

import steelyard
from steelyard.core.casting import cast
from steelyard.core.together import bytes_together
from steelyard.text import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.safetensors"
    steelyard.save({f"w{nth}": np.full((3, 2), nth, "f4") for nth in range(50)}, path)
    return steelyard.weights(path)


@pytest.mark.parametrize("change", [lambda weight: weight, lambda weight: cast(weight, "float16")], ids=["stored", "cast"])
def test_small_weights_are_read_together_and_fill_the_bar(many, monkeypatch, change):
    weights = many.with_weights(map(change, many.values()))
    expected = [bytes(each) for each in bytes_together([*weights.values()])]
    bars, made = [], progress._Bar
    monkeypatch.setattr(progress, "_Bar", lambda *facts: bars.append(made(*facts)) or bars[-1])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.following(weights, "reading") as watched:
        assert [bytes(each) for each in bytes_together([*watched.values()])] == expected
    assert [(bar.done, bar.again) for bar in bars] == [(weights.nbytes, 0)]


def test_what_is_read_a_second_time_does_not_advance_the_bar(many, monkeypatch):
    bars, made = [], progress._Bar
    monkeypatch.setattr(progress, "_Bar", lambda *facts: bars.append(made(*facts)) or bars[-1])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.following(many, "reading") as watched:
        for weight in [*watched.values()] * 2:
            weight.numpy()
    assert (bars[0].done, bars[0].again) == (many.nbytes, many.nbytes)
