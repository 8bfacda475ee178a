"""Layers that are stored as one matrix, and their parts."""

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.stacked import PaddedMatrix, split
from steelyard.core.weights import Weights
from steelyard.errors import ReadOnlyError, ShapeError

MATRIX = np.arange(15.0).reshape(5, 3)


def layer(axes, array=MATRIX):
    return from_array("net.hidden", array, axes=axes, layer="net.hidden")


@pytest.mark.parametrize(
    ("axes", "rows"),
    [
        ("1+in out", {"kernel": [1, 2, 3, 4], "bias": 0}),
        ("in+1 out", {"kernel": [0, 1, 2, 3], "bias": 4}),
        ("1+in:2+skip out", {"kernel": [1, 2], "bias": 0, "skip": [3, 4]}),
        ("1+in:2+skip:2 out", {"kernel": [1, 2], "bias": 0, "skip": [3, 4]}),
        ("1+in:0+skip out", {"kernel": [], "bias": 0, "skip": [1, 2, 3, 4]}),
    ],
)
def test_a_matrix_is_split_into_the_rows_that_its_axes_name(axes, rows):
    parts = split(layer(axes))
    assert [part.name for part in parts] == [f"net.hidden.{leaf}" for leaf in rows]
    for part, places in zip(parts, rows.values(), strict=True):
        assert np.array_equal(part.numpy(), MATRIX[places].reshape(part.shape))
        assert part.axes == ("out" if part.name.endswith("bias") else "in out")
        assert part.role == ("bias" if part.name.endswith("bias") else "kernel")


def test_the_parts_are_read_from_the_matrix_on_demand():
    array = MATRIX.copy()
    kernel, bias = split(layer("1+in out", array))
    array[:] = 7.0
    assert kernel.numpy().tolist() == [[7.0] * 3] * 4
    assert kernel.read(2, 5).tolist() == [7.0] * 3
    assert bias.numpy().tolist() == [7.0] * 3


def test_any_other_weight_is_unchanged():
    weight = layer("in out")
    assert split(weight) == [weight]
    assert len(split(layer("out in+1"))) == 1


@pytest.mark.parametrize("axes", ["1+in:9 out", "in+skip out", "1+1+in out", "1+width out", "1+in:2 out", "1+in:-2+skip out"])
def test_parts_that_do_not_fit_the_shape_are_refused(axes):
    with pytest.raises(ShapeError, match="has no such parts"):
        split(layer(axes))


def test_layers_give_the_parts_and_the_mapping_the_whole():
    weights = Weights([layer("1+in out"), from_array("net.scale", np.ones(3), layer="net")])
    assert list(weights) == ["net.hidden", "net.scale"]
    assert {name: list(part) for name, part in weights.layers.items()} == {
        "net.hidden": ["kernel", "bias"],
        "net": ["scale"],
    }
    with pytest.raises(ReadOnlyError):
        weights.layers["net.hidden"].assign({"bias": np.zeros(3)})


def test_a_layer_whose_units_are_not_all_connected_keeps_its_numbers_and_splits_with_zeros():
    def matrix(run):
        made = np.zeros((3, 2))
        made.reshape(-1)[[0, 1, 2, 5]] = run
        return made

    read = PaddedMatrix(from_array("", np.array([1.0, 2.0, 3.0, 4.0])).read, matrix, (3, 2), "1+in out")
    weights = Weights([from_array("hidden", np.zeros(4), layer="hidden").replace(read=read)])
    for found in (weights, weights.copy(), weights.rename("(.*)", r"a.\1")):
        assert found.to_vector().tolist() == [1.0, 2.0, 3.0, 4.0]
        (parts,) = found.layers.values()
        assert [part.numpy().tolist() for part in parts.values()] == [[[3.0, 0.0], [0.0, 4.0]], [1.0, 2.0]]
    doubled = weights.from_vector(weights.to_vector() * 2)
    assert doubled.layers["hidden"]["bias"].numpy().tolist() == [2.0, 4.0]


def test_a_split_layer_is_split_in_another_file_too(tmp_path):
    steelyard.save(Weights([layer("1+in out")]), tmp_path / "a.safetensors")
    parts = steelyard.weights(tmp_path / "a.safetensors").layers["net.hidden"]
    assert list(parts) == ["kernel", "bias"]
    assert np.array_equal(parts["kernel"].numpy(), MATRIX[1:])
