"""The spectrum of a page: in a third of the time, within an error that it states, and exact where a rank depends on it."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.measures.spectra import quick_spectrum


def quick(matrix, scale=1.0):
    return quick_spectrum(from_array("w", matrix * scale), float(np.linalg.norm(matrix)) * scale)


def matrix_of(values):
    """A matrix with these singular values."""
    chance = np.random.default_rng(0)
    left, right = (np.linalg.qr(chance.standard_normal((len(values), len(values))))[0] for _ in range(2))
    return left * values @ right


@pytest.mark.parametrize("kind", ["f4", "c16"])
@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40)])
def test_a_quick_spectrum_is_within_its_stated_error_of_the_exact_one(shape, kind):
    chance = np.random.default_rng(0)
    matrix = (chance.standard_normal(shape) + (1j * chance.standard_normal(shape) if kind == "c16" else 0)).astype(kind)
    row = quick(matrix)
    exact = np.linalg.svd(matrix.astype("c16"), compute_uv=False)
    assert row.method == "exact, by products"
    assert np.abs(row.values - exact).max() <= row.error < 1e-9 * exact[0]
    assert (row.rank, row.law) == (min(shape), None)


def test_the_error_that_is_stated_grows_with_the_condition():
    values = np.geomspace(1, 3e-5, 40)
    row = quick(matrix_of(values))
    assert row.method == "exact, by products"
    assert np.abs(row.values - values).max() <= row.error < 1e-9
    assert row.rank == 40


@pytest.mark.parametrize("least", [0.0, 1e-9, 5e-6])
def test_a_matrix_near_to_singular_is_decomposed_directly_so_that_its_rank_holds(least):
    values = np.array([*np.linspace(2, 1, 39), least])
    row = quick(matrix_of(values))
    assert row.method == "exact"
    assert row.rank == (40 if least else 39)
    assert row.values[-1] == pytest.approx(least, rel=1e-6, abs=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-200, 1e-155, 1e200])
def test_numbers_whose_squares_overflow_or_vanish_are_decomposed_directly(scale):
    values = np.linspace(2, 1, 40)
    row = quick(matrix_of(values), scale)
    assert row.method == "exact"
    np.testing.assert_allclose(row.values, values * scale, rtol=1e-12)
