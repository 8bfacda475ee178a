"""A model in shards has the effective weights of the joined file, also where a tensor of the index is stored in several parts."""

import json

import numpy as np
import pytest
import torch
from flax import serialization
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import steelyard
from steelyard.errors import FormatError

RNG = np.random.default_rng(0)
KERNELS = {f"{layer}.weight": RNG.normal(size=(32, 64)).astype("f4") for layer in "ab"}


def index(folder, suffix, parts, write):
    """Write shards, one for each part, and the index of their tensors; return its path."""
    names = {}
    for place, part in enumerate(parts, 1):
        shard = f"model-{place:05}-of-{len(parts):05}{suffix}"
        write(part, folder / shard)
        names |= dict.fromkeys(part, shard)
    path = folder / f"model{suffix}.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return path


def quantised_tensors(folder):
    """Pickles of tensors that are quantised by channel: codes, scales and zero points are listed for each."""
    scales, zeros = torch.full((32,), 0.1), torch.ones(32, dtype=torch.long)
    state = {
        name: torch.quantize_per_channel(torch.from_numpy(array), scales, zeros, 0, torch.qint8)
        for name, array in KERNELS.items()
    }
    torch.save(state, folder / "one.pt")
    return folder / "one.pt", index(folder, ".bin", [{name: tensor} for name, tensor in state.items()], torch.save)


def torchao(folder):
    """Files whose metadata has the class and the blocks of each tensor."""
    steelyard.save(steelyard.quantize(KERNELS, "int8", like="torchao"), folder / "one.safetensors")
    stored = load_file(folder / "one.safetensors")
    with safe_open(folder / "one.safetensors", "np") as file:
        texts = file.metadata()

    def write(part, path):
        said = {name: texts[name] for name in KERNELS if name[0] == min(part)[0]}
        save_file(part, path, {**said, "tensor_names": json.dumps([*said])})

    parts = [{name: array for name, array in stored.items() if name[0] == layer} for layer in "ab"]
    return folder / "one.safetensors", index(folder, ".safetensors", parts, write)


def normalised_flax(folder):
    """Files of Flax, whose index has the paths of the parameters; that of a scale has slashes within a key."""
    trees = [{"fc": {"kernel": KERNELS["a.weight"]}}, {"WeightNorm_0": {"fc/kernel/scale": np.arange(64, dtype="f4")}}]
    one = folder / "one.msgpack"
    one.write_bytes(serialization.msgpack_serialize({"params": trees[0] | trees[1]}))

    def write(part, path):
        path.write_bytes(serialization.msgpack_serialize({"params": trees["WeightNorm_0" in min(part)]}))

    names = "params/fc/kernel", "params/WeightNorm_0/fc/kernel/scale"
    return one, index(folder, ".msgpack", [{name: None} for name in names], write)


@pytest.mark.parametrize("kind", [quantised_tensors, torchao, normalised_flax])
@pytest.mark.filterwarnings("ignore:torch.quantize_per")
def test_shards_have_the_effective_weights_of_the_joined_file(kind, tmp_path):
    joined, shards = map(steelyard.effective, kind(tmp_path))
    assert set(joined) == set(shards)
    for name, weight in joined.items():
        assert weight.derivation is not None
        assert (shards[name].derivation, shards[name].dtype) == (weight.derivation, weight.dtype)
        assert np.array_equal(shards[name].numpy(), weight.numpy())


@pytest.mark.filterwarnings("ignore:torch.quantize_per")
def test_a_tensor_of_the_index_without_a_part_in_its_shard_is_refused(tmp_path):
    _, path = quantised_tensors(tmp_path)
    known = json.loads(path.read_text())
    known["weight_map"]["a.weight.scales.x"] = known["weight_map"]["a.weight"]
    path.write_text(json.dumps(known))
    with pytest.raises(FormatError, match=r"a\.weight\.scales\.x is not in model-00001-of-00002\.bin"):
        steelyard.weights(path)
