"""Heads of attention: equal to the parts of the arrays by which the frameworks compute."""

import json

import keras
import numpy as np
import pytest
import torch

import steelyard
from steelyard import Weight
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.measures.heads import heads


def part(found, letter):
    return next(each for each in found.parts if each.letter == letter)


def arrays(names, side=12, seed=0):
    chance = np.random.default_rng(seed)
    return {name: chance.standard_normal((side, side)) for name in names}


def test_the_heads_of_pytorch_are_those_that_it_computes_with():
    layer = torch.nn.MultiheadAttention(24, 4)
    net = torch.nn.ModuleDict({"attn": layer, "fc": torch.nn.Linear(24, 24)})
    found = heads(net)
    assert [each.letter for each in found.parts] == list("qkvo")
    assert found.layer == "attn"
    own = [*layer.in_proj_weight.detach().chunk(3), layer.out_proj.weight.detach().T]
    for each, matrix in zip(found.parts, own, strict=True):
        split = matrix.reshape(4, 6, 24).numpy()
        np.testing.assert_array_equal(each.values, split)
        np.testing.assert_allclose(each.norms, np.linalg.norm(split, axis=(1, 2)), rtol=1e-6)
        assert (each.dim, each.side) == (6, 24)


def test_the_heads_of_keras_are_an_axis_of_its_kernels():
    layer = keras.layers.MultiHeadAttention(3, 5)
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, layer(inputs, inputs))
    found = heads(model)
    own = {
        word: each.kernel.numpy()
        for word, each in zip("qkv", (layer.query_dense, layer.key_dense, layer.value_dense), strict=True)
    }
    for letter, array in own.items():
        np.testing.assert_array_equal(part(found, letter).values, array.transpose(1, 2, 0))
    np.testing.assert_array_equal(part(found, "o").values, layer.output_dense.kernel.numpy())


def test_a_fused_kernel_of_gpt_2_has_its_inputs_first():
    chance = np.random.default_rng(0)
    net = {"h.0.attn.c_attn.weight": chance.standard_normal((8, 24)), "h.0.attn.c_proj.weight": chance.standard_normal((8, 8))}
    found = heads(net, count=2)
    fused = net["h.0.attn.c_attn.weight"]
    for nth, letter in enumerate("qkv"):
        np.testing.assert_array_equal(part(found, letter).values, fused[:, nth * 8 : nth * 8 + 8].T.reshape(2, 4, 8))
    np.testing.assert_array_equal(part(found, "o").values, net["h.0.attn.c_proj.weight"].reshape(2, 4, 8))
    assert found.how == "the file does not specify axes; assumed to be in out"


def test_a_kernel_that_weaves_queries_keys_and_values_is_split_head_by_head():
    woven = np.arange(2 * 3 * 4 * 8.0).reshape(2, 3, 4, 8)
    found = heads({"attention.query_key_value.weight": woven.reshape(24, 8)}, count=2)
    for nth, letter in enumerate("qkv"):
        np.testing.assert_array_equal(part(found, letter).values, woven[:, nth])


def test_fewer_keys_than_queries_are_counted_by_the_dimensions_of_a_head():
    chance = np.random.default_rng(0)
    sizes = {"q_proj": 12, "k_proj": 4, "v_proj": 4}
    found = heads({f"self_attn.{word}.weight": chance.standard_normal((rows, 12)) for word, rows in sizes.items()}, count=6)
    assert {each.letter: len(each.values) for each in found.parts} == {"q": 6, "k": 2, "v": 2}


