"""The weights of a layer are cut into parts whose purposes and gates all frameworks share."""

import numpy as np
import pytest

from steelyard.core.graph import Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.transfers.layers.layer_weights import weights_of_layer

KERNEL, STATE, BIAS = Role.KERNEL, Role.RECURRENT_KERNEL, Role.BIAS


def layers(kind, members, **options):
    """Return the layers that members are cut into: (leaf, shape, role, axes) each."""
    made = [(leaf, from_array(leaf, np.zeros(shape), role=role, axes=axes)) for leaf, shape, role, axes in members]
    return weights_of_layer("x", kind, made, **options)


def keys(layer):
    return sorted(layer.parts)


def test_each_projection_of_attention_is_a_part_however_it_is_called():
    packed = layers("attention", [
        ("in_proj_weight", (12, 4), KERNEL, "[qkv]*out in"), ("in_proj_bias", (12,), BIAS, "[qkv]*out"),
        ("out_proj/weight", (4, 4), KERNEL, "out in"), ("out_proj/bias", (4,), BIAS, "out"),
    ])  # fmt: skip
    wanted = sorted((f"{name}{bias}", "") for name in ("q", "k", "v", "out") for bias in ("", " bias"))
    assert keys(packed[0]) == wanted
    assert packed[0].parts["q", ""].shape == (4, 4)
    assert packed[0].parts["out bias", ""].shape == (4,)
    for words in (("query", "key", "value", "out"), ("query", "key", "value", "attention_output"),
                  ("query_proj", "key_proj", "value_proj", "output_proj"), ("q_proj", "k_proj", "v_proj", "out_proj"),
                  ("query_dense", "key_dense", "value_dense", "output_dense")):  # fmt: skip
        apart = layers("attention", [
            (f"{word}/{leaf}", (4, 4) if leaf == "kernel" else (4,), KERNEL if leaf == "kernel" else BIAS,
             "in out" if leaf == "kernel" else "out")
            for word in words for leaf in ("kernel", "bias")
        ])  # fmt: skip
        assert keys(apart[0]) == wanted, words
        assert apart[0].parts["k", ""].shape == (4, 4)
        assert apart[0].parts["v bias", ""].shape == (4,)


def test_two_weights_of_one_purpose_are_refused():
    with pytest.raises(ShapeError, match="a and b are both the kernel of x"):
        layers("dense", [("a", (2, 2), KERNEL, "in out"), ("b", (2, 2), KERNEL, "in out")])


@pytest.mark.parametrize(
    ("kind", "leaf", "purpose"),
    [
        ("lstm", "bias_ih_l0", "input bias"), ("lstm", "bias_hh_l0", "recurrent bias"), ("lstm", "bias", "bias"),
        ("gru", "hn/bias", "recurrent bias"), ("lstm", "hn/bias", "bias"), ("gru", "bias_n", "recurrent bias"),
        ("rnn", "h/bias", "bias"), ("gru", "in/bias", "bias"),
    ],
)  # fmt: skip
def test_the_biases_of_the_input_and_of_the_state_are_told_apart_by_name(kind, leaf, purpose):
    (layer,) = layers(kind, [(leaf, (3,), BIAS, "out")])
    assert keys(layer) == [(purpose, "")]


def test_the_bias_of_the_new_gate_of_a_gru_is_the_input_s():
    (layer,) = layers("gru", [("bias", (9,), BIAS, "[rzn]*out")])
    assert keys(layer) == [("bias", "r"), ("bias", "z"), ("input bias", "n")]
    (layer,) = layers("lstm", [("bias", (12,), BIAS, "[ifgo]*out")])
    assert keys(layer) == [("bias", gate) for gate in "fgio"]
    (layer,) = layers("gru", [("bias", (2, 9), BIAS, "[ih] [zrn]*out")])
    assert keys(layer) == [(f"{side} bias", gate) for side in ("input", "recurrent") for gate in "nrz"]


def test_levels_and_directions_are_layers_in_the_order_in_which_they_run():
    ends = [f"_l{level}{way}" for level in (10, 2) for way in ("_reverse", "")]
    made = layers("rnn", [(f"weight_ih{end}", (3, 3), KERNEL, "out in") for end in ends])
    assert [(layer.name, layer.direction) for layer in made] == [
        ("x (2 forward)", "forward"), ("x (2 backward)", "backward"), ("x (10 forward)", "forward"), ("x (10 backward)", "backward"),
    ]  # fmt: skip
    both = layers("lstm", [("W", (2, 12, 5), KERNEL, "dir [iofg]*out in")])
    assert [(layer.name, layer.direction) for layer in both] == [("x", "forward"), ("x (0 backward)", "backward")]
    (named,) = weights_of_layer(
        "net/backward_lstm", "lstm", [("k", from_array("k", np.zeros((5, 12)), role=KERNEL, axes="in [ifgo]*out"))]
    )
    assert named.direction == "backward"


def test_counters_are_left_out_and_settings_come_from_the_graph_or_are_given():
    members = [("kernel", (2, 3), KERNEL, "in out"), ("count", (), Role.COUNT, "")]
    (layer,) = layers("dense", members, settings={"activation": "relu"})
    assert (keys(layer), layer.settings, layer.graph_layer) == ([("kernel", "")], {"activation": "relu"}, None)
    node = Layer("x", "dense", "Dense", {"activation": "tanh"})
    (layer,) = layers("dense", members, node=node, settings={"activation": "relu"})
    assert (layer.settings, layer.graph_layer) == ({"activation": "tanh"}, node)
    assert layers("dense", members)[0].settings == {}


def test_a_separable_convolution_is_two_whose_second_has_the_bias_and_no_strides():
    made = layers("conv", [
        ("depthwise_kernel", (3, 3, 2, 1), KERNEL, "kh kw in mult"), ("pointwise_kernel", (1, 1, 2, 5), KERNEL, "kh kw in out"),
        ("bias", (5,), BIAS, "out"),
    ], settings={"strides": (2, 2), "groups": 2, "activation": "relu"})  # fmt: skip
    assert [(layer.name, keys(layer)) for layer in made] == [
        ("x (depthwise)", [("kernel", "")]), ("x (pointwise)", [("bias", ""), ("kernel", "")]),
    ]  # fmt: skip
    assert made[0].settings["strides"] == (2, 2)
    assert made[1].settings == {"activation": "relu"}


def test_a_matrix_without_axes_is_refused_and_a_vector_needs_none():
    with pytest.raises(ShapeError, match=r"kernel of shape \(2, 3\) has unknown axes"):
        layers("dense", [("kernel", (2, 3), KERNEL, "")])
    assert layers("dense", [("bias", (3,), BIAS, "")])[0].parts["bias", ""].shape == (3,)
    assert layers("prelu", [("alpha", (3,), Role.OTHER, "")])[0].parts["slope", ""].shape == (3,)
