"""Many small weights are read together, as the rows of a matrix."""

import numpy as np

from steelyard.core.readers import from_array
from steelyard.core.weight import Refused
from steelyard.errors import FormatError
from steelyard.measures.diff.entries import Tolerance, side_by_side
from steelyard.numerics.small import groups_of_small


def many(count, shift=0.0):
    return [from_array(f"w{nth}", np.arange(6, dtype="f4").reshape(2, 3) + nth + shift * (nth == 7)) for nth in range(count)]


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
        assert [getattr(found, slot) for slot in found.__slots__ if slot != "equal"] == [
            getattr(expected, slot) for slot in expected.__slots__ if slot != "equal"
        ]
    assert [sums.changed for sums in together] == [6 * (nth == 7) for nth in range(100)]


def test_many_small_pairs_are_read_with_few_calls():
    reads = []

    def counted(weight):
        read = weight.read
        return weight.replace(read=lambda start, stop: reads.append(1) or read(start, stop))

    pairs = [tuple(map(counted, pair)) for pair in zip(many(100), many(100), strict=True)]
    assert not any(sums.changed for sums in side_by_side(pairs, Tolerance()))
    assert len(reads) == 200  # each once