def test_the_number_of_heads_comes_from_the_config_next_to_the_file(tmp_path):
    fused = np.random.default_rng(0).standard_normal((16, 8))
    steelyard.save({"attn.qkv_proj.weight": fused}, tmp_path / "model.safetensors")
    with pytest.raises(AmbiguityError, match="the number of heads of attn is not known; pass heads"):
        heads(tmp_path / "model.safetensors")
    with pytest.raises(AmbiguityError, match="is fused, and the number of its heads of keys is not known"):
        heads(tmp_path / "model.safetensors", count=4)
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "num_key_value_heads": 2}))
    found = heads(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(part(found, "q").values.reshape(8, 8), fused[:8])
    np.testing.assert_array_equal(part(found, "v").values.reshape(4, 8), fused[12:])
    assert found.how == "4 heads, by num_attention_heads of config.json; the file does not specify axes; assumed to be out in"


@pytest.mark.parametrize(
    ("names", "layer"),
    [
        ([f"model.layers.0.self_attn.{w}_proj.weight" for w in "qkvo"], "model.layers.0.self_attn"),
        (
            [
                *(f"encoder.0.attention.self.{w}.weight" for w in ("query", "key", "value")),
                "encoder.0.attention.output.dense.weight",
            ],
            "encoder.0.attention",
        ),
        ([f"block.0.SelfAttention.{w}.weight" for w in "qkvo"], "block.0.SelfAttention"),
        ([f"blk.0.attn_{w}.weight" for w in ("q", "k", "v", "output")], "blk.0"),
        ([f"layers.0.attention.w{w}.weight" for w in "qkvo"], "layers.0.attention"),
        ([f"attn1.{w}.weight" for w in ("to_q", "to_k", "to_v", "to_out.0")], "attn1"),
        ([f"layer/0/attention/{w}_lin/kernel" for w in ("q", "k", "v", "out")], "layer.0.attention"),
    ],
    ids=["Llama", "BERT", "T5", "GGUF", "Meta", "diffusers", "DistilBERT"],
)
def test_the_kernels_of_common_libraries_are_found_by_their_names(names, layer):
    others = arrays(["embed.weight", "mlp.dense.weight", "mlp.out.weight", "output.weight"], seed=1)
    found = heads({**others, **arrays(names)}, count=3)
    assert found.layer == layer
    assert [each.name for each in found.parts] == names


def test_a_layer_or_a_kernel_is_chosen_by_its_name():
    net = arrays([f"h.{nth}.attn.{word}_proj.weight" for nth in range(3) for word in "qkvo"])
    assert heads(net, count=2).layer == "h.0.attn"
    assert heads(net, "h.2", 2).layer == "h.2.attn"
    assert [each.letter for each in heads(net, "h.1.attn.o_proj.weight", 2).parts] == ["o"]


@pytest.mark.parametrize(
    ("net", "name", "count", "message"),
    [
        ({"fc.weight": np.ones((4, 4))}, None, 2, "the source has no attention layer"),
        (arrays(["attn.q_proj.weight"]), "attn.k", 2, "attn.k is no attention layer"),
        (arrays(["attn.q_proj.weight"]), None, 5, r"attn.q_proj.weight of shape \[12, 12\] cannot be split into 5 heads"),
        (arrays(["attn.q_proj.weight"]), None, 0, "heads is 0; it must be positive"),
        (
            {"attn.q_proj.weight": np.ones((12, 4)), "attn.k_proj.weight": np.ones((7, 4))},
            None,
            3,
            "cannot be split into heads of 4",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(net, name, count, message):
    with pytest.raises(ShapeError, match=message) as error:
        heads(net, name, count)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("axes", ["out in", "in out"])
def test_a_large_kernel_is_read_once_in_blocks_and_drawn_in_few_cells(axes):
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        return np.sin(np.arange(start, stop) % 977)

    weight = Weight(
        name="attn.q_proj.weight", shape=(1600, 1600), dtype="float64", read=read, role=steelyard.Role.KERNEL, axes=axes
    )
    found = heads(steelyard.Weights([weight]), count=8)
    assert sum(asked) == weight.size
    assert max(asked) <= steelyard.sizes.PICTURE_BLOCK
    assert found.parts[0].values.shape == (8, 25, 64)
    whole = weight.numpy().reshape(1600, 1600)
    whole = whole if axes == "out in" else whole.T
    np.testing.assert_allclose(found.parts[0].norms, np.linalg.norm(whole.reshape(8, 200, 1600), axis=(1, 2)))
    block = whole[200:208, :25]
    assert found.parts[0].values[1, 0, 0] == block.flat[np.abs(block).argmax()]
