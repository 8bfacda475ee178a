"""Units of dense layers as images: equal to the frameworks' own arrays, reshaped."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier

import steelyard
from steelyard import Role
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.measures.images import deduced, images, is_on_images, layout_of


def kernel(array, axes="out in", role=Role.KERNEL):
    return from_array("fc.weight", np.asarray(array), role=role, axes=axes)


def test_the_units_of_pytorch_are_its_rows_and_those_of_keras_and_scikit_learn_are_columns(digits):
    x, y = digits
    live = torch.nn.Linear(784, 5)
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(5)])
    fit = MLPClassifier((5,), max_iter=1, random_state=0)
    with pytest.warns(match="converged"):
        fit.fit(x, y)
    for source, own, side in (
        (live, live.weight.detach().numpy(), 28),
        (model, model.layers[0].kernel.numpy().T, 28),
        (fit, fit.coefs_[0].T, 8),
    ):
        found = images(next(iter(steelyard.weights(source).values())))
        np.testing.assert_array_equal(found.pictures, own.reshape(5, side, side, 1))
        assert found.deduced == f"{side * side} inputs taken as {side} \u00d7 {side}"
        assert found.units == [f"out {nth}" for nth in range(5)]
        assert found.count == 5


def test_colours_come_before_the_sides_for_pytorch_and_after_them_for_keras():
    image = np.random.default_rng(0).standard_normal((16, 16, 3))
    planes = images(kernel(image.transpose(2, 0, 1).reshape(1, -1), "out in"))
    pixels = images(kernel(image.reshape(-1, 1), "in out"))
    np.testing.assert_array_equal(planes.pictures[0], image)
    np.testing.assert_array_equal(pixels.pictures[0], image)
    assert planes.deduced == "768 inputs taken as 3 \u00d7 16 \u00d7 16"
    assert pixels.deduced == "768 inputs taken as 16 \u00d7 16 \u00d7 3"


def test_a_grid_that_is_given_is_not_called_a_deduction_and_may_have_any_sides():
    array = np.arange(12.0).reshape(2, 6)
    found = images(kernel(array), grid=(2, 3))
    np.testing.assert_array_equal(found.pictures[..., 0], array.reshape(2, 2, 3))
    assert found.deduced == "6 inputs as 2 \u00d7 3"
    assert images(kernel(array), grid=(2, 4)) is None


@pytest.mark.parametrize(("shape", "axis"), [((5, 784), 1), ((784, 5), 0), ((784, 784), 1)])
def test_without_axes_the_side_that_fits_is_that_of_the_inputs_and_the_result_says_which(shape, axis):
    array = np.random.default_rng(0).standard_normal(shape)
    found = images(kernel(array, ""), limit=3)
    np.testing.assert_array_equal(found.pictures[..., 0].reshape(3, 784), (array if axis else array.T)[:3])
    assert found.deduced.endswith("(the columns)" if axis else "(the rows)")


def test_only_the_units_that_are_drawn_are_kept_and_all_are_counted():
    found = images(kernel(np.ones((100, 64))), limit=7)
    assert (len(found.pictures), found.count, len(found.units)) == (7, 100, 7)


@pytest.mark.parametrize(
    "weight",
    [
        kernel(np.ones((5, 65))),
        kernel(np.ones((5, 49))),
        kernel(np.ones((64, 5)), "out in"),
        kernel(np.ones((5, 64)), role=Role.EMBEDDING),
        kernel(np.ones((0, 64))),
        kernel(np.ones(64), "out"),
        kernel(np.ones((2, 4, 64)), ""),
    ],
    ids=["not square", "small", "outputs", "embedding", "empty", "vector", "three axes"],
)
def test_other_weights_are_no_images(weight):
    assert images(weight) is None
    assert not is_on_images(weight)


@pytest.mark.parametrize("grid", [(28,), (0, 3), (2, 3, 4), (2.0, 3), 28, "28x28", (1, 2, 3, 4), (600, 2)])
def test_a_grid_that_is_none_is_refused_in_one_line(grid):
    with pytest.raises(ShapeError, match="it must be the height and width of an image") as error:
        layout_of(grid)
    assert "\n" not in str(error.value)


@given(st.integers(1, 300), st.booleans(), st.booleans())
def test_a_square_image_is_deduced_from_its_inputs(side, coloured, last):
    found = deduced(side * side * (3 if coloured else 1), last=last)
    assert (found is None) == (side < 8)
    if found:
        assert (found.height, found.width, found.colours, found.last) == (side, side, 3 if coloured else 1, last)
