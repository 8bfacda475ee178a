"""The role of a weight, inferred from its name and its number of axes alone."""

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.roles import infer_roles, layer_of, plain_layer, role_of
from steelyard.core.weight import Role


@pytest.mark.parametrize(
    ("name", "ndim", "role"),
    [
        ("a.weight", 2, Role.KERNEL), ("a/weight", 4, Role.KERNEL), ("a.b/weight", 2, Role.KERNEL), ("a/b.weight", 2, Role.KERNEL),
        ("weight", 2, Role.KERNEL), ("a.weight", 1, Role.OTHER), ("ln_f.weight", 1, Role.SCALE), ("norms.0.weight", 1, Role.SCALE), ("a.weight", 0, Role.OTHER), ("a.bias", 1, Role.BIAS),
        ("a/kernel", 2, Role.KERNEL), ("a/beta", 1, Role.OFFSET), ("gamma", 1, Role.SCALE), ("a.running_var", 1, Role.VARIANCE),
        ("a.moving_mean", 1, Role.MEAN), ("bn.num_batches_tracked", 0, Role.COUNT), ("rnn.weight_hh_l1_reverse", 2, Role.RECURRENT_KERNEL),
        ("rnn.weight_ih_l0", 2, Role.KERNEL), ("rnn.bias_hh", 1, Role.BIAS), ("coefs_.0", 2, Role.KERNEL),
        ("intercepts_.12", 1, Role.BIAS), ("a/embedding", 2, Role.EMBEDDING), ("whatever", 2, Role.OTHER), ("xweight", 2, Role.OTHER),
        ("tok_embeddings.weight", 2, Role.EMBEDDING), ("wte.weight", 2, Role.EMBEDDING), ("transformer.wpe.weight", 2, Role.EMBEDDING),
        ("emb.weight", 2, Role.EMBEDDING), ("Embed_0.weight", 2, Role.EMBEDDING), ("emb.weight", 3, Role.KERNEL),
        ("shared.weight", 2, Role.EMBEDDING), ("embed_out.weight", 2, Role.KERNEL), ("text_embedder.q.weight", 2, Role.KERNEL),
        ("ls1.gamma", 1, Role.SCALE), ("layer_scale1.lambda1", 1, Role.SCALE), ("logit.scale", 0, Role.OTHER),
        ("member.weight", 2, Role.KERNEL), ("newte.weight", 2, Role.KERNEL),
    ],
)  # fmt: skip
def test_the_last_word_of_a_name_is_its_role(name, ndim, role):
    assert role_of(name, ndim) is role


@pytest.mark.parametrize(
    ("name", "layer"), [("a.b.w", "a.b"), ("a/b/w", "a/b"), ("a.b/w", "a.b"), ("a/b.w", "a/b"), ("w", ""), ("/w", ""), (".w", "")]
)
def test_the_layer_is_what_is_before_the_last_dot_or_slash(name, layer):
    assert layer_of(name) == layer


def test_the_collections_of_flax_are_no_part_of_a_layer():
    for collection in ("params", "batch_stats"):
        assert plain_layer(f"{collection}/a/b") == "a/b"
    assert plain_layer("a/params/b") == "a/params/b"
    assert plain_layer("params.a") == "params.a"


def test_a_bias_beside_a_scale_or_a_mean_is_an_offset_and_a_known_role_stays():
    def roles(*leaves, **known):
        weights = [from_array(f"x.{leaf}", np.zeros(3), layer="x", role=known.get(leaf, Role.OTHER)) for leaf in leaves]
        return [weight.role for weight in infer_roles(weights)]

    assert roles("weight", "bias") == [Role.SCALE, Role.OFFSET]
    assert roles("running_mean", "bias") == [Role.MEAN, Role.OFFSET]
    assert roles("bias") == [Role.BIAS]
    assert roles("weight", "bias", weight=Role.KERNEL) == [Role.KERNEL, Role.BIAS]
    assert roles("scale", "kernel", "bias") == [Role.SCALE, Role.KERNEL, Role.BIAS]


def proven(classes=None, **shapes):
    """Return the role and the axes of each weight of a layer "a" with these shapes."""
    weights = [from_array(f"a.{leaf.replace('__', '.')}", np.ones(shape, "f4"), layer="a") for leaf, shape in shapes.items()]
    return {w.name[2:]: (str(w.role), w.axes) for w in infer_roles(weights, {"a": classes or ""})}


