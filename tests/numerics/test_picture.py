"""A weight as a picture: the value of each cell, for any shape, window and size."""

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard
from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.numerics.picture import Drawing, matrix_of, part_of_matrix, picture
from steelyard.numerics.summary import summarise
from steelyard.text.progress import counted


def expected(matrix, down, across):
    """The number of greatest magnitude of each cell, by plain loops; NaN if one is not finite."""
    rows = []
    for top in range(0, matrix.shape[0], down):
        row = []
        for left in range(0, matrix.shape[1], across):
            cell = matrix[top : top + down, left : left + across].reshape(-1)
            least, greatest = cell.min(), cell.max()
            row.append((least if -least > greatest else greatest) if np.isfinite(cell).all() else np.nan)
        rows.append(row)
    return np.array(rows)


@st.composite
def windows(draw):
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return rows, columns, (top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns)))


@settings(max_examples=200, deadline=None)
@given(windows(), st.integers(1, 20), st.integers(1, 20), st.integers(1, 60), st.integers(0, 50), st.integers(0, 2**32))
def test_each_cell_is_the_largest_number_in_it_however_the_matrix_is_read(shape, height, width, step, narrow, seed):
    rows, columns, window = shape
    chance = np.random.default_rng(seed)
    matrix = chance.standard_normal((rows, columns))
    matrix[chance.random((rows, columns)) < 0.02] = chance.choice([np.nan, np.inf, -np.inf])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "PICTURE_BLOCK", step)
        patch.setattr(sizes, "NARROW_COLUMNS", narrow)
        patch.setattr(sizes, "WIDE_ROWS", narrow)
        drawn = picture(from_array("w", matrix), height, width, window)
    top, left, bottom, right = window
    assert drawn.values.shape[0] <= height
    assert drawn.values.shape[1] <= width
    np.testing.assert_array_equal(drawn.values, expected(matrix[top:bottom, left:right], drawn.down, drawn.across))


@pytest.mark.parametrize(
    "dtype", ["float16", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "int8", "uint8", "bool", "int64", "complex64"]
)
def test_numbers_of_every_type_are_drawn(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert picture(from_array("w", array)).values.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_unsigned_integers_keep_their_magnitude():
    assert picture(from_array("w", np.array([[1, 255]], "u1")), 1, 1).values.tolist() == [[255.0]]


def test_axes_are_split_where_the_sides_are_most_alike_and_keep_their_order():
    assert matrix_of((512, 512, 3, 3)) == (512, 4608)
    assert matrix_of((3, 3, 256, 512)) == (2304, 512)
    assert matrix_of((0, 7)) == (0, 7)
    array = np.arange(24.0).reshape(2, 3, 4)
    assert picture(from_array("w", array)).values.tolist() == array.reshape(6, 4).tolist()


def test_a_weight_without_numbers_has_no_cells():
    assert picture(from_array("w", np.zeros((0, 3)))).values.shape == (0, 3)
    assert picture(from_array("w", np.zeros(()))).values.tolist() == [[0.0]]


@pytest.mark.parametrize("window", [(0, 0, 3, 1), (1, 0, 0, 1), (0, -1, 1, 1)])
def test_a_window_beyond_the_matrix_is_refused(window):
    with pytest.raises(ShapeError, match="2 rows and 2 columns"):
        picture(from_array("w", np.zeros((2, 2))), window=window)


def test_a_small_window_of_a_large_matrix_reads_little_more_than_itself():
    read = []

    def reader(start, stop):
        read.append(stop - start)
        return np.zeros(stop - start, np.float32)

    weight = from_array("w", np.zeros((1, 1), np.float32)).replace(shape=(20_000, 30_000), read=reader)
    picture(weight, 16, 16, (5000, 7000, 5016, 7016))
    assert sum(read) == 256


def test_a_number_beyond_float64_is_not_finite_and_causes_no_warning():
    beyond = np.array([[np.longdouble("1e4000") if np.finfo(np.longdouble).maxexp > 1024 else np.longdouble("inf"), 2]])
    weight = from_array("w", beyond)
    assert np.array_equal(picture(weight).values, [[np.nan, 2.0]], equal_nan=True)
    assert summarise([weight]).inf == 1


@pytest.mark.parametrize(
    ("shape", "window", "most"),
    [
        ((10_000, 4096), (0, 17, 10_000, 18), 10_000),  # a column: one number of each row
        ((10_000, 4096), (5000, 4000, 5100, 4096), 9_600),
        ((10_000, 20), (0, 3, 10_000, 4), 200_000),  # rows of 80 bytes are read whole: a read for each would take longer
        ((2, 3 << 19), (0, 10, 2, 1_100_000), 2 * 1_099_990),
    ],
)
def test_a_window_of_a_file_reads_little_more_than_its_own_numbers(tmp_path, shape, window, most):
    path = tmp_path / "w.npy"
    np.lib.format.open_memmap(path, "w+", "<f4", shape).flush()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4)
        file.write(np.float32(7.5).tobytes())
    weight = next(iter(steelyard.weights(path).values()))
    counts = []
    watched = weight.replace(read=counted(weight, counts.append))
    top, left, bottom, right = window
    want = np.load(path, mmap_mode="r")[top:bottom, left:right]
    np.testing.assert_array_equal(part_of_matrix(watched, window), want)
    assert sum(counts) <= 4 * most
    assert max(counts) <= 4 << 20
    counts.clear()
    drawn = picture(watched, 512, 512, window)
    assert np.nanmax(drawn.values) == want.max()
    assert sum(counts) <= 4 * most


