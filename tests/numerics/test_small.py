"""Many small weights are read together, as the rows of a matrix."""

import numpy as np
import pytest

from steelyard.core.readers import ByColumns, from_array
from steelyard.core.weight import Refused, Weight
from steelyard.errors import FormatError
from steelyard.measures.diff.entries import Sums, Tolerance, side_by_side
from steelyard.numerics.small import groups_of_small, read_rows
from steelyard.storage.source import open_path


def many(count, shift=0.0):
    return [from_array(f"w{nth}", np.arange(6, dtype="f4").reshape(2, 3) + nth + shift * (nth == 7)) for nth in range(count)]


RULED_OUT = ("may_be_cast", "may_be_explained", "may_be_scaled")
"""What a test on many weights at once may deny, where one weight alone leaves it to the exact test."""


def figures(sums):
    return [getattr(sums, slot) for slot in sums.__slots__ if slot not in ("equal", "sides", *RULED_OUT)]


def verdicts_left(sums):
    return {slot for slot in RULED_OUT if getattr(sums, slot)}


def test_a_weight_that_cannot_be_read_is_left_out_of_its_group():
    weights = many(40)
    weights[3].read = Refused(FormatError("f", "is cut"))
    ((some, rows),) = groups_of_small(weights, lambda _: None)
    assert len(some) == len(rows) == 39
    assert "w3" not in [weight.name for weight in some]


def test_many_small_pairs_are_compared_as_single_ones_are():
    one, other = many(100), many(100, 0.5)
    together = list(side_by_side(list(zip(one, other, strict=True)), Tolerance()))
    alone = [next(side_by_side([pair], Tolerance())) for pair in zip(one, other, strict=True)]
    for found, expected in zip(together, alone, strict=True):
        assert figures(found) == figures(expected)
    assert [sums.changed for sums in together] == [6 * (nth == 7) for nth in range(100)]


def test_many_small_pairs_are_read_with_few_calls():
    reads = []

    def counted(weight):
        read = weight.read
        return weight.replace(read=lambda start, stop: reads.append(1) or read(start, stop))

    pairs = [tuple(map(counted, pair)) for pair in zip(many(100), many(100), strict=True)]
    assert not any(sums.changed for sums in side_by_side(pairs, Tolerance()))
    assert len(reads) == 200  # each once


@pytest.mark.parametrize("size", [3, 17, 1024])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i4", "i8", "u8", "?"])
def test_small_pairs_that_all_differ_have_the_bits_of_single_ones(dtype, size):
    chance = np.random.default_rng(0)
    one, other = (chance.normal(scale=40, size=(50, size)) * (chance.random((50, size)) > 0.3) for _ in range(2))
    one[1], other[2] = 0, 0
    if dtype in ("f4", "f8"):
        one[3, 1], other[4, 2] = np.nan, np.inf
        one[5], other[6] = one[5] * 1e-30, other[6] * 1e30
    sides = [[from_array(f"w{nth}", row.astype(dtype)) for nth, row in enumerate(rows)] for rows in (one, other)]
    pairs = list(zip(*sides, strict=True))
    for limit in (Tolerance(), Tolerance(1.0), Tolerance(0.5, 0.01)):
        alone = [next(side_by_side([pair], limit)) for pair in pairs]
        for found, expected in zip(side_by_side(pairs, limit), alone, strict=True):
            assert repr(figures(found)) == repr(figures(expected))
            assert verdicts_left(found) <= verdicts_left(expected)


def test_many_small_pairs_that_all_differ_are_not_added_one_by_one(monkeypatch):
    added = []
    monkeypatch.setattr(Sums, "add", lambda *_: added.append(1))
    one, other = many(100), [each.replace(read=lambda a, b, read=each.read: read(a, b) + 0.5) for each in many(100)]
    assert [sums.changed for sums in side_by_side(list(zip(one, other, strict=True)), Tolerance())] == [6] * 100
    assert not added


def test_weights_of_one_size_and_several_likenesses_are_read_together_by_likeness(tmp_path):
    path = tmp_path / "numbers"
    numbers = np.arange(60, dtype="f4")
    path.write_bytes(numbers.tobytes())
    source = open_path(path)
    reads = [ByColumns(source.numbers(24 * nth, "float32"), (2, 3) if nth % 2 else (3, 2)) for nth in range(8)]
    weights = [Weight(name=f"w{nth}", shape=read.shape, dtype="float32", read=read) for nth, read in enumerate(reads)]
    alone = [weight.read(0, 6) for weight in weights]
    weights.append(weights[0].replace(read=Refused(FormatError("f", "is cut"))))
    filled = []
    source.fill = lambda offset, buffer, fill=source.fill: filled.append(offset) or fill(offset, buffer)
    rows, failed = read_rows(weights)
    assert failed == {8}
    assert rows[:8].tolist() == np.stack(alone).tolist()
    assert len(filled) == 2
