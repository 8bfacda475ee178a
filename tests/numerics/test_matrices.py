"""A weight as a matrix: which axis has its outputs, and rows that are read in blocks or as a sample."""

import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.numerics.matrices import as_float64, chance_range, matrix_shape, row_blocks, sample, share_of, whole


@pytest.mark.parametrize(
    ("name", "shape", "axes", "wanted"),
    [
        ("w", (3, 4), "out in", (3, 4)),
        ("w", (3, 4), "in out", (3, 4)),
        ("w", (3, 4), "", (3, 4)),
        ("kernel", (3, 4), "", (3, 4)),
        ("w", (2, 3, 4), "", (2, 12)),
        ("kernel", (2, 3, 4), "", (6, 4)),
        ("kernel", (2, 3, 4, 5), "out in kh kw", (2, 60)),
        ("w", (2, 3, 4, 5), "kh kw in out", (24, 5)),
        ("w", (2, 3, 8), "k in [ifgo]*out", (6, 8)),
        ("w", (2, 3, 4), "in heads dim", (2, 12)),
        ("w", (4,), "out", None),
        ("w", (), "", None),
        ("w", (0, 4), "out in", None),
        ("w", (1, 1), "out in", (1, 1)),
    ],
)
def test_the_outputs_are_the_rows_or_the_columns_whichever_end_they_are_at(name, shape, axes, wanted):
    weight = from_array(name, np.arange(np.prod(shape, dtype=int)).reshape(shape), axes=axes)
    assert matrix_shape(weight) == wanted
    if wanted:
        assert np.array_equal(whole(weight), weight.numpy().reshape(wanted).astype("f8"))


def test_complex_numbers_stay_complex_and_others_become_float64():
    assert as_float64(np.ones(1, "f2")).dtype == "float64"
    assert as_float64(np.ones(1, "c8")).dtype == "complex128"


@pytest.mark.parametrize("block", [1, 7, 12, 13, 1000])
def test_blocks_of_rows_are_whole_rows_one_at_least(monkeypatch, block):
    monkeypatch.setattr(sizes, "MATRIX_BLOCK", block)
    array = np.arange(30).reshape(5, 6)
    found = [(at, rows.copy()) for at, rows in row_blocks(from_array("w", array), (5, 6))]
    assert np.array_equal(np.concatenate([rows for _, rows in found]), array)
    assert [at for at, _ in found] == list(range(0, 5, max(block // 6, 1)))
    assert all(rows.dtype == "float64" for _, rows in found)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("side", [1, 3, 6, 9])
def test_a_sample_is_rows_and_consecutive_columns_of_the_matrix_and_the_same_each_time(monkeypatch, live, side):
    monkeypatch.setattr(sizes, "MATRIX_BLOCK", 48)
    array = np.arange(48).reshape(6, 8)
    weight = from_array("w", array)
    other = weight if live else weight.replace(read=lambda start, stop: array.reshape(-1)[start:stop])
    found = sample(other, (6, 8), side)
    assert found.shape == (min(side, 6), min(side, 8))
    rows = [int(row) // 8 for row in found[:, 0]]
    left = int(found[0, 0]) % 8
    assert np.array_equal(found, array[rows, left : left + min(side, 8)])
    assert rows == (sorted(set(rows)) if live else list(range(rows[0], rows[0] + len(rows))))
    assert np.array_equal(sample(other, (6, 8), side), found)


def test_a_sample_of_what_is_read_in_blocks_is_at_most_four_blocks_high(monkeypatch):
    monkeypatch.setattr(sizes, "MATRIX_BLOCK", 4)
    reads = []

    def read(start, stop):
        reads.append(stop - start)
        return np.arange(start, stop)

    weight = from_array("w", np.zeros((6, 8))).replace(read=read)
    assert sample(weight, (6, 8), 6).shape == (2, 6)
    assert reads == [16]


def test_the_share_of_the_first_singular_values_is_that_of_their_squares():
    assert share_of(np.array([3.0, 4.0]), 1) == 9 / 25
    assert share_of(np.array([3.0, 4.0]), 2) == 1
    assert share_of(np.zeros(2), 1) == 0


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (300, 10)])
def test_the_largest_singular_value_of_random_matrices_is_in_the_range_of_chance(shape):
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=shape) * 0.1 for _ in range(40)]
    inside = 0
    for draw in draws:
        low, high = chance_range(shape, float(np.linalg.norm(draw)))
        inside += low <= np.linalg.norm(draw, 2) <= high
        assert high / low < 1.6
    assert inside >= 39
    assert chance_range((1, 1), 2.0)[1] > 0
