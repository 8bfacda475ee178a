"""What a group of weights may be by the names of its leaves and by its shapes."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.transfers.layers import interpretations
from steelyard.transfers.layers.interpretations import interpreted
from steelyard.transfers.layers.layer_weights import LayerWeights


def kinds(**shapes):
    """Return the kinds that weights of one layer may be, and the purposes of each; leaves are written with two underscores."""
    unassigned = []
    made = interpreted(
        [from_array(f"x.{leaf.replace('__', '.')}", np.zeros(shape)) for leaf, shape in shapes.items()], unassigned
    )
    if not made:
        assert len(unassigned) == len(shapes)
        return []
    (layer,) = made
    return [(each.kind, sorted({purpose for purpose, _ in each.parts})) for each in layer.interpretations]


NORM, FULL = ["offset", "scale"], ["mean", "offset", "scale", "variance"]


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ({"weight": (3, 4), "bias": (3,)}, [("dense", ["bias", "kernel"])]),
        ({"weight": (3, 4)}, [("dense", ["kernel"]), ("embedding", ["table"])]),
        ({"weight": (5, 4, 3), "bias": (5,)}, [("conv", ["bias", "kernel"]), ("conv transpose", ["bias", "kernel"])]),
        ({"weight": (5, 4, 3, 3), "bias": (4,)}, [("conv transpose", ["bias", "kernel"])]),
        ({"weight": (4,), "bias": (4,)}, [(kind, NORM) for kind in ("layer norm", "group norm", "instance norm")]),
        ({"weight": (4,)}, [("rms norm", ["scale"]), ("prelu", ["slope"]),
                            *((kind, ["scale"]) for kind in ("layer norm", "group norm", "instance norm"))]),
        ({"gamma": (4,), "beta": (4,)}, [(kind, NORM) for kind in ("layer norm", "group norm", "instance norm")]),
        ({"scale": (4,)}, [(kind, ["scale"]) for kind in ("rms norm", "layer norm", "group norm", "instance norm")]),
        ({"beta": (4,)}, [(kind, ["offset"]) for kind in ("layer norm", "group norm", "instance norm")]),
        ({"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
         [(kind, FULL) for kind in ("batch norm", "instance norm")]),
        ({"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)},
         [(kind, FULL) for kind in ("batch norm", "instance norm")]),
        ({"scale": (4,), "bias": (4,), "mean": (4,), "var": (4,)}, [(kind, FULL) for kind in ("batch norm", "instance norm")]),
        ({"running_mean": (4,), "running_var": (4,)},
         [(kind, ["mean", "variance"]) for kind in ("batch norm", "instance norm")]),
        ({"kernel": (3, 4), "bias": (4,)}, [("dense", ["bias", "kernel"])]),
        ({"embedding": (3, 4)}, [("embedding", ["table"])]),
        ({"alpha": (4,)}, [("prelu", ["slope"])]),
        ({"coef_": (3, 4), "intercept_": (3,)}, [("dense", ["bias", "kernel"])]),
        ({"weights": (3, 4), "biases": (4,)}, [("dense", ["bias", "kernel"])]),
        ({"weight_ih": (16, 3), "weight_hh": (16, 4), "bias": (16,)}, [("lstm", ["bias", "kernel", "recurrent kernel"])]),
        ({"kernel": (3, 12), "recurrent_kernel": (4, 12)}, [("gru", ["kernel", "recurrent kernel"])]),
        ({"kernel": (3, 4), "recurrent_kernel": (4, 4), "bias": (4,)}, [("rnn", ["bias", "kernel", "recurrent kernel"])]),
        ({"kernel": (3, 8), "recurrent_kernel": (4, 8)}, []),
        ({"whatever": (3, 4)}, []),
    ],
)  # fmt: skip
def test_leaves_and_shapes_say_what_a_layer_may_be(shapes, wanted):
    assert kinds(**shapes) == wanted


def test_counters_belong_to_no_part_and_are_never_left_over():
    weights = [from_array(f"x.{leaf}", np.zeros(4)) for leaf in ("weight", "bias", "running_mean", "running_var")]
    weights.append(from_array("x.num_batches_tracked", np.zeros(()), role=Role.COUNT))
    unassigned = []
    (layer,) = interpreted(weights, unassigned)
    assert (layer.kind, sorted(purpose for purpose, _ in layer.parts)) == ("batch norm", FULL)
    assert interpreted([weights[-1], from_array("x.odd", np.zeros((2, 3)))], unassigned) == []
    assert [weight.name for weight in unassigned] == ["x.odd"]


@pytest.mark.parametrize(("resets", "shape"), [(True, (2, 12)), (False, (12,))])
def test_a_gru_of_keras_resets_after_the_product_where_its_bias_has_two_rows(resets, shape):
    shapes = {"kernel": (3, 12), "recurrent_kernel": (4, 12), "bias": shape}
    (layer,) = interpreted([from_array(f"x.{leaf}", np.zeros(each)) for leaf, each in shapes.items()], [])
    assert layer.settings == {"reset_after": resets}
    without = {leaf: each for leaf, each in shapes.items() if leaf != "bias"}
    (layer,) = interpreted([from_array(f"x.{leaf}", np.zeros(each)) for leaf, each in without.items()], [])
    assert layer.settings == {}


def test_the_kernels_of_flax_s_convolutions_may_be_flipped_or_depthwise():
    weights = [from_array("x.kernel", np.zeros((3, 2, 4, 4))), from_array("x.bias", np.zeros(4))]
    (layer,) = interpreted(weights, [])
    found = [(each.kind, each.parts["kernel", ""].weight.axes) for each in layer.interpretations]
    assert found == [("conv", "kh kw in out"), ("conv transpose", "kh kw out in"), ("conv transpose", "-kh -kw in out")]
    weights = [from_array("x.kernel", np.zeros((3, 2, 4, 5))), from_array("x.bias", np.zeros(20))]
    (layer,) = interpreted(weights, [])
    assert [each.parts["kernel", ""].weight.axes for each in layer.interpretations] == ["kh kw in mult"]


def test_layers_that_look_alike_are_interpreted_once_and_have_their_own_weights(monkeypatch):
    asked = []
    patterns = interpretations._patterns
    monkeypatch.setattr(interpretations, "_patterns", lambda members: asked.append(list(members)) or patterns(members))
    shapes = {"weight": (4, 3), "bias": (4,), "conv.weight": (4, 3, 3, 3)}
    weights = [from_array(f"{nth}.{leaf}", np.full(shape, nth)) for nth in range(5) for leaf, shape in shapes.items()]
    layers = interpreted(weights, [])
    assert asked == [["weight", "bias"], ["weight"]]
    assert [layer.name for layer in layers] == [name for nth in range(5) for name in (f"{nth}", f"{nth}.conv")]
    for nth, layer in enumerate(layers):
        for each in layer.interpretations:
            assert {part.weight.numpy().flat[0] for part in each.parts.values()} == {nth // 2}
            assert list(each.weights) == [f"{nth // 2}.{leaf}" for leaf in (["weight", "bias"], ["conv.weight"])[nth % 2]]


def test_alternatives_are_made_only_for_layers_that_are_asked_for_them(monkeypatch):
    weights = [from_array(f"{nth}.weight", np.zeros((4, 3, 3, 3))) for nth in range(3)]
    layers = interpreted(weights, [])
    made = []
    twin = LayerWeights.twin
    monkeypatch.setattr(LayerWeights, "twin", lambda self, *args: made.append(self.kind) or twin(self, *args))
    assert not any(layer.is_sure for layer in layers)
    assert made == []
    assert [layers[1].alternatives[0].kind, layers[1].alternatives[0].kind] == ["conv transpose"] * 2
    assert made == ["conv transpose"]
    assert layers[1].alternatives[0].parts["kernel", ""].weight.axes == "in out kh kw"


def test_a_normed_layer_that_looks_like_another_computes_its_own_kernel():
    chance = np.random.default_rng(0)
    listed = [
        (f"{nth}.weight_{part}", chance.normal(size=shape)) for nth in range(2) for part, shape in (("g", (4, 1)), ("v", (4, 3)))
    ]
    layers = interpreted([from_array(*each) for each in listed], [])
    arrays = dict(listed)
    for nth, layer in enumerate(layers):
        g, v = arrays[f"{nth}.weight_g"], arrays[f"{nth}.weight_v"]
        wanted = g * v / np.linalg.norm(v, axis=1, keepdims=True)
        np.testing.assert_allclose(layer.computed["kernel", ""].values(arrays.__getitem__), wanted)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 4)])
@pytest.mark.parametrize(
    "leaves",
    [
        ("weight_ih_l0", "weight_hh_l0"),
        ("weight_ih", "weight_hh"),
        ("kernel", "recurrent_kernel"),
        ("dense_i__kernel", "dense_h__kernel"),
    ],
)
def test_a_recurrent_kernel_without_two_axes_is_of_no_known_cell(leaves, shape):
    assert not {"lstm", "gru", "rnn"} & {kind for kind, _ in kinds(**{leaves[0]: (2, 8), leaves[1]: shape})}
