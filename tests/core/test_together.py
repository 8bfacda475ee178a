"""Small weights are read together where they are alike, with the bytes and the errors of reading one by one."""

import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.casting import cast
from steelyard.core.readers import ByColumns, Live, chunks_of, each_raw, from_array, raw_chunks
from steelyard.core.together import batches, bytes_together, likeness
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.editing.averaging import average
from steelyard.errors import LossyError
from steelyard.numerics.nonfinite import Scans
from steelyard.storage.source import Source, from_bytes


def watched(data, asked):
    inner = from_bytes(data)

    def fill(offset, buffer):
        asked.append((offset, len(buffer)))
        inner.fill(offset, buffer)

    return Source("file", len(data), fill, inner.beside)


def stored(source, places, dtype="float32", order="<", size=3):
    return [
        Weight(name=f"w{nth}", shape=(size,), dtype=dtype, read=source.numbers(at, dtype, order)) for nth, at in enumerate(places)
    ]


def alone(weights):
    return [b"".join(bytes(chunk) for chunk in raw_chunks(weight)) for weight in weights]


NUMBERS = np.random.default_rng(0).normal(size=3 * 400).astype("f4")


@pytest.mark.parametrize("order", ["<", ">"])
def test_weights_that_lie_near_each_other_take_one_read(order):
    asked = []
    source = watched(NUMBERS.tobytes(), asked)
    weights = stored(source, [12 * nth for nth in (7, 2, 390, 2, *range(200))], order=order)
    expected = alone(weights)
    asked.clear()
    assert [bytes(held) for held in bytes_together(weights)] == expected
    assert len(asked) == 1


def test_weights_far_from_each_other_are_read_one_by_one():
    asked = []
    source = watched(bytes(1 << 20), asked)
    weights = stored(source, [0, 1 << 19])
    assert [(weight.name, b"".join(chunks)) for weight, chunks in each_raw(weights)] == [("w0", bytes(12)), ("w1", bytes(12))]
    assert [length for _, length in asked] == [12, 12]


def test_a_weight_that_cannot_be_read_is_refused_in_its_turn():
    weights = stored(from_bytes(NUMBERS.tobytes()), [0, 12, NUMBERS.nbytes - 4, 24])
    assert bytes_together(weights) is None
    done = []
    with pytest.raises(Exception, match="past the end of the file"):
        done += chunks_of(weights)
    pieces = chunks_of(weights)
    assert [bytes(next(pieces)) for _ in range(2)] == alone(weights[:2])


def test_a_mixture_has_the_bytes_of_each():
    one, other = (
        Weights(stored(from_bytes(NUMBERS.tobytes()), range(0, 1200, 12))),
        Weights(stored(from_bytes(NUMBERS[::-1].tobytes()), range(0, 1200, 12))),
    )
    means = [*average([one, other]).values()]
    lone = [
        from_array("v", np.arange(5.0)),
        from_array("large", np.ones(2 * sizes.SMALL_WEIGHT)),
        from_array("none", np.zeros(0)),
    ]
    mixed = [*means[:40], lone[0], *one.values(), *lone[1:], *means[40:]]
    assert b"".join(map(bytes, chunks_of(mixed))) == b"".join(alone(mixed))
    assert [len(some) for some, small in batches(mixed, 1 << 20) if small] == [141, 60]


def test_means_are_computed_together_and_only_with_the_same_inputs():
    asked = []
    one = Weights(stored(watched(NUMBERS.tobytes(), asked), range(0, 1200, 12)))
    means = [*average([one, one], [1, 3]).values()]
    expected = alone(means)
    asked.clear()
    assert [bytes(held) for held in bytes_together(means)] == expected
    assert len(asked) == 2
    assert likeness(means[0].read) == likeness(means[1].read) != likeness(average([one, one], [3, 1])["w0"].read)
    live = average([{"w": np.ones(3)}, {"w": np.ones(3)}])["w"]
    assert likeness(live.read) is None


def test_scans_of_weights_read_together_report_each_in_order():
    numbers = NUMBERS.copy()
    numbers[[30, 600]] = np.nan, np.inf
    found = []
    scans = Scans(Weights(stored(from_bytes(numbers.tobytes()), range(0, 4800, 12))), found.append)
    assert b"".join(map(bytes, chunks_of(scans.weights.values()))) == numbers.tobytes()
    scans.finish()
    assert [(finding.name, finding.nan, finding.inf, finding.first) for finding in found] == [
        ("w10", 1, 0, (0,)),
        ("w200", 0, 1, (0,)),
    ]


def test_scans_of_finite_weights_read_them_once():
    asked = []
    scans = Scans(Weights(stored(watched(NUMBERS.tobytes(), asked), range(0, 4800, 12))), pytest.fail)
    assert b"".join(map(bytes, chunks_of(scans.weights.values()))) == NUMBERS.tobytes()
    scans.finish()
    assert asked == [(0, NUMBERS.nbytes)]


def test_columns_that_are_cast_are_read_together():
    asked = []
    source = watched(NUMBERS.tobytes(), asked)
    listed = [
        cast(weight.replace(shape=(2, 5, 3), read=ByColumns(weight.read, (2, 5, 3))), "float16")
        for weight in stored(source, range(0, 40 * 120, 120))
    ]
    expected = alone(listed)
    asked.clear()
    assert [bytes(held) for held in bytes_together(listed)] == expected
    assert asked == [(0, NUMBERS.nbytes)]


def test_a_number_that_does_not_fit_is_refused_by_the_name_of_its_weight():
    numbers = NUMBERS.copy()
    numbers[16] = 1e6
    listed = [cast(weight, "float16") for weight in stored(from_bytes(numbers.tobytes()), range(0, 4800, 12))]
    with pytest.raises(LossyError, match=r"w5: 1e\+06 at \[1\]"):
        b"".join(map(bytes, chunks_of(listed)))


def test_arrays_of_a_process_are_read_together_and_memory_that_a_model_may_replace_is_not():
    arrays = [from_array(f"w{nth}", np.full(3, nth, "f4")) for nth in range(5)]
    assert len({likeness(weight.read) for weight in arrays} - {None}) == 1
    assert [bytes(held) for held in bytes_together(arrays)] == alone(arrays)
    live = [Weight(name="w", shape=(3,), dtype="float32", read=Live(memory)) for memory in (object(), object())]
    assert bytes_together(live) is None
