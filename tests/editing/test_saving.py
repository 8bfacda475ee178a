"""A lazy result is written as other weights are: each number is computed once, and the files that it is made of may be replaced."""

from collections import Counter

import numpy as np
import pytest
from torch import nn

import steelyard
from steelyard.core.weight import Weight
from steelyard.errors import IncompleteWarning, NonFiniteWarning


def counted(seen, arrays):
    def weight(name, array):
        def read(start, stop):
            seen.update((name, at) for at in range(start, stop))
            return array.reshape(-1)[start:stop].copy()

        return Weight(name=name, shape=array.shape, dtype=array.dtype.name, read=read, layer="fc")

    return steelyard.Weights([weight(name, array) for name, array in arrays.items()])


@pytest.mark.parametrize(
    "suffix", ["safetensors", "npz", "npy", "pt", "h5", "msgpack", "gguf", "rds", "raw", "safetensors.index.json"]
)
def test_save_computes_each_number_once_and_still_finds_those_that_are_not_finite(small_sizes, tmp_path, suffix):
    arrays = {"fc.weight": np.arange(60, dtype="float32").reshape(6, 10), "fc.bias": np.ones(7, "float32")}
    arrays["fc.weight"][1, 2] = np.nan
    arrays = {"fc.weight": arrays["fc.weight"]} if suffix == "npy" else arrays
    seen = Counter()
    with pytest.warns(NonFiniteWarning, match=r"fc.weight is not finite: 1 NaN, first at \[1, 2\]") as caught:
        steelyard.save(counted(seen, arrays), tmp_path / f"a.{suffix}")
    assert caught[0].filename == __file__
    assert set(seen.values()) == {1}
    assert sum(seen.values()) == sum(array.size for array in arrays.values())


def test_a_tied_weight_is_computed_once(tmp_path):
    nets = [nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2)]
    for net in nets:
        net[1].weight = net[0].weight
    calls = []
    made = steelyard.weights(nets[0]).combine(lambda x, y: (calls.append(x.shape), x + y)[1], steelyard.weights(nets[1]))
    steelyard.save(made, tmp_path / "a.safetensors")
    assert sorted(calls) == [(3,), (3,), (3, 3)]
    assert steelyard.weights(tmp_path / "a.safetensors")["1.weight"].tied == "0.weight"


def test_a_weight_that_is_not_finite_is_not_written_where_warnings_are_errors(tmp_path):
    with pytest.raises(NonFiniteWarning):
        steelyard.save({"w": np.array([np.inf])}, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt", "h5", "rds"])
def test_a_result_may_replace_a_file_that_it_is_made_of(small_sizes, tmp_path, suffix):
    path, other = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    arrays = [{"w": np.random.default_rng(seed).normal(size=(9, 7))} for seed in range(2)]
    for array, file in zip(arrays, (path, other), strict=True):
        steelyard.save(array, file)
    steelyard.save(steelyard.weights(path) + steelyard.weights(other), path)
    assert np.array_equal(steelyard.weights(path)["w"].numpy(), arrays[0]["w"] + arrays[1]["w"])


@pytest.mark.parametrize("in_place", [True, False])
def test_a_result_may_replace_the_shards_that_it_is_made_of(small_sizes, tmp_path, in_place):
    arrays = {name: np.full((5, 3), nth, "float32") for nth, name in enumerate("abcd")}
    index = tmp_path / "net.safetensors.index.json"
    steelyard.save(arrays, index, shard_size=60)
    w = steelyard.weights(index)
    if in_place:
        steelyard.save(w + w, index, shard_size=120)
        read = steelyard.weights(index)
    else:
        shard = tmp_path / w.meta["shards"][0]
        steelyard.save(w + w, shard)
        with pytest.warns(IncompleteWarning):  # by its name
            read = steelyard.weights(shard)
    assert {name: weight.numpy().max() for name, weight in read.items()} == {"a": 0, "b": 2, "c": 4, "d": 6}
