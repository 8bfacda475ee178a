"""Filters of convolutions as pictures, by the axes of each framework."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.measures.filters import filters

KERNEL = np.random.default_rng(0).standard_normal((8, 3, 5, 5))


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        ("out in kh kw", (0, 1, 2, 3)),
        ("kh kw in out", (2, 3, 1, 0)),
        ("out kh kw in", (0, 2, 3, 1)),
        ("in out kh kw", (1, 0, 2, 3)),
    ],
)
def test_filters_of_colours_are_the_same_pictures_in_every_layout(axes, order):
    found = filters(from_array("conv", KERNEL.transpose(order), role=Role.KERNEL, axes=axes))
    np.testing.assert_array_equal(found.pictures, KERNEL.transpose(0, 2, 3, 1))
    assert found.units == [f"out {nth}" for nth in range(8)]
    assert not found.guessed


def test_reversed_axes_are_reversed_back():
    found = filters(from_array("conv", KERNEL[:, :, ::-1, ::-1], role=Role.KERNEL, axes="out in -kh -kw"))
    np.testing.assert_array_equal(found.pictures, KERNEL.transpose(0, 2, 3, 1))


def test_other_kernels_have_a_picture_for_each_output_and_input():
    found = filters(from_array("conv", np.concatenate([KERNEL, KERNEL[:, :1]], 1), role=Role.KERNEL, axes="out in kh kw"), 6)
    assert found.count == 32
    assert found.units[:5] == ["out 0, in 0", "out 0, in 1", "out 0, in 2", "out 0, in 3", "out 1, in 0"]
    np.testing.assert_array_equal(found.pictures[4, :, :, 0], KERNEL[1, 0])


def test_a_depthwise_kernel_has_one_for_each_input():
    found = filters(from_array("conv", KERNEL[:, :1].transpose(2, 3, 0, 1), role=Role.KERNEL, axes="kh kw in mult"))
    assert found.pictures.shape == (8, 5, 5, 1)
    np.testing.assert_array_equal(found.pictures[3, :, :, 0], KERNEL[3, 0])


def test_unknown_axes_are_assumed_to_be_pytorchs_and_marked_as_guessed():
    assert filters(from_array("conv1.weight", KERNEL, role=Role.KERNEL)).guessed
    assert filters(from_array("conv1.weight", KERNEL.transpose(2, 3, 1, 0), role=Role.KERNEL)) is None


@pytest.mark.parametrize("shape", [(8, 3, 1, 1), (8, 3), (8, 3, 64, 64), (0, 3, 3, 3)])
def test_a_weight_that_is_not_an_image_filter_has_no_pictures(shape):
    axes = "out in kh kw" if len(shape) == 4 else "out in"
    assert filters(from_array("w", np.zeros(shape), role=Role.KERNEL, axes=axes)) is None