def test_a_window_of_a_compressed_file_is_read_by_whole_rows_in_bounded_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "PICTURE_BLOCK", 1 << 20)
    monkeypatch.setattr(sizes, "SKIPPED_BYTES", 1 << 12)
    monkeypatch.setattr(sizes, "NARROW_COLUMNS", 1 << 12)
    array = np.random.default_rng(0).integers(0, 9, (3000, 1000)).astype("f4")
    np.savez_compressed(tmp_path / "w.npz", w=array)
    weight = steelyard.weights(tmp_path / "w.npz")["w"]
    counts = []
    watched = weight.replace(read=counted(weight, counts.append))
    np.testing.assert_array_equal(part_of_matrix(watched, (10, 7, 2990, 9)), array[10:2990, 7:9])
    assert len(counts) == 3
    assert max(counts) <= 4 << 20


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 3], [5, 10], [4, 8], [2, 17], [7, 8, 9, 19], list(range(1, 20))])
def test_runs_that_begin_and_end_within_a_row_are_drawn_where_they_are(cuts):
    array = np.array([*range(1, 20), -50.0]).reshape(4, 5)
    wanted = picture(from_array("w", array), 2, 3).values
    for order in (1, -1):
        drawing = Drawing(from_array("w", array), 2, 3)
        for start, stop in list(pairwise([0, *cuts, 20]))[::order]:
            drawing.add(array.reshape(-1)[start:stop], start)
        assert np.array_equal(drawing.picture().values, wanted)


def test_the_positive_one_of_two_numbers_of_one_size_is_drawn():
    assert picture(from_array("w", np.array([[-3.0, 3.0]])), 1, 1).values.tolist() == [[3.0]]
    assert picture(from_array("w", np.array([[-3.5, 3.0]])), 1, 1).values.tolist() == [[-3.5]]


def test_the_caption_says_that_cells_of_complex_numbers_are_magnitudes():
    numbers = from_array("w", np.ones((4, 4), "complex64"))
    assert picture(numbers, 4, 4).caption == "each cell is the magnitude of one complex number"
    assert picture(numbers, 2, 4).caption == "each cell is the largest magnitude of 2 × 1 complex numbers"
    assert picture(from_array("w", np.ones((4, 4))), 2, 4).caption == "each cell is the largest of 2 × 1 numbers, by magnitude"
