"""An overview of more weights than a picture has lines: weights that follow each other share a strip."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from steelyard import Role, plot
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.plot import _overview
from steelyard.plot.canvas import inks, role_colour


def strips(ax):
    mesh = ax.collections[0]
    edges, bounds = mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]
    return np.asarray(mesh.get_array()).reshape(len(bounds) - 1, -1, 4), edges, bounds


@pytest.fixture
def listed(monkeypatch):
    monkeypatch.setattr(_overview, "MOST_STRIPS", 3)
    chance = np.random.default_rng(0)
    roles = (Role.KERNEL, Role.KERNEL, Role.KERNEL, Role.BIAS, Role.BIAS)
    arrays = [chance.normal(nth % 2, 0.3, 5000) for nth in range(5)]
    return [from_array(f"w{nth}", array, role=role) for nth, (array, role) in enumerate(zip(arrays, roles, strict=True))]


def test_a_strip_of_one_role_is_the_histogram_of_its_weights_together(listed):
    colours, edges, bounds = strips(plot.overview(Weights(listed), kind="strips"))
    assert bounds.tolist() == [-0.5, 1.5, 3.5, 4.5]
    for row, some in ((0, listed[:2]), (2, listed[4:])):
        density = np.histogram(np.concatenate([each.numpy() for each in some]), edges)[0] / np.diff(edges)
        np.testing.assert_allclose(colours[row, :, 3] ** 2, density / density.max(), atol=0.08)


def test_a_strip_of_two_roles_has_the_colour_of_each_where_its_numbers_are(listed):
    ax = plot.overview(Weights(listed), kind="strips")
    colours, edges, _ = strips(ax)
    kernel, bias = (np.array(to_rgb(role_colour(role, inks(ax)))) for role in (Role.KERNEL, Role.BIAS))
    left, right = np.searchsorted(edges, [-0.5, 1.5])
    np.testing.assert_allclose(colours[1, left, :3], kernel, atol=0.02)  # the kernel is around 0, the bias around 1
    np.testing.assert_allclose(colours[1, right, :3], bias, atol=0.02)
    assert colours[1, :, 3].max() <= 0.75
    assert "each row of 2 weights scaled" in "".join(text.get_text() for text in (*ax.texts, *ax.figure.texts))
