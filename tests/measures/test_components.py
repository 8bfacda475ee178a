"""Principal components: equal to scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import steelyard
from steelyard import Role, Weight
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.measures import components as module
from steelyard.measures.components import components, is_embedding


def made(rows=300, columns=20, dtype="float32"):
    chance = np.random.default_rng(0)
    return (chance.standard_normal((rows, columns)) * np.geomspace(5, 0.1, columns) + 3).astype(dtype)


def aligned(points, own):
    """Return the other's points with the signs of these."""
    return own * np.sign((points * own).sum(axis=0))


@pytest.mark.parametrize("exact", [2048, 4], ids=["exact", "randomised"])
def test_points_and_shares_are_those_of_scikit_learn(exact, monkeypatch):
    monkeypatch.setattr(module, "EXACT", exact)
    array = made()
    found, own = components(from_array("w", array)), PCA(2, svd_solver="full").fit(array.astype(float))
    expected = own.transform(array.astype(float))
    np.testing.assert_allclose(found.points, aligned(found.points, expected), atol=1e-3)
    np.testing.assert_allclose(found.shares, own.explained_variance_ratio_, rtol=1e-4)
    assert found.lost == 0


def test_rows_with_nan_are_left_out_and_counted():
    array = made()
    broken = np.insert(array, [0, 150], np.nan, axis=0)
    found, own = components(from_array("w", broken)), components(from_array("w", array))
    assert found.lost == 2
    np.testing.assert_allclose(np.delete(found.points, [0, 151], axis=0), own.points, atol=1e-9)
    assert np.isnan(found.points[[0, 151]]).all()
    np.testing.assert_allclose(found.shares, own.shares)


def test_equal_numbers_give_equal_points_whatever_the_blocks(monkeypatch):
    array = made(dtype="float64")
    one = components(from_array("w", array))
    monkeypatch.setattr(steelyard.sizes, "MATRIX_BLOCK", 100)
    np.testing.assert_allclose(components(from_array("w", array)).points, one.points, atol=1e-9)


def test_a_large_embedding_is_read_in_blocks():
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        return np.sin(np.arange(start, stop) % 977)

    weight = Weight(name="wte", shape=(400_000, 8), dtype="float64", read=read, role=Role.EMBEDDING)
    assert components(weight).points.shape == (400_000, 2)
    assert max(asked) <= steelyard.sizes.MATRIX_BLOCK < weight.size
    assert sum(asked) == 3 * weight.size


@pytest.mark.parametrize("array", [np.ones(3), np.ones((3, 1)), np.ones((1, 3)), np.ones((3, 3), complex), np.ones((2, 2, 2))])
def test_a_weight_that_is_not_a_matrix_of_real_numbers_is_refused(array):
    with pytest.raises(ShapeError, match="is not a matrix with 2 components"):
        components(from_array("w", array))


def test_a_matrix_without_a_finite_row_is_refused_and_one_of_equal_rows_has_no_variance():
    with pytest.raises(ShapeError, match="w has no row without NaN or Inf"):
        components(from_array("w", np.full((3, 3), np.nan)))
    found = components(from_array("w", np.ones((3, 3))))
    assert found.shares.tolist() == [0, 0]
    assert np.abs(found.points).max() == 0


def test_an_embedding_is_known_by_its_role_or_in_a_plain_file_by_its_name():
    assert is_embedding(from_array("wte.weight", np.ones((3, 2)), role=Role.EMBEDDING))
    assert is_embedding(from_array("model.embed_tokens.weight", np.ones((3, 2))))
    assert not is_embedding(from_array("model.fc.weight", np.ones((3, 2))))
    assert not is_embedding(from_array("embed.bias", np.ones(3), role=Role.EMBEDDING))
