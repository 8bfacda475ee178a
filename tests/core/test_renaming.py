"""A graph follows its weights when they are renamed or left out."""

import numpy as np
import pytest

import steelyard
from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError


def weights():
    """Weights of a graph of a file, which lists them one by one, with a wrapper around the second layer."""
    names = ("net.fc1.w", "net.fc1.b", "net.wrap.fc2.w")
    made = [from_array(name, [1.0], layer=name.rpartition(".")[0]) for name in names]
    layers = [
        Layer("net.fc1", "dense", "Gemm", {"weights": names[:2], "activation": "relu"}, (1,), (2,), ()),
        Layer("net.wrap", "other", "Wrapper", {"wraps": "net.wrap.fc2"}, inputs=("net.fc1",)),
        Layer("net.wrap.fc2", "dense", "Dense", inputs=("net.wrap",)),
    ]
    return Weights(made, graph=Graph(layers, is_execution_order=True, channels="last", is_sequential=True))


def test_layers_their_lists_of_weights_wrappers_and_inputs_have_the_new_names():
    graph = weights().rename(r"net\.(.*)", r"model/\1").graph
    assert [layer.name for layer in graph.layers] == ["model/fc1", "model/wrap", "model/wrap.fc2"]
    first, wrapper, _ = graph.layers
    assert first.settings == {"weights": ("model/fc1.w", "model/fc1.b"), "activation": "relu"}
    assert (first.kind, first.class_name, first.input_shape, first.output_shape) == ("dense", "Gemm", (1,), (2,))
    assert wrapper.settings == {"wraps": "model/wrap.fc2"}
    assert [layer.inputs for layer in graph.layers] == [(), ("model/fc1",), ("model/wrap",)]
    assert (graph.is_execution_order, graph.channels) == (True, "last")


def test_a_layer_without_a_list_of_weights_gets_none():
    assert "weights" not in weights().rename(r"net\.(.*)", r"model/\1").graph.layers[2].settings


@pytest.mark.parametrize("template", [r"\9", r"\g<nothing>", "\\"])
def test_a_template_that_the_pattern_cannot_fill_is_an_error_in_one_line(template):
    w = steelyard.weights({"a": np.ones(2)})
    with pytest.raises(ShapeError, match=r"invalid template '.*' for the pattern '\(a\)'"):
        w.rename("(a)", template)
    with pytest.raises(ShapeError, match="invalid template"):
        steelyard.plan_transfer({"a.weight": np.ones((2, 2))}, into={"a.weight": np.ones((2, 2))}, rules={"(a)": template})
