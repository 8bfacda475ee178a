"""Rows and columns: blocks and their parts by the names of nets of many frameworks, and what is done where there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard
from steelyard import Weights
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.measures.grid import layout_of

SQUARE, VECTOR = (4, 4), (4,)


def laid_out(shapes):
    """Return the layout of names with shapes, or of names alone: those of norms have one axis."""
    if not isinstance(shapes, dict):
        shapes = {name: VECTOR if any(word in name for word in ("norm", "bn", "ln_")) else SQUARE for name in shapes}
    return layout_of(steelyard.weights({name: np.zeros(shape, "f4") for name, shape in shapes.items()}).values())


def blocks(template, numbers, parts):
    return [template.format(number) + part for number in numbers for part in parts]


ATTENTION = [f".attn.{each}.weight" for each in "qkvo"]
EXPERTS = [f".mlp.experts.{nth}.{each}.weight" for nth in range(8) for each in ("up", "gate", "down")]
T5_ENCODER = [".layer.0.SelfAttention.q.weight", ".layer.0.norm.weight", ".layer.1.Dense.wi.weight", ".layer.1.norm.weight"]
T5_DECODER = [*T5_ENCODER[:2], ".layer.1.Cross.q.weight", ".layer.1.norm.weight", ".layer.2.Dense.wi.weight"]
RESNET = [".conv1.weight", ".bn1.weight", ".conv2.weight", ".bn2.weight"]
NETS = {
    "a transformer": (
        ["wte.weight", *blocks("h.{}", range(12), [*ATTENTION, ".ln_1.weight", ".ln_2.weight"]), "ln_f.weight"],
        [f"h.{nth}" for nth in range(12)],
        ["attn.q.weight", "attn.k.weight", "attn.v.weight", "attn.o.weight", "ln_1.weight", "ln_2.weight"],
    ),
    "a GGUF": (
        ["token_embd.weight", *blocks("blk.{}", range(3), [".attn_q.weight", ".ffn_up.weight"])],
        ["blk.0", "blk.1", "blk.2"],
        ["attn_q.weight", "ffn_up.weight"],
    ),
    "experts share columns": (
        blocks("model.layers.{}", range(2), [*ATTENTION, ".mlp.gate.weight", *EXPERTS]),
        ["model.layers.0", "model.layers.1"],
        [
            *(part[1:] for part in ATTENTION),
            *("mlp.gate.weight", "mlp.experts.[0-7].up.weight", "mlp.experts.[0-7].gate.weight", "mlp.experts.[0-7].down.weight"),
        ],
    ),
    "an encoder and a decoder": (
        [*blocks("encoder.block.{}", range(2), T5_ENCODER), *blocks("decoder.block.{}", range(2), T5_DECODER)],
        ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"],
        [
            *("layer.0.SelfAttention.q.weight", "layer.0.norm.weight", "layer.1.Dense.wi.weight", "layer.1.norm.weight"),
            *("layer.1.Cross.q.weight", "layer.2.Dense.wi.weight"),
        ],
    ),
    "stages of a ResNet": (
        ["conv1.weight", *blocks("layer{}.0", (1, 2), RESNET), *blocks("layer{}.1", (1, 2), RESNET), "fc.weight"],
        ["layer1.0", "layer1.1", "layer2.0", "layer2.1"],
        ["conv1.weight", "bn1.weight", "conv2.weight", "bn2.weight"],
    ),
    "stages of a DenseNet": (
        blocks("features.denseblock1.denselayer{}", (1, 2, 3), RESNET) + blocks("features.denseblock2.denselayer{}", (1, 2), RESNET),
        [f"features.denseblock{stage}.denselayer{nth}" for stage, nth in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2))],
        ["conv1.weight", "bn1.weight", "conv2.weight", "bn2.weight"],
    ),
    "blocks with their rest in a stage": (
        [
            *blocks("layers.0.blocks.{}", (0, 1), ATTENTION),
            *("layers.0.downsample.reduction.weight",),
            *blocks("layers.1.blocks.{}", (0, 1), ATTENTION),
        ],
        ["layers.0.blocks.0", "layers.0.blocks.1", "layers.0", "layers.1.blocks.0", "layers.1.blocks.1"],
        ["attn.q.weight", "attn.k.weight", "attn.v.weight", "attn.o.weight", "downsample.reduction.weight"],
    ),
    "Keras's ResNet": (
        blocks("conv2_block{}", (1, 2), ["_1_conv/kernel", "_1_bn/gamma"]) + blocks("conv3_block{}", (1, 2), ["_1_conv/kernel", "_1_bn/gamma"]),
        ["conv2_block1", "conv2_block2", "conv3_block1", "conv3_block2"],
        ["1_conv/kernel", "1_bn/gamma"],
    ),
    "Keras's EfficientNet": (
        blocks("block{}", ("1a", "2a", "2b"), ["_expand_conv/kernel", "_bn/gamma"]),
        ["block1a", "block2a", "block2b"],
        ["expand_conv/kernel", "bn/gamma"],
    ),
    "Flax's collections": (
        blocks("params/Block_{}", (0, 1), ["/Dense_0/kernel", "/BatchNorm_0/scale"]) + blocks("batch_stats/Block_{}", (0, 1), ["/BatchNorm_0/mean"]),
        ["Block_0", "Block_1"],
        ["Dense_0/kernel", "BatchNorm_0/scale", "BatchNorm_0/mean"],
    ),
    "an adapter": (
        blocks("base_model.model.layers.{}", range(2), [f".attn.{each}.lora_{side}.weight" for each in "qv" for side in "AB"]),
        ["base_model.model.layers.0", "base_model.model.layers.1"],
        ["attn.q.lora_A.weight", "attn.q.lora_B.weight", "attn.v.lora_A.weight", "attn.v.lora_B.weight"],
    ),
    "a number that is only a name": (
        blocks("wav2vec2.resnet18.layers.{}", range(2), ATTENTION),
        ["wav2vec2.resnet18.layers.0", "wav2vec2.resnet18.layers.1"],
        [part[1:] for part in ATTENTION],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NETS)
def test_rows_are_blocks_and_columns_their_parts(case):
    names, rows, columns = NETS[case]
    found = laid_out(names)
    assert (found.kind, found.rows, found.columns) == ("blocks", rows, columns)
    assert sorted([*found.places, *found.outside]) == sorted(names)


def test_blocks_are_in_the_order_of_their_numbers_in_an_alphabetical_file():
    names = sorted(NETS["a transformer"][0])
    found = laid_out(names)
    assert found.rows == [f"h.{nth}" for nth in range(12)]
    assert found.places["h.10.attn.q.weight"] == (10, found.columns.index("attn.q.weight"))
    assert found.outside == ["ln_f.weight", "wte.weight"]


def test_two_convolutions_of_a_block_are_not_blocks_though_their_names_repeat():
    parts = {
        ".conv.0.0.weight": (96, 16, 1, 1),
        ".conv.0.1.weight": (96,),
        ".conv.1.0.weight": (96, 1, 3, 3),
        ".conv.1.1.weight": (96,),
    }
    found = laid_out({f"features.{nth}{part}": shape for nth in range(3) for part, shape in parts.items()})
    assert found.rows == ["features.0", "features.1", "features.2"]
    assert found.columns == ["conv.0.0.weight", "conv.0.1.weight", "conv.1.0.weight", "conv.1.1.weight"]


def test_a_net_without_repeated_blocks_has_a_row_for_each_layer():
    found = laid_out({"fc1.weight": SQUARE, "fc1.bias": VECTOR, "fc2.weight": SQUARE, "fc2.bias": VECTOR, "scale": ()})
    assert (found.kind, found.rows, found.columns) == ("layers", ["fc1", "fc2", "scale"], ["weight", "bias", ""])


def test_a_layer_may_be_named_after_its_weight():
    listed = [from_array(f"{kind}_.{nth}", np.zeros(2), layer=str(nth)) for nth in range(2) for kind in ("coefs", "intercepts")]
    found = layout_of(listed)
    assert (found.rows, found.columns) == (["0", "1"], ["coefs_", "intercepts_"])


def test_names_without_structure_have_one_column():
    found = laid_out([f"a{nth}x.b{nth}y" for nth in range(100)])
    assert (found.kind, len(found.rows), found.columns) == ("weights", 100, [""])


def test_a_word_that_all_names_begin_with_is_no_layer_with_hundreds_of_weights():
    found = laid_out([f"gpu_0.res{nth}branch" for nth in range(20)])
    assert (found.kind, len(found.rows), found.columns) == ("weights", 20, [""])


def test_counters_are_left_out_by_name_unless_there_is_nothing_else():
    names = {"bn1.weight": VECTOR, "bn1.num_batches_tracked": (), "bn2.weight": VECTOR, "bn2.num_batches_tracked": ()}
    assert laid_out(names).left_out == ["bn1.num_batches_tracked", "bn2.num_batches_tracked"]
    assert laid_out(["num_batches_tracked"]).rows == ["num_batches_tracked"]


def test_no_weights_have_no_rows():
    assert layout_of(Weights([]).values()).rows == []


WORDS = st.sampled_from(["a", "b", "0", "1", "10", "1a", ".", "/", "_", "\x00", "\u202e", ""])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(WORDS, max_size=8).map("".join), unique=True, max_size=30), st.integers(0, 3))
def test_every_weight_has_one_place_whatever_it_is_called(names, axes):
    listed = [from_array(name, np.zeros((2,) * axes)) for name in names]
    found = layout_of(listed)
    assert sorted([*found.places, *found.outside, *found.left_out]) == sorted(names)
    assert all(row < len(found.rows) and column < len(found.columns) for row, column in found.places.values())
    assert len(found.rows) * len(found.columns) <= 16 * len(names) + 1024


def test_weights_whose_names_do_not_say_where_they_are_have_the_place_of_their_layer():
    placed = [
        (f"onnx::Conv_{7 * block + 2 * nth + kind}", f"/stage{block // 2}/stage{block // 2}.{block % 2}/conv{nth}/Conv", kind)
        for block in range(4)
        for nth in range(2)
        for kind in range(2)
    ]
    listed = [
        from_array(name, np.zeros(VECTOR if kind else (4, 4, 3, 3), "f4"), layer=layer, role=Role.BIAS if kind else Role.KERNEL)
        for name, layer, kind in placed
    ]
    found = layout_of(listed)
    assert (found.kind, found.rows) == ("blocks", [f"/stage{block // 2}/stage{block // 2}.{block % 2}" for block in range(4)])
    assert found.columns == ["conv0/Conv/kernel", "conv0/Conv/bias", "conv1/Conv/kernel", "conv1/Conv/bias"]
    assert found.places["onnx::Conv_10"] == (1, 3)
    layers = layout_of(each for each in listed if "stage0.0" in each.layer)
    assert (layers.kind, layers.columns) == ("layers", ["kernel", "bias"])
