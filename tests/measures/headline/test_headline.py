"""The sentence on top of a view: families and structures from what a file shows, and amounts as the frameworks count them."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageClassification

import steelyard
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.measures.headline import on_top, sentence
from steelyard.measures.headline.amounts import types
from steelyard.text.rows import rows_of

SIZES = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "num_key_value_heads": 2,
}
OF_GPT2 = {"vocab_size": 40, "n_embd": 24, "n_layer": 12, "n_head": 2, "n_positions": 16}
IMAGE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "image_size": 8,
    "patch_size": 4,
}
ENCODER_DECODER = {
    "vocab_size": 40,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 16,
}
FAMILIES = [
    (AutoModelForCausalLM, "gpt2", OF_GPT2, "GPT-2-like: 12 blocks, 24 wide, tied"),
    (AutoModelForCausalLM, "llama", SIZES, "LLaMA-like: 3 blocks, 24 wide"),
    (AutoModelForCausalLM, "qwen2", SIZES, "Qwen2-like: 3 blocks, 24 wide"),
    (AutoModelForCausalLM, "qwen3", SIZES | {"head_dim": 12}, "Qwen3-like: 3 blocks, 24 wide"),
    (AutoModelForCausalLM, "gpt_neox", SIZES, "GPT-NeoX-like: 3 blocks, 24 wide"),
    (AutoModelForCausalLM, "mixtral", SIZES | {"num_local_experts": 5}, "Mixtral-like: 3 blocks, 24 wide, 5 experts"),
    (AutoModel, "bert", SIZES, "BERT-like: 3 blocks, 24 wide"),
    (AutoModel, "t5", {"vocab_size": 40, "d_model": 24, "d_kv": 12, "d_ff": 40, "num_layers": 3, "num_heads": 2},
     "T5-like: 3 encoder blocks, 3 decoder blocks, 24 wide"),
    (AutoModel, "bart", ENCODER_DECODER, "BART-like: 3 encoder blocks, 2 decoder blocks, 24 wide"),
    (AutoModel, "vit", IMAGE, "ViT-like: 3 blocks, 24 wide"),
    (AutoModelForImageClassification, "resnet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 3]},
     "ResNet-like: 2 stages of 2 and 3 blocks"),
]  # fmt: skip


@pytest.fixture(params=FAMILIES, ids=[family[1] for family in FAMILIES])
def case(request):
    """Return a live net of a family without numbers, and the beginning of its sentence."""
    loader, kind, settings, begins = request.param
    with torch.device("meta"):
        return loader.from_config(AutoConfig.for_model(kind, **settings)), begins


def test_families_are_known_by_their_names_and_are_only_like_them(case):
    net, begins = case
    named = steelyard.weights(dict(net.state_dict()))
    assert sentence(named).startswith(begins.replace(", tied", ""))
    assert sentence(steelyard.weights(net)).startswith(begins)


def test_parameters_are_those_of_the_framework(case):
    net, _ = case
    parameters, buffers = (sum(each.numel() for each in listed) for listed in (net.parameters(), net.buffers()))
    found = sentence(steelyard.weights(net))
    assert f"{parameters:,} parameters + " in found
    held = sum(value.numel() for value in net.state_dict().values()) - parameters
    assert (f"{held:,} in buffers" if held and buffers else "0 buffers") in found or "tied" in found


def test_a_config_beside_the_file_states_the_family(tmp_path):
    config = AutoConfig.for_model("gpt2", **OF_GPT2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    found = sentence(steelyard.weights(tmp_path / "model.safetensors"))
    assert found.startswith("GPT-2: 12 blocks, 24 wide, ")
    (tmp_path / "config.json").unlink()
    assert sentence(steelyard.weights(tmp_path / "model.safetensors")) == found.replace("GPT-2:", "GPT-2-like:")


def test_a_config_states_a_type_that_proves_no_axes_too(tmp_path):
    config = AutoConfig.for_model("mixtral", **SIZES | {"num_local_experts": 5})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert sentence(steelyard.weights(tmp_path / "model.safetensors")).startswith("Mixtral: 3 blocks, 24 wide, 5 experts")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own\x1b[2J"}))
    assert sentence(steelyard.weights(tmp_path / "model.safetensors")).startswith("own\\u001b[2J: 3 blocks")


def test_a_resnet_is_known_by_the_names_of_its_stages():
    names = [
        f"layer{i}.{j}.{each}"
        for i in range(1, 5)
        for j in range(2)
        for each in ("conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias")
    ]
    net = {name: np.zeros((2, 2, 3, 3) if "conv" in name else 2, "float32") for name in ["conv1.weight", *names]}
    assert sentence(steelyard.weights(net)).startswith("ResNet-like: 4 stages of 2 blocks, ")


STRUCTURES = [
    (nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), "MLP 64-32-10, relu: 2,410 parameters + 0 buffers, float32, 9.64 kB"),
    (nn.Linear(4, 3), "dense layer 4-3: 15 parameters + 0 buffers, float32, 60 bytes"),
    (nn.Sequential(*(nn.Linear(2, 2) for _ in range(9))), "MLP 2-2-2-2-...-2-2: 54 parameters"),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)),
     "CNN: 1 convolution, 1 dense layer, 154 parameters + 9 in buffers, float32"),
    (nn.LSTM(3, 5, 2), "LSTM-like: 2 recurrent kernels, 5 wide, 2 other kernels, 440 parameters"),
    (nn.GRU(3, 5), "GRU-like: 1 recurrent kernel, 5 wide, 1 other kernel, 150 parameters"),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 5, enable_nested_tensor=False), "5 blocks, 8 wide, 3,000 parameters"),
]  # fmt: skip


@pytest.mark.parametrize(("net", "begins"), STRUCTURES, ids=[begins.split(":")[0] for _, begins in STRUCTURES])
def test_nets_of_no_family_are_described_by_their_structure(net, begins):
    assert sentence(steelyard.weights(net)).startswith(begins)


def test_layers_that_do_not_form_a_chain_are_only_counted():
    net = nn.ModuleList([nn.Linear(4, 3), nn.Linear(5, 2)])
    assert sentence(steelyard.weights(net)).startswith("2 dense layers, 27 parameters")


def test_types_are_those_of_the_most_bytes_and_counters_do_not_count():
    net = nn.Sequential(nn.Linear(30, 30).half(), nn.BatchNorm1d(30))
    assert re.search(r", float16 \(\d\d%\) and float32, ", sentence(steelyard.weights(net)))


def test_packed_integers_and_numbers_in_a_text_are_of_their_type_and_quantised_ones_of_the_file_s():
    kinds = {"int16": "leb128", "float32": "text", "float16": "Q4_K"}
    held = [
        Weight(name=name, shape=(4,), dtype=name, read=lambda first, last: None, encoding=word) for name, word in kinds.items()
    ]
    assert [types(rows_of(Weights([each]))) for each in held] == ["int16", "float32", "Q4_K"]


def test_frozen_parameters_are_told_apart_where_that_is_known():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    assert "23 parameters + 0 buffers, 8 of them trainable, float32" in sentence(steelyard.weights(net))
    assert "trainable" not in sentence(steelyard.weights(dict(net.state_dict())))


def test_the_bytes_of_int8_are_those_of_size():
    net = steelyard.weights(nn.Sequential(nn.Linear(200, 100), nn.Linear(100, 10)))
    assert steelyard.size(net).encodings["int8"].nbytes == 21_880
    assert sentence(net).endswith("84.4 kB; at int8 21.9 kB")


def test_adapters_are_named_with_their_rank():
    net = {
        f"layers.{n}.q_proj.lora_{side}.weight": np.zeros(shape)
        for n in range(4)
        for side, shape in (("A", (8, 32)), ("B", (32, 8)))
    }
    assert "LoRA of rank 8 on 4 layers" in sentence(steelyard.weights(net))


def test_a_table_has_no_sentence_that_only_repeats_its_totals():
    net = steelyard.weights({"a": np.zeros(3)})
    assert sentence(net) == "3 numbers, float64, 24 bytes"
    assert on_top(net, rows_of(net)) == ""
    assert sentence(steelyard.weights({})) == ""


def test_names_of_any_kind_have_a_sentence():
    names = ["9" * 5000, ".", "..", "h." + "9" * 12 + ".w.b", "h.\u0663.w", "\x1b[2J.0.a.b", "h.1.attn.c_attn.weight" * 50]
    net = steelyard.weights({name: np.zeros((2, 2)) for name in names})
    assert "\x1b" not in sentence(net)


def test_the_sentence_is_on_top_of_the_table_and_of_the_notebook():
    net = steelyard.weights(nn.Linear(4, 3))
    assert repr(net).splitlines()[:2] == [sentence(net), ""]
    assert net._repr_html_().index(sentence(net)) < net._repr_html_().index("<table")


def test_a_chain_names_its_activations_where_a_graph_is_known():
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(1))
    assert sentence(steelyard.weights(net)).startswith("MLP 784-128-32-10, relu, softmax: 104,938 parameters")
    assert sentence(steelyard.weights(net.state_dict())).startswith("MLP 784-128-32-10: 104,938 parameters")
    assert sentence(steelyard.weights(nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()))).startswith("dense layer 4-3, sigmoid: ")
    assert sentence(steelyard.weights(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()))).startswith("CNN: 1 convolution")
