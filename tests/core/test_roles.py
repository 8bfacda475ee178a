"""The role of a weight of which only the name and the number of axes are known."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.core.roles import infer_roles, layer_of, plain_layer, role_of
from steelyard.core.weight import Role


@pytest.mark.parametrize(
    ("name", "ndim", "role"),
    [
        ("a.weight", 2, Role.KERNEL), ("a/weight", 4, Role.KERNEL), ("a.b/weight", 2, Role.KERNEL), ("a/b.weight", 2, Role.KERNEL),
        ("weight", 2, Role.KERNEL), ("a.weight", 1, Role.SCALE), ("a.weight", 0, Role.OTHER), ("a.bias", 1, Role.BIAS),
        ("a/kernel", 2, Role.KERNEL), ("a/beta", 1, Role.OFFSET), ("gamma", 1, Role.SCALE), ("a.running_var", 1, Role.VARIANCE),
        ("a.moving_mean", 1, Role.MEAN), ("bn.num_batches_tracked", 0, Role.COUNT), ("rnn.weight_hh_l1_reverse", 2, Role.RECURRENT_KERNEL),
        ("rnn.weight_ih_l0", 2, Role.KERNEL), ("rnn.bias_hh", 1, Role.BIAS), ("coefs_.0", 2, Role.KERNEL),
        ("intercepts_.12", 1, Role.BIAS), ("a/embedding", 2, Role.EMBEDDING), ("whatever", 2, Role.OTHER), ("xweight", 2, Role.OTHER),
        ("tok_embeddings.weight", 2, Role.EMBEDDING), ("wte.weight", 2, Role.EMBEDDING), ("transformer.wpe.weight", 2, Role.EMBEDDING),
        ("emb.weight", 2, Role.EMBEDDING), ("Embed_0.weight", 2, Role.EMBEDDING), ("emb.weight", 3, Role.KERNEL),
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