def test_the_bias_of_a_layer_proves_which_axis_of_its_kernel_is_that_of_the_outputs():
    assert proven(weight=(768, 192), bias=768) == {"weight": ("kernel", "out in"), "bias": ("bias", "out")}
    assert proven(weight=(192, 768), bias=768) == {"weight": ("kernel", "in out"), "bias": ("bias", "out")}
    assert proven(kernel=(3, 5), bias=5) == {"kernel": ("kernel", "in out"), "bias": ("bias", "out")}


def test_a_square_kernel_and_one_without_a_bias_prove_no_axes():
    assert proven(weight=(5, 5), bias=5) == {"weight": ("kernel", ""), "bias": ("bias", "out")}
    assert proven(weight=(4, 5)) == {"weight": ("kernel", "")}
    assert proven(weight=(4, 5), bias=7) == {"weight": ("kernel", ""), "bias": ("bias", "")}
    assert proven(weight=(8, 4, 3, 3), bias=8)["weight"] == ("kernel", "")


def test_a_linear_model_is_not_a_norm():
    for shape in ((), (1,)):
        found = proven(w=3, b=shape)
        assert found["w"] == ("other", "")
        assert found["b"] == ("bias", "")
    assert proven(scale=3, bias=())["bias"] == ("bias", "")


def test_one_axis_is_a_scale_only_where_the_layer_shows_that_it_is_a_norm():
    norm = {"weight": ("scale", "channel"), "bias": ("offset", "channel")}
    assert proven(weight=3, bias=3) == norm
    assert proven(weight=3) == {"weight": ("other", "")}
    assert proven(weight=3, running_mean=3, running_var=3)["weight"] == ("scale", "channel")
    assert proven("LlamaRMSNorm", weight=3) == {"weight": ("scale", "channel")}
    assert proven("Linear", weight=3) == {"weight": ("other", "")}


def test_stacked_norms_are_not_kernels():
    assert proven("RMSNorm", weight=(12, 3)) == {"weight": ("scale", "")}
    assert proven(weight=(12, 3), bias=(12, 3)) == {"weight": ("scale", ""), "bias": ("offset", "")}
    assert proven("NormedLinear", weight=(12, 3), bias=12)["weight"] == ("kernel", "out in")


def test_packed_numbers_are_not_kernels():
    gptq = proven(qweight=(8, 64), qzeros=(1, 8), scales=(1, 64), g_idx=64, bias=64)
    assert {role for leaf, (role, _) in gptq.items() if leaf != "bias"} == {"other"}
    assert gptq["bias"] == ("bias", "")
    assert proven(weight=(4, 5), SCB=4)["weight"] == ("other", "")
    (nibbles,) = infer_roles([from_array("fc.weight", np.zeros((10, 1), np.uint8), layer="fc")])
    assert (nibbles.role, nibbles.axes) == (Role.OTHER, "")


def test_a_word_for_embeddings_beside_a_bias_is_a_kernel():
    weights = [
        from_array(f"time_embed.0.{leaf}", np.ones(s), layer="time_embed.0") for leaf, s in (("weight", (4, 3)), ("bias", 4))
    ]
    assert [(str(w.role), w.axes) for w in infer_roles(weights)] == [("kernel", "out in"), ("bias", "out")]
    (alone,) = infer_roles([from_array("wte.weight", np.ones((4, 3)), layer="wte")])
    assert (str(alone.role), alone.axes) == ("embedding", "vocab out")


@pytest.mark.parametrize("layer", ["normal", "abnormal_2", "normals"])
def test_a_layer_whose_name_says_normal_is_not_a_norm(layer):
    assert steelyard.weights({f"{layer}.weight": np.ones(4)})[f"{layer}.weight"].role == "other"


@pytest.mark.parametrize("layer", ["norm", "batch_normalization_1", "LayerNorm_0", "normalise", "post_norm"])
def test_a_layer_whose_name_says_norm_is_one(layer):
    assert steelyard.weights({f"{layer}.weight": np.ones(4)})[f"{layer}.weight"].role == "scale"


def test_many_numbered_weights_of_one_layer_have_the_roles_of_a_few():
    for prefix, role in (("list.", "other"), ("weights.", None), ("biases.", None)):
        few, many = (
            {str(w.role) for w in steelyard.weights({f"{prefix}{n}": np.ones((2, 3)) for n in range(count)}).values()}
            for count in (5, 300)
        )
        assert few == many
        assert role is None or many == {role}
