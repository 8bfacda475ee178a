"""A run is read from the rows that it touches and no others."""

import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.readers import ByColumns, Live, array_reader, by_rows, from_array
from steelyard.errors import UnknownModelError


@pytest.mark.parametrize("shape", [(4, 3), (5,), (2, 3, 2), ()])
def test_any_run_reads_only_its_rows(shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    rows = array if shape else array.reshape(1)
    asked = []

    def read(first, last):
        asked.append((first, last))
        return rows[first:last]

    width = int(np.prod(shape[1:]))
    for start in range(array.size + 1):
        for stop in range(start, array.size + 1):
            asked.clear()
            found = by_rows(shape, read)(start, stop)
            assert found.shape == (stop - start,)
            assert found.tolist() == list(range(start, stop))
            ((first, last),) = asked
            assert (first, last) == ((start // width, (stop - 1) // width + 1) if stop > start else (0, 0))


def test_rows_without_elements_give_none():
    assert by_rows((3, 0), lambda first, last: np.zeros((3, 0))[first:last])(0, 0).shape == (0,)
    assert by_rows((0, 3), lambda first, last: np.zeros((0, 3))[first:last])(0, 0).shape == (0,)


def test_an_array_by_columns_is_read_by_rows():
    array = np.arange(12).reshape(3, 4)
    read = ByColumns(array_reader(array.ravel(order="F")), (3, 4))
    for start, stop in ((0, 12), (1, 7), (5, 5), (11, 12)):
        assert read(start, stop).tolist() == list(range(start, stop))


def test_only_an_array_that_is_one_writable_run_is_live():
    array = np.arange(6.0).reshape(2, 3)
    assert isinstance(array_reader(array), Live)
    frozen = array.copy()
    frozen.flags.writeable = False
    for other in (array.T, array[:, ::2], array.astype(">f8"), np.arange(6.0)[::-1]):
        read = array_reader(other)
        assert not isinstance(read, Live)
        assert read(0, other.size).tolist() == other.reshape(-1).tolist()
        assert read(0, other.size).dtype.isnative
    assert array_reader(frozen)(1, 3).tolist() == [1, 2]
    assert array_reader(np.array(5.0))(0, 1).tolist() == [5]


def test_an_array_of_anything_but_numbers_is_refused():
    with pytest.raises(UnknownModelError):
        from_array("w", np.array(["a"]))


@pytest.mark.parametrize("band", [1, 40, 1 << 25])
@pytest.mark.parametrize("shape", [(3, 4), (7, 5, 3), (2, 60), (90, 2), (1, 1), (0, 3), (4, 0), (5, 1, 2, 3)])
def test_any_run_of_an_array_by_columns_is_that_of_numpy(shape, band, monkeypatch):
    monkeypatch.setattr(sizes, "BAND_BYTES", band)
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    read = ByColumns(array_reader(array.ravel(order="F")), shape)
    for start in range(0, array.size + 1, max(array.size // 9, 1)):
        for stop in range(start, array.size + 1, max(array.size // 7, 1)):
            assert np.array_equal(read(start, stop), array.reshape(-1)[start:stop])


def test_a_run_of_an_array_by_columns_belongs_to_its_caller():
    array = np.arange(12.0).reshape(3, 4)
    read = ByColumns(array_reader(array.ravel(order="F")), (3, 4))
    run = read(0, 8)
    run += 100
    assert read(0, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_large_array_by_columns_is_read_once_by_blocks_of_rows(monkeypatch):
    monkeypatch.setattr(sizes, "BAND_BYTES", 1 << 14)
    monkeypatch.setattr(sizes, "SKIPPED_BYTES", 64)
    array = np.arange(300 * 200, dtype="f4").reshape(300, 200)
    flat, read = array.ravel(order="F"), []

    def counted(start, stop):
        read.append(stop - start)
        return flat[start:stop]

    weight = from_array("w", array).replace(read=ByColumns(counted, array.shape))
    assert np.array_equal(np.concatenate(list(weight.blocks(500))), array.reshape(-1))
    assert sum(read) <= 2 * array.size
