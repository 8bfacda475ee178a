"""A net is a stack where it is a chain of dense layers, whose activations its graph or the user gives."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.transfers.stacks import stack_of

RNG = np.random.default_rng(0)
KERNELS = {"a": RNG.normal(size=(4, 3)).astype("f4"), "b": RNG.normal(size=(2, 4)).astype("f4")}
BIAS = RNG.normal(size=2).astype("f4")


def weights(*nodes, sequential=True, inputs=None):
    made = [from_array(f"{name}.weight", array, role=Role.KERNEL, axes="out in", layer=name) for name, array in KERNELS.items()]
    made.append(from_array("b.bias", BIAS, role=Role.BIAS, axes="out", layer="b"))
    return Weights(
        made, graph=Graph(nodes, is_execution_order=True, is_sequential=sequential, input_shapes=inputs) if nodes else None
    )


A, B = Layer("a", "dense", "Linear"), Layer("b", "dense", "Linear")


def activation(word, **settings):
    return Layer("act", "activation", "Act", {"activation": word, **settings})


def test_a_chain_is_its_layers_with_the_activation_after_each():
    stack = stack_of(weights(A, activation("relu"), Layer("d", "dropout"), Layer("i", "other", "Identity"), B), None)
    assert [(layer.name, layer.activation, layer.settings) for layer in stack.layers] == [("a", "relu", {}), ("b", "linear", {})]
    assert np.array_equal(stack.layers[0].kernel, KERNELS["a"])
    assert stack.layers[0].bias is None
    assert np.array_equal(stack.layers[1].bias, BIAS)
    assert (stack.input_shape, stack.flattened, stack.dtype) == ((3,), False, "float32")


def test_a_layer_may_have_its_activation_as_a_setting_and_a_softmax_is_one():
    first = Layer("a", "dense", "Dense", {"activation": "swish"})
    stack = stack_of(weights(first, B, Layer("s", "softmax", "Softmax", {"activation": "softmax", "axis": -1})), None)
    assert [layer.activation for layer in stack.layers] == ["silu", "softmax"]
    with pytest.raises(ShapeError, match="'act' is a second activation after 'a'"):
        stack_of(weights(first, activation("relu"), B), None)


@pytest.mark.parametrize(
    ("word", "settings", "kept"),
    [
        ("leaky_relu", {"negative_slope": 0.3}, {"negative_slope": 0.3}),
        ("elu", {"alpha": 2}, {"alpha": 2.0}),
        ("softplus", {"beta": 1, "threshold": 20}, {}),
        ("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}, {}),
        ("softmax", {"axis": 1}, {}),
        ("softmax", {"axis": -1}, {}),
        ("relu", {"weights": ("w",)}, {}),
    ],
)
def test_a_setting_of_an_activation_is_kept_or_the_usual_one(word, settings, kept):
    stack = stack_of(weights(A, activation(word, **settings), B), None)
    assert (stack.layers[0].activation, stack.layers[0].settings) == (word, kept)


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("softplus", {"beta": 1.1}), ("softplus", {"beta": "1"}), ("softplus", {"threshold": 19}), ("relu", {"alpha": 1}),
        ("softmax", {"axis": 2}), ("softmax", {"axis": 0}), ("leaky_relu", {"negative_slope": "x"}), ("hard_sigmoid", {"beta": 0.6}),
    ],
)  # fmt: skip
def test_any_other_setting_of_an_activation_is_refused(word, settings):
    ((name, _),) = settings.items()
    with pytest.raises(ShapeError, match=f"the activation after 'a' is {word} with {name}="):
        stack_of(weights(A, activation(word, **settings), B), None)


def test_a_flatten_that_keeps_the_order_may_come_first_and_other_layers_may_not():
    for settings in ({}, {"data_format": "channels_last"}):
        flatten = Layer("f", "flatten", "Flatten", settings)
        stack = stack_of(weights(flatten, A, B, inputs=((1, 3),)), None)
        assert (stack.flattened, stack.input_shape) == (True, (1, 3))
    assert not stack_of(weights(flatten, A, B, inputs=((3,),)), None).flattened
    assert not stack_of(weights(A, flatten, B, inputs=((1, 3),)), None).flattened
    for node in (Layer("f", "flatten", "Flatten", {"axes": (2, 1)}), Layer("p", "pool", "MaxPool")):
        with pytest.raises(ShapeError, match="is not allowed in a stack of dense layers"):
            stack_of(weights(node, A, B), None)
    with pytest.raises(ShapeError, match="'a' is a dense layer with groups=2"):
        stack_of(weights(Layer("a", "dense", "Linear", {"groups": 2}), B), None)


def test_given_activations_are_one_for_each_layer_in_the_only_order_or_by_name():
    for given in (["relu", "tanh"], {"a": "relu", "b": "tanh"}):
        stack = stack_of(weights(), given)
        assert [(layer.name, layer.activation) for layer in stack.layers] == [("a", "relu"), ("b", "tanh")]
    with pytest.raises(ShapeError, match="there are 1 activations for 2 dense layers, a, b"):
        stack_of(weights(), ["relu"])
    with pytest.raises(ShapeError, match="activations names a, the dense layers are a, b"):
        stack_of(weights(), {"a": "relu"})
    with pytest.raises(ShapeError, match="pass a list"):
        stack_of(weights(), "relu")
    with pytest.raises(AmbiguityError, match="the activation between a and b is not in the source"):
        stack_of(weights(), None)


def test_an_order_that_shapes_do_not_give_is_refused():
    def dense(**shapes):
        return {f"{name}.weight": np.zeros(shape) for name, shape in shapes.items()} | {
            f"{name}.bias": np.zeros(shape[0]) for name, shape in shapes.items()
        }

    with pytest.raises(AmbiguityError, match="the order of a, b is not known, and several"):
        stack_of(dense(a=(3, 3), b=(3, 3)), ["relu", "relu"])
    with pytest.raises(ShapeError, match="no order of a, b makes their shapes compatible"):
        stack_of(dense(a=(3, 4), b=(5, 6)), ["relu", "relu"])
    with pytest.raises(ShapeError, match="'n' is not a dense layer"):
        stack_of({"n.weight": np.zeros(3), "n.bias": np.zeros(3)}, ["relu"])
    stack = stack_of(dense(last=(1, 2), first=(3, 4), middle=(2, 3)), ["relu", "tanh", "linear"])
    assert [layer.name for layer in stack.layers] == ["first", "middle", "last"]


def test_a_net_that_branches_is_no_stack():
    nodes = Layer("a", "dense", "Linear", inputs=()), Layer("b", "dense", "Linear", inputs=())
    with pytest.raises(ShapeError, match="this net is not a chain"):
        stack_of(weights(*nodes, sequential=False), ["relu", "linear"])


def test_a_single_layer_is_a_stack_too():
    kernel = from_array("a.weight", KERNELS["a"].astype("f8"), role=Role.KERNEL, axes="out in", layer="a")
    stack = stack_of(Weights([kernel], graph=Graph([A], is_execution_order=True, is_sequential=True)), None)
    assert (len(stack.layers), stack.dtype) == (1, "float64")
