"""The fuzz targets, without a fuzzer: each reads its seeds and a few hundred changed ones, and only our errors come out."""

import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import targets

SECONDS = 3
"""Time that each target takes; scripts/fuzz takes a minute each, and is guided by coverage."""


def changed(data, chance):
    """Return a file with some bytes changed, left out, repeated or cut off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 1, 2, 4, 8, 64))
        what = chance.randrange(5)
        if what == 0:
            data[at : at + length] = chance.randbytes(length)
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            data[at : at + length] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
        elif len(data) > 1:
            del data[max(at, 1) :]
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_changed_files_raise_only_errors_of_steelyard(name):
    seeds = list(targets.seeds(name))
    assert seeds, "a target without seeds reaches nothing"
    chance, run = random.Random(name), targets.TARGETS[name]
    ends = time.monotonic() + SECONDS
    for seed in seeds:
        run(seed)
    while time.monotonic() < ends:
        run(changed(chance.choice(seeds), chance))


def test_a_target_does_reach_the_numbers(monkeypatch):
    read = []
    monkeypatch.setattr("steelyard.core.weight.Weight.numpy", lambda weight: read.append(weight.name))
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, np.zeros(3))
    targets.TARGETS["npz-member"](file.getvalue())
    assert read == ["w"]
