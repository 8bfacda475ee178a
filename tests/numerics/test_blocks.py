"""Blocks of numbers are those of the weight, in memory that is used again, and boxes have the axes of the weight."""

from math import prod

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.numerics.blocks import BlockReader, blocks_of, is_plain, is_shared, pairs_of, runs
from steelyard.numerics.boxes import boxes
from steelyard.storage.source import from_bytes, open_path

NUMBERS = np.arange(20, dtype="f4")


def stored(source, byteorder="<"):
    return from_array("w", NUMBERS).replace(read=source.numbers(0, "float32", byteorder))


def computed():
    return from_array("w", NUMBERS).replace(read=lambda start, stop: NUMBERS[start:stop])


@pytest.fixture
def kinds(tmp_path):
    """A weight in a file, in bytes, in a file of the other byte order, in memory, and one that is computed."""
    (tmp_path / "a").write_bytes(NUMBERS.tobytes())
    (tmp_path / "b").write_bytes(NUMBERS.byteswap().tobytes())
    return {
        "file": stored(open_path(tmp_path / "a")),
        "bytes": stored(from_bytes(NUMBERS.tobytes())),
        "swapped": stored(open_path(tmp_path / "b"), ">"),
        "memory": from_array("w", NUMBERS),
        "computed": computed(),
    }


def test_several_threads_may_read_a_local_file_and_memory_and_nothing_else(kinds):
    assert {kind for kind, weight in kinds.items() if is_shared(weight)} == {"file", "swapped", "memory"}
    assert {kind for kind, weight in kinds.items() if is_plain(weight)} == {"file", "bytes"}


@pytest.mark.parametrize("limit", [1, 3, 20, 50])
def test_blocks_of_every_kind_of_weight_are_its_numbers(kinds, limit):
    for weight in kinds.values():
        for start, stop in ((0, 20), (5, 17), (4, 4)):
            found = [(at, block.copy()) for at, block in blocks_of(weight, start, stop, limit)]
            assert [at for at, _ in found] == list(range(start, stop, limit))
            assert np.array_equal(np.concatenate([NUMBERS[:0], *(block for _, block in found)]), NUMBERS[start:stop])
            assert all(block.size <= limit for _, block in found)
        pairs = [(at, one.copy(), other.copy()) for at, one, other in pairs_of(weight, kinds["memory"], limit, 2)]
        assert [at for at, _, _ in pairs] == list(range(2, 20, limit))
        assert all(np.array_equal(one, other) for _, one, other in pairs)
        assert np.array_equal(np.concatenate([one for _, one, _ in pairs]), NUMBERS[2:])


def test_a_buffer_of_the_same_size_is_used_again_and_another_one_replaced(kinds):
    kept = {}
    first = BlockReader(kinds["file"], 5, kept)
    assert list(kept) == [20]
    assert BlockReader(kinds["bytes"], 5, kept).buffer is first.buffer
    assert BlockReader(kinds["bytes"], 100, kept).buffer is not first.buffer
    assert list(kept) == [80], "no larger than the weight"
    assert BlockReader(kinds["file"], 5).buffer is not first.buffer
    assert BlockReader(kinds["memory"], 5, kept).buffer is None
    assert BlockReader(kinds["swapped"], 5, kept).buffer is None


def test_runs_end_where_the_whole_ends():
    assert list(runs(0, 6, 3)) == [(0, 3), (3, 6)]
    assert list(runs(0, 7, 3)) == [(0, 3), (3, 6), (6, 7)]
    assert list(runs(3, 3, 3)) == []


@pytest.mark.parametrize("shape", [(), (5,), (0,), (2, 0), (2, 3, 2), (4, 3), (1, 7), (3, 1, 5), (2, 2, 2, 3)])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 100])
def test_boxes_make_up_the_array_in_order_and_are_as_large_as_the_limit_allows(shape, limit):
    array = np.arange(prod(shape)).reshape(shape)
    place = 0
    for box in boxes(shape, limit):
        assert box.start == place
        assert box.stop - box.start == prod(box.shape) <= limit
        part = array[tuple(slice(at, at + length) for at, length in zip(box.corner, box.shape, strict=True))]
        assert part.reshape(-1).tolist() == list(range(box.start, box.stop))
        place = box.stop
    assert place == array.size
    if limit >= max(array.size, 1) and array.size:
        assert len(list(boxes(shape, limit))) == 1
