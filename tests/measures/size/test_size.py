"""The size of nets: counts equal those of the frameworks, bytes those of the quantisers, layers are folded in natural order."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.measures.size.beside import Beside, is_state


def labels(size):
    return [(row.depth, row.label, row.times) for row in size.rows]


@pytest.fixture(scope="module")
def gpt():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=12, n_embd=96, n_head=4, vocab_size=160, n_positions=32))


def test_weights_that_are_alike_are_sized_once_in_each_type(monkeypatch):
    sized = []
    encodings = import_module("steelyard.measures.size.encodings")
    way = encodings.matrix_in_int8
    monkeypatch.setattr(encodings, "matrix_in_int8", lambda weight: sized.append(weight.shape) or way(weight))
    size = steelyard.size({f"h.{nth}.w": np.zeros((4 + nth % 2, 8), "f4") for nth in range(40)})
    assert sized == [(4, 8), (5, 8)]
    assert size.encodings["int8"].nbytes == 20 * (4 * 8 + 4 * 4) + 20 * (5 * 8 + 4 * 5)
    assert size.encodings["q4_0"].matrices == 40
    assert size.encodings["q4_0"].instead == {"float16": 40}


def test_a_file_whose_scopes_list_the_same_is_not_listed_again_for_what_is_beside_the_model(tmp_path, monkeypatch):
    steelyard.save({"w": np.ones(3)}, tmp_path / "net.safetensors")
    again = import_module("steelyard.measures.size.beside")
    monkeypatch.setattr(again, "weights_of", lambda *_, **__: pytest.fail("listed again"))
    assert again.beside(str(tmp_path / "net.safetensors"), steelyard.weights(tmp_path / "net.safetensors")) == Beside()


def test_parameters_of_transformers_are_those_that_it_counts_and_tied_ones_count_once(gpt):
    size = steelyard.size(gpt)
    assert size.parameters == size.trainable == gpt.num_parameters() == sum(p.numel() for p in gpt.parameters())
    assert size.tied == gpt.lm_head.weight.numel()
    assert size.nbytes == 4 * size.parameters


def test_twelve_blocks_are_one_row_in_natural_order_also_where_the_file_has_them_by_the_alphabet(gpt, tmp_path):
    gpt.save_pretrained(tmp_path)
    assert list(steelyard.weights(tmp_path))[8].startswith("transformer.h.0")
    size = steelyard.size(tmp_path)
    assert size.parameters == gpt.num_parameters()
    block = next(row for row in size.rows if row.name == "transformer.h.[0-11]")
    assert (block.label, block.depth, block.times, block.leaf) == ("h.[0-11]", 1, 12, False)
    assert block.parameters == sum(p.numel() for p in gpt.transformer.h.parameters())
    inside = [row for row in size.rows if row.name.startswith("transformer.h.[0-11].")]
    assert {row.times for row in inside} == {12}
    assert {row.label for row in inside} >= {"ln_1", "ln_2"}  # two layers of a block are no blocks
    assert sum(row.parameters for row in inside if row.leaf) == block.parameters
    assert sum(row.share for row in size.rows if row.leaf) == pytest.approx(1)


def test_blocks_that_differ_are_rows_of_their_own_and_experts_fold_within_their_layers():
    wide = {f"layers.{n}.experts.{m}.w": np.zeros((4, 4)) for n in range(3) for m in range(8)}
    size = steelyard.size({**wide, "layers.3.experts.0.w": np.zeros((4, 4))})
    assert labels(size) == [(0, "layers", 1), (1, "[0-2].experts.[0-7]", 24), (1, "3.experts.0", 1)]
    assert [row.parameters for row in size.rows] == [400, 384, 16]


def test_layers_of_blocks_that_are_alike_have_the_names_of_the_first_and_the_last_block():
    names = [f"net.layers.{n}.experts.{m}.{part}.w" for n in range(8, 12) for m in range(12) for part in ("up", "down")]
    names += [f"net.layers.{n}.{name}" for n in (20, 100) for name in ("a/b.c.w", "a.b.d.w", "a/b.e.w")]
    found = {row.name: row.parameters for row in steelyard.size({name: np.zeros(2) for name in names}).rows if row.leaf}
    assert found == {
        "net.layers.[8-11].experts.[0-11].up": 96,
        "net.layers.[8-11].experts.[0-11].down": 96,
        **{f"net.layers.{n}.{name}": 2 for n in (20, 100) for name in ("a/b.c", "a.b.d", "a/b.e")},
    }


def test_frozen_parameters_and_buffers_are_counted_apart():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    size = steelyard.size(net)
    assert (size.parameters, size.trainable, size.frozen, size.unknown, size.buffers) == (29, 14, 15, 0, 7)
    assert [row.frozen for row in size.rows] == [15, 0, 0]
    assert "29 parameters: 14 trainable, 15 frozen; 7 numbers in buffers" in str(size)


def test_counts_of_keras_are_those_of_its_models():
    import keras

    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    model.layers[0].trainable = False
    size = steelyard.size(model)
    trainable = sum(int(np.prod(each.shape)) for each in model.trainable_weights)
    assert (size.parameters + size.buffers, size.trainable) == (model.count_params(), trainable)


def test_own_weights_of_a_layer_with_others_inside_have_rows():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 1, 8))
            self.patch = nn.Linear(4, 8)

    size = steelyard.size(nn.ModuleDict({"embed": Embedded(), "head": nn.Linear(8, 2)}))
    assert [row.name for row in size.rows] == ["embed", "embed.token", "embed.patch", "head"]
    assert size.rows[0].parameters == 48


def test_state_of_the_optimizer_is_beside_the_model(tmp_path):
    net = nn.Linear(8, 4)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 8)).sum().backward()
    adam.step()
    torch.save(
        {"model": net.state_dict(), "optimizer_state_dict": adam.state_dict(), "rng_state": torch.ones(5)}, tmp_path / "c.pt"
    )
    size = steelyard.size(tmp_path / "c.pt")
    assert (size.parameters, size.nbytes) == (36, 144)
    assert size.beside == (2 * 36 + 2, 4 * (2 * 36 + 2), 5, 20)
    assert "beside the model, not counted here: the optimizer's state 296 bytes, other tensors 20 bytes" in str(size)
    assert steelyard.size(tmp_path / "c.pt", scope="model").beside == (0, 0, 0, 0)
    assert steelyard.size(net).training - 4 * 36 == 36 * (4 + 8)  # a gradient and two moments in float32


@pytest.mark.parametrize(
    ("name", "state"), [("opt.layers.0.weight", True), ("model.optimal.weight", False), ("w/Momentum", True)]
)
def test_optimizers_are_known_by_the_words_of_names(name, state):
    assert is_state(name) is state


def test_a_model_whose_names_sound_like_an_optimizer_is_not_beside_itself(tmp_path):
    torch.save({"opt.fc.weight": torch.ones(2, 3)}, tmp_path / "m.pt")
    assert steelyard.size(tmp_path / "m.pt").beside.optimizer == 0


# bytes in other types


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    shapes = {
        "wte.weight": (96, 256),
        "fc1.weight": (512, 256),
        "fc1.bias": (512,),
        "fc2.weight": (32, 512),
        "norm.weight": (32,),
    }
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@pytest.mark.parametrize("word", ["q8_0", "q4_0"])
def test_bytes_in_blocks_are_those_that_the_quantiser_makes(word, dense):
    assert steelyard.size(dense).encodings[word].nbytes == steelyard.quantize(dense, word, like="gguf").nbytes


def test_bytes_in_int8_are_those_that_bitsandbytes_would_have(dense):
    left = dense["wte.weight"]
    made = steelyard.quantize(dense, "int8", like="bitsandbytes")
    without_embedding = made.nbytes - 4 * left.size - made.select("*weight_format").nbytes
    assert steelyard.size(dense).encodings["int8"].nbytes == without_embedding + left.size + 4 * len(left)


def test_bytes_in_floats_are_those_of_a_cast_net():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    size = steelyard.size(net)
    for word, cast in (("float16", torch.float16), ("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        assert size.encodings[word].nbytes == steelyard.weights(net.to(cast)).nbytes
        net.float()


def test_rows_that_are_no_whole_blocks_have_another_type_and_this_is_said(dense):
    types = steelyard.size(
        {**dense, "odd.weight": np.ones((4, 96), "float32"), "conv.weight": np.ones((4, 2, 3, 3), "float32")}
    ).encodings
    assert types["q4_K"].instead == {"q5_0": 1, "float16": 1}
    assert types["q4_K"].nbytes == (96 + 512 + 2 * 32) * 144 + 4 * 3 * 22 + 72 * 2 + (512 + 32) * 4
    assert types["q4_K"].note == "2 of 5 matrices have rows that are no whole blocks of 256, and count as q5_0 (1), float16 (1)"
    assert types["q8_0"].instead == {"float16": 1}
    assert not types["int8"].note


def test_what_fits_is_listed(dense):
    size = steelyard.size(dense)
    held = size.fits(size.encodings["int8"].nbytes / 1e9)
    assert list(held) == ["int8", "q4_0", "q4_K"]
    assert not size.fits(1e-9)
    with pytest.raises(ShapeError, match="-1 gigabytes is no size of a memory; it must be a positive number"):
        size.fits(-1)


def test_quantised_files_count_the_numbers_of_the_net_and_the_bytes_of_the_file(dense, tmp_path):
    plain = steelyard.size(dense)
    for word, like, file in (
        ("q4_0", "gguf", "q.gguf"),
        ("int8", "bitsandbytes", "q.safetensors"),
        ("int4", "compressed-tensors", "q/"),
    ):
        made = steelyard.quantize(dense, word, like=like)
        path = f"{tmp_path}/{file}"
        steelyard.save(made, path)
        size = steelyard.size(path)
        assert size.parameters + size.other == plain.parameters, word
        assert size.nbytes == made.nbytes < plain.nbytes, word


# what is printed


def test_printing_fits_eighty_columns_and_the_notebook_has_its_words(gpt):
    from steelyard.text.sizes import size_lines
    from steelyard.text.terminal import Screen

    size = steelyard.size(gpt)
    lines = "\n".join(size_lines(size, Screen(80), memory=1_000_000)).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("into 1 MB the weights fit as") for line in lines)
    page = size._repr_html_()
    assert "h.[0-11]" in page
    assert "<script" not in page
    assert "<svg" not in page


def test_more_than_forty_rows_are_shown_to_the_depth_that_has_at_most_these():
    net = {f"part{chr(97 + n)}.{word}.{leaf}.w": np.zeros(n + 1) for n in range(20) for word in "ab" for leaf in "cd"}
    lines = str(steelyard.size(net)).splitlines()
    assert lines.index("") == 21
    assert len(steelyard.size(net).rows) == 20 * (1 + 2 * 3)


def test_a_hostile_name_is_escaped_and_a_deep_one_is_no_deep_tree():
    size = steelyard.size({"<b>\u202e\n.w": np.ones(2), ".".join("a" * 5000): np.ones(3)})
    assert "\u202e" not in str(size)
    assert "\u202e" not in size._repr_html_()
    assert max(row.depth for row in size.rows) < 40


def test_records_and_tables_have_every_row(gpt, tmp_path):
    size = steelyard.size(gpt)
    assert [record["name"] for record in size.to_records()] == [row.name for row in size.rows]
    assert json.loads(json.dumps(size.to_dict()))["encodings"]["float16"]["nbytes"] == 2 * size.parameters
    size.write(f"{tmp_path}/size.csv")
    assert len((tmp_path / "size.csv").read_text().splitlines()) == len(size.rows) + 1


def test_nothing_has_no_size():
    assert str(steelyard.size({})) == "no weights"
    assert "no weights" in steelyard.size({})._repr_html_()


def test_no_number_is_read(tmp_path):
    steelyard.save({"fc.weight": np.ones((64, 64), "float32")}, tmp_path / "w.safetensors")
    listed = steelyard.weights(tmp_path / "w.safetensors")
    refusing = listed.with_weights(each.replace(read=_refuse) for each in listed.values())
    assert steelyard.size(refusing).nbytes == 4 * 64 * 64


def _refuse(start, stop):
    raise AssertionError((start, stop))


def test_a_slash_at_the_beginning_of_a_name_separates_nothing():
    layers = ("/a/conv/Conv", "/a/dense/MatMul", "/b/conv/Conv")
    net = steelyard.Weights([from_array(f"onnx::{nth}", np.ones(3 + nth), layer=layer) for nth, layer in enumerate(layers)])
    assert labels(steelyard.size(net)) == [(0, "/a", 1), (1, "conv/Conv", 1), (1, "dense/MatMul", 1), (0, "/b/conv/Conv", 1)]
