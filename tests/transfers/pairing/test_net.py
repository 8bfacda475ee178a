"""A net is a list of layers, those of its graph where it has one, and what belongs to none."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.transfers.pairing.net import Net


def net(weights, *layers, **graph):
    made = [from_array(name, np.zeros(shape), role=role, axes=axes) for name, (shape, role, axes) in weights.items()]
    return Net(Weights(made), Graph(layers, **graph) if layers else None)


DENSE = {"fc.weight": ((2, 3), Role.KERNEL, "out in"), "fc.bias": ((2,), Role.BIAS, "out")}


def gates(layer):
    return sorted(gate for purpose, gate in layer.parts if purpose == "kernel")


@pytest.mark.parametrize("axes", ["in [iofg]*out", "in out", ""])
def test_the_gates_of_a_recurrent_kernel_are_those_of_its_axes_or_of_its_names(axes):
    state = {"in [iofg]*out": "in [iofg]*out"}.get(axes, axes)
    weights = {"rnn/kernel": ((3, 16), Role.KERNEL, axes), "rnn/recurrent_kernel": ((4, 16), Role.RECURRENT_KERNEL, state)}
    (layer,) = net(weights, Layer("rnn", "lstm", "LSTM")).layers
    assert (layer.kind, gates(layer)) == ("lstm", ["f", "g", "i", "o"])
    forget = layer.parts["kernel", "f"].read(np.arange(48).reshape(3, 16))
    assert forget[0, 0] == (8 if "iofg" in axes else 4), "the order is that of the axes where these are known"


def test_a_layer_of_the_graph_has_its_kind_its_settings_and_all_of_its_weights():
    node = Layer("fc", "dense", "Linear", {"activation": "relu"})
    made = net(DENSE, node)
    (layer,) = made.layers
    assert (layer.name, layer.kind, layer.graph_layer, layer.settings) == ("fc", "dense", node, {"activation": "relu"})
    assert sorted(layer.parts) == [("bias", ""), ("kernel", "")]
    assert made.unassigned == []
    (other,) = net(DENSE, Layer("fc", "other", "Odd")).layers
    assert other.graph_layer is None, "what the graph does not know is known by names"
    (free,) = net({name: (shape, role, "") for name, (shape, role, _) in DENSE.items()}, node).layers
    assert (free.kind, free.graph_layer, free.alternatives) == ("dense", node, [])


def test_the_graph_of_a_file_lists_the_weights_of_a_layer_whatever_their_names():
    weights = {"onnx::1": ((2, 3), Role.KERNEL, "out in"), "odd.b": ((2,), Role.BIAS, "out")}
    (layer,) = net(weights, Layer("Gemm_0", "dense", "Gemm", {"weights": ("onnx::1", "odd.b")})).layers
    assert (layer.name, list(layer.weights)) == ("Gemm_0", ["onnx::1", "odd.b"])


def test_the_weights_of_a_wrapper_belong_to_the_layer_that_it_wraps():
    nodes = Layer("wrap", "other", "Wrapper", {"wraps": "wrap.fc"}), Layer("wrap.fc", "dense", "Dense")
    weights = {"wrap.kernel": ((2, 3), Role.KERNEL, "in out"), "wrap.fc.bias": ((3,), Role.BIAS, "out")}
    (layer,) = net(weights, *nodes).layers
    assert (layer.name, sorted(layer.parts)) == ("wrap.fc", [("bias", ""), ("kernel", "")])


def test_a_layer_all_of_whose_weights_are_tied_is_an_alias_of_their_owner():
    made = [
        from_array("a.weight", np.zeros((2, 3)), role=Role.KERNEL, axes="out in"),
        from_array("b.weight", np.zeros((2, 3)), role=Role.KERNEL, axes="out in", tied="a.weight"),
        from_array("c.weight", np.zeros((2, 3)), role=Role.KERNEL, axes="out in", tied="a.weight"),
        from_array("c.bias", np.zeros(2), role=Role.BIAS, axes="out"),
    ]
    layers = Net(Weights(made), Graph([Layer(name, "dense") for name in "abc"])).layers
    assert [layer.tied for layer in layers] == ["", "a", ""]


@pytest.mark.parametrize(
    ("axes", "where"), [("kh kw in out", "last"), ("out in kh kw", "first"), ("out kh kw in", "last"), ("-kh -kw in out", "last")]
)
def test_the_axes_of_a_kernel_say_where_the_channels_are_unless_the_graph_does(axes, where):
    weights = {"conv.kernel": ((2, 3, 4, 5), Role.KERNEL, axes)}
    assert net(weights, Layer("conv", "conv", "Conv")).channels == where
    assert net(weights, Layer("conv", "conv", "Conv"), channels="last").channels == "last"
    assert net(DENSE).channels == ""


@pytest.mark.parametrize("transposed", [True, False, None])
def test_a_transposed_kernel_of_flax_is_flipped_unless_the_layer_has_transpose_kernel(transposed):
    settings = {} if transposed is None else {"transpose_kernel": transposed}
    weights = {"up.kernel": ((2, 3, 4, 4), Role.KERNEL, ""), "up.bias": ((4,), Role.BIAS, "out")}
    (layer,) = net(weights, Layer("up", "conv transpose", "ConvTranspose", settings)).layers
    found = [each.parts["kernel", ""].weight.axes for each in layer.interpretations]
    assert found == {True: ["kh kw out in"], False: ["-kh -kw in out"], None: ["kh kw out in", "-kh -kw in out"]}[transposed]
