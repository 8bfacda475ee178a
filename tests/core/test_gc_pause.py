"""The garbage collector while many objects are made."""

import gc

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.core.gc_pause import seldom_collected, uncollected


def test_a_command_collects_seldom_and_leaves_the_settings_as_they_were(tmp_path, monkeypatch):
    steelyard.save({"w": np.ones(3)}, tmp_path / "net.safetensors")
    before, during = gc.get_threshold(), []
    monkeypatch.setattr("steelyard.commands.digest.run", lambda _: during.append(gc.get_threshold()))
    assert main(["digest", str(tmp_path / "net.safetensors")]) == 0
    assert during[0][0] > 10 * before[0] or not before[0]
    assert gc.get_threshold() == before


@pytest.mark.parametrize("pause", [seldom_collected, uncollected])
def test_an_error_leaves_the_settings_as_they_were(pause):
    before = gc.get_threshold(), gc.isenabled()
    with pytest.raises(ValueError, match="damaged"), pause():
        raise ValueError("damaged")
    assert (gc.get_threshold(), gc.isenabled()) == before
