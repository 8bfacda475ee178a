"""The config.json next to a model of the Hub proves the axes of kernels that are square, have no bias, or are convolutions."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from frameworks.torch.test_roles_of_nets import NETS, net_of
from safetensors.torch import save_file

import steelyard
from steelyard import limits
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.layers.torch import hub


def kernels(found):
    return {name: weight.axes for name, weight in found.items() if weight.role is Role.KERNEL and weight.tied is None}


@pytest.fixture
def gpt2(tmp_path):
    net = net_of("GPT2")
    net.save_pretrained(tmp_path)
    return net, tmp_path


@pytest.mark.parametrize("name", NETS)
def test_every_kernel_of_a_saved_net_has_the_axes_of_the_live_one(name, tmp_path):
    net = net_of(name)
    net.save_pretrained(tmp_path)
    live = steelyard.weights(net)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        file = steelyard.weights(path)
        assert all(kernels(file).values())
        renamed = name == "ViT"  # transformers saves it under the names of its older versions
        assert renamed or kernels(file) == {key: live[key].axes for key in kernels(file)}
        assert Counter(kernels(file).values()) == Counter(kernels(live).values())
        assert file.meta["config.json"] == {"model_type": net.config.model_type, "architecture": type(net).__name__}


def test_files_of_pytorch_and_shards_have_them_too(gpt2):
    net, folder = gpt2
    live = kernels(steelyard.weights(net))
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    assert kernels(steelyard.weights(folder / "pytorch_model.bin")) == live
    steelyard.save(
        {name: weight.numpy() for name, weight in steelyard.weights(net).items() if not weight.tied},
        folder / "model.safetensors.index.json", shard_size=4096,
    )  # fmt: skip
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["metadata"]["steelyard"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert kernels(steelyard.weights(folder / "model.safetensors.index.json")) == live


CONFIGS = {
    "a config without a type": {"architectures": ["GPT2LMHeadModel"]},
    "a type that is not known": {"model_type": "own"},
    "a type that is not a text": {"model_type": ["gpt2"]},
    "classes that are code of the model": {"model_type": "gpt2", "auto_map": {"AutoModel": "modeling.Own"}},
    "a list": ["gpt2"],
}


@pytest.mark.parametrize("config", [*CONFIGS.values(), None], ids=[*CONFIGS, "no config"])
def test_without_a_type_that_is_known_the_axes_of_a_square_stay_blank(gpt2, config):
    _, folder = gpt2
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    found = steelyard.weights(folder / "model.safetensors")
    assert found["transformer.h.0.attn.c_proj.weight"].axes == ""
    assert ("config.json" in found.meta) is (config == CONFIGS["a type that is not known"])


def test_a_config_that_is_damaged_too_large_or_not_a_file_proves_nothing(gpt2):
    _, folder = gpt2
    text = (folder / "config.json").read_text()
    with limits.allow(HUB_CONFIG=len(text) - 1):
        assert steelyard.weights(folder)["transformer.h.0.attn.c_proj.weight"].axes == ""
    (folder / "config.json").write_text(text[:-3])
    assert steelyard.weights(folder)["transformer.h.0.attn.c_proj.weight"].axes == ""
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert steelyard.weights(folder)["transformer.h.0.attn.c_proj.weight"].axes == ""


def test_a_file_of_another_name_or_framework_is_not_that_of_the_config(gpt2):
    _, folder = gpt2
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert steelyard.weights(folder / "other.safetensors")["transformer.h.0.attn.c_proj.weight"].axes == ""
    save_file({"h.c_proj.weight": torch.zeros(4, 4)}, folder / "model.safetensors", metadata={"format": "mlx"})
    assert steelyard.weights(folder / "model.safetensors")["h.c_proj.weight"].axes == ""


def test_a_model_with_a_config_can_be_written_over_its_own_file(gpt2):
    _, folder = gpt2
    steelyard.save(str(folder / "model.safetensors"), folder / "model.safetensors", dtype="float16")
    found = steelyard.weights(folder / "model.safetensors")
    assert found["transformer.h.0.attn.c_proj.weight"].dtype == "float16"
    assert found["transformer.h.0.attn.c_proj.weight"].axes == "in out"


@pytest.mark.parametrize("kind", sorted(hub.TYPES))
def test_the_type_of_a_model_says_what_the_classes_of_transformers_are(kind):
    import transformers

    config = transformers.AutoConfig.for_model(kind)
    for part in (config, getattr(config, "text_config", config), getattr(config, "vision_config", config)):
        for word in ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "n_layers"):
            if isinstance(getattr(part, word, None), int):
                setattr(part, word, 2)
        for word in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if isinstance(getattr(part, word, None), int):
                setattr(part, word, 0)
    with torch.device("meta"):
        net = transformers.AutoModel.from_config(config)
    found = kernels(steelyard.weights(net))
    assert sum(name.endswith(".weight") for name in found) >= 4
    for name, axes in found.items():
        shape = net.get_parameter(name).shape
        bare = from_array(name, np.broadcast_to(np.float32(0), shape), role=Role.KERNEL)
        assert hub.axes_of(kind, bare) == (axes if name.endswith(".weight") else ""), name
