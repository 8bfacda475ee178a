"""What a text names: a weight before a layer, a layer before a position."""

import numpy as np
import pytest

import steelyard
from steelyard.core.naming import named
from steelyard.errors import OutsideError, ShapeError, WeightNotFoundError


@pytest.fixture(scope="module")
def net():
    names = ("h.0.fc.weight", "h.0.fc.bias", "h.1.fc.weight", "odd[0]", "2", "10.weight")
    return steelyard.weights({name: np.full((2, 2), nth, "f4") for nth, name in enumerate(names)})


def test_a_name_a_part_and_a_position_name_one_weight(net):
    assert named(net, "h.0.fc.bias") is net["h.0.fc.bias"]
    assert named(net, "h.1.fc.weight[1,:1]").numpy().tolist() == [2]
    assert [named(net, text).name for text in ("0", "-1", "-6", "5")] == [
        "h.0.fc.weight",
        "10.weight",
        "h.0.fc.weight",
        "10.weight",
    ]
    assert named(net, "-2[0]").name == "2[0]"


def test_a_layer_or_a_folder_of_layers_names_its_weights(net):
    assert list(named(net, "h.0.fc")) == ["h.0.fc.weight", "h.0.fc.bias"]
    assert list(named(net, "h")) == ["h.0.fc.weight", "h.0.fc.bias", "h.1.fc.weight"]
    flax = steelyard.weights({"params/Dense_0/kernel": np.ones((2, 2)), "params/Dense_01/kernel": np.ones((2, 2))})
    assert list(named(flax, "Dense_0")) == list(named(flax, "params/Dense_0")) == ["params/Dense_0/kernel"]


def test_names_come_before_layers_and_layers_before_positions(net):
    assert named(net, "2").name == "2"  # not the third weight
    assert named(net, "odd[0]").shape == (2, 2)  # not a part
    assert list(named(net, "10")) == ["10.weight"]


@pytest.mark.parametrize("text", ["6", "-7", "999999999999"])
def test_a_position_outside_names_the_range(net, text):
    with pytest.raises(OutsideError, match=rf"no weight {text}: positions are from 0 to 5, or from -1 at the end"):
        named(net, text)


def test_an_unknown_name_suggests_weights_and_layers(net):
    with pytest.raises(WeightNotFoundError, match=r"no weight or layer is called 'h.0.fcc'; did you mean 'h.0.fc'\?"):
        named(net, "h.0.fcc")
    for text in ("", "[0]", "h.0.fc[0]", "1" * 30):
        with pytest.raises(WeightNotFoundError):
            named(net, text)
    with pytest.raises(ShapeError, match="not an index"):
        named(net, "2[x]")
