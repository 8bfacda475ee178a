"""Sparse tensors by hand, in the three ways of TensorFlow Lite: dense and sparse axes, any order of axes, blocks."""

import numpy as np
import pytest

from steelyard.errors import FormatError
from steelyard.formats.tflite.sparse import sparse_reader
from steelyard.storage.source import from_bytes


class Fields:
    """A table with the same methods as one of a FlatBuffer."""

    def __init__(self, **fields):
        self.fields = {int(field[1:]): value for field, value in fields.items()}

    def number(self, field, code):
        return self.fields.get(field, 0)

    def numbers(self, field, code):
        return self.fields.get(field, ())

    def table(self, field):
        return self.fields.get(field)

    def tables(self, field):
        return iter(self.fields.get(field, ()))


def dense(size):
    return Fields(f4=0, f6=size)


def sparse(segments, indices):
    return Fields(f4=1, f8=1, f10=Fields(f4=segments), f12=3, f14=Fields(f4=indices))


def read(shape, values, order, levels, blocks=()):
    raw = from_bytes(np.array(values, "<f4").tobytes(), "net.tflite")
    reader = sparse_reader("w", raw, shape, "float32", Fields(f4=order, f6=blocks, f8=levels))
    return reader(0, int(np.prod(shape))).reshape(shape).tolist()


def test_rows_of_sparse_columns_are_read():
    levels = [dense(2), sparse((0, 1, 3), (2, 0, 1))]
    assert read((2, 3), [7, 8, 9], (0, 1), levels) == [[0, 0, 7], [8, 9, 0]]


def test_columns_of_sparse_rows_are_read():
    levels = [dense(3), sparse((0, 1, 2, 3), (1, 1, 0))]
    assert read((2, 3), [8, 9, 7], (1, 0), levels) == [[0, 0, 7], [8, 9, 0]]


def test_blocks_of_rows_and_columns_are_read():
    levels = [dense(1), sparse((0, 1), (1,)), dense(2), dense(2)]
    expected = [[0, 0, 1, 2], [0, 0, 3, 4]]
    assert read((2, 4), [1, 2, 3, 4], (0, 1, 2, 3), levels, blocks=(0, 1)) == expected


ROWS = sparse((0, 1, 3), (2, 0, 1))


@pytest.mark.parametrize(
    ("order", "levels", "what"),
    [
        ((0, 0), [dense(2), ROWS], "its axes are not those"),
        ((0,), [dense(2)], "its axes are not those"),
        ((0, 1), [dense(2)], "its axes are not those"),
        ((0, 1), [dense(2), sparse((0, 1, 3), (2, 0, 3))], "an index is outside the shape"),
        ((0, 1), [dense(2), sparse((0, 1, 2), (2, 0, 1))], "segments that do not fit"),
        ((0, 1), [dense(2), sparse((1, 1, 3), (2, 0, 1))], "segments that do not fit"),
        ((0, 1), [dense(2), sparse((0, 3, 1), (2,))], "segments that do not fit"),
        ((0, 1), [dense(3), ROWS], "segments that do not fit"),
        ((0, 1), [dense(2), sparse((0, 1, 2), (2, 0))], "2 places for 3 elements"),
        ((0, 1), [dense(2), dense(3)], "a dense axis of 3 for 2 places"),
        ((0, 1), [dense(2), Fields(f4=1)], "a sparse axis without indices"),
    ],
)
def test_sparsity_that_does_not_fit_the_shape_is_refused(order, levels, what):
    with pytest.raises(FormatError, match=f"w has sparsity that does not fit its shape: .*{what}"):
        read((2, 3), [7, 8, 9], order, levels)
