"""Ties and overlaps of files: a fact of the storage, which saving and loading keep, whatever the selection."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_model
from torch import nn

import steelyard
from steelyard.core.weights import Weights
from steelyard.errors import TieLostWarning

SUFFIXES = (".pt", ".npz", ".safetensors")
WRITERS = {".pt": {}, ".npz": {}, ".safetensors": {}, ".gguf": {}, ".h5": {}, ".rds": {}, ".safetensors.index.json": {"shard_size": 40}, ".npz.index.json": {"shard_size": 40}}  # fmt: skip
"""The options of every format that writes without a model and holds ties."""


def saved(state, path):
    torch.save(state, path)
    return steelyard.weights(path)


def test_views_of_one_storage_are_tied_if_they_are_the_same_and_overlap_if_they_share_some_numbers(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "base": base,
        "same": base.view(4, 6),
        "flat": base.view(24),
        "turned": base.t(),
        "row": base[1],
        "column": base[:, 0],
        "left": base[:, :3],
        "right": base[:, 3:],
        "copy": base.clone(),
        "one": base[:1],
        "same one": base[:1].as_strided((1, 6), (99, 1)),
    }
    found = saved(state, tmp_path / "a.pt")
    assert {name: weight.tied for name, weight in found.items() if weight.tied} == {"same": "base", "same one": "one"}
    overlapping = ["flat", "turned", "row", "column", "left", "right", "one"]
    assert {name: weight.overlaps for name, weight in found.items() if weight.overlaps} == dict.fromkeys(overlapping, "base")


def test_views_without_a_common_number_do_not_overlap(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    found = saved({"left": base[:, :3], "right": base[:, 3:], "even": base[::2, :1], "odd": base[1::2, :1]}, tmp_path / "a.pt")
    assert {name: weight.overlaps for name, weight in found.items()} == {
        "left": None,
        "right": None,
        "even": "left",
        "odd": "left",
    }


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_overlaps_are_those_of_numpy(data):
    base = torch.arange(60.0)
    views = {}
    for nth in range(3):
        shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        steps = [data.draw(st.integers(1, 7)) for _ in shape]
        extent = sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        views[f"v{nth}"] = base.as_strided(shape, steps, data.draw(st.integers(0, 59 - extent)))
    with tempfile.TemporaryDirectory() as folder:
        found = saved(views, Path(folder, "a.pt"))
        for name, weight in found.items():
            others = [other for other in views if other < name and np.shares_memory(views[other].numpy(), views[name].numpy())]
            first = next((other for other in others if found[other].tied is None), None)
            assert (weight.tied or weight.overlaps) == first or weight.tied in others


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_tie_is_kept_also_where_its_first_name_is_left_out(suffix, tmp_path):
    net = nn.ModuleDict({name: nn.Linear(3, 3, bias=False, dtype=torch.float64) for name in "abc"})
    net["b"].weight = net["c"].weight = net["a"].weight
    whole = steelyard.weights(net)
    for part in (whole, whole.select(["b.*", "c.*"])):
        steelyard.save(part, tmp_path / f"a{suffix}", **WRITERS[suffix])
        found = steelyard.weights(tmp_path / f"a{suffix}")
        assert list(found) == list(part)
        assert found.size == part.size == 9
        assert [weight.tied for weight in found.values()] == [None, *[next(iter(part))] * (len(part) - 1)]
        assert steelyard.digest(found) == steelyard.digest(part)
        assert steelyard.diff(part, found).same
    if suffix == ".pt":
        state = torch.load(tmp_path / "a.pt", weights_only=True)
        assert state["b.weight"].data_ptr() == state["c.weight"].data_ptr()


@pytest.mark.parametrize(
    "suffix", [each for each in WRITERS if each != ".rds"]
)  # R has no way to share the numbers of two members
def test_the_numbers_of_tied_weights_are_written_once(suffix, tmp_path):
    net = nn.ModuleDict({name: nn.Linear(64, 64, bias=False) for name in "abc"})
    net["b"].weight = net["c"].weight = net["a"].weight
    for part in (steelyard.weights(net), steelyard.weights(net).select(["b.*", "c.*"])):
        folder = tmp_path / str(len(part))
        folder.mkdir()
        steelyard.save(part, folder / f"a{suffix}", **WRITERS[suffix])
        assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5 * part.nbytes


def test_flax_cannot_hold_a_tie_and_says_so(tmp_path):
    net = nn.ModuleDict({name: nn.Linear(3, 3, bias=False) for name in "abc"})
    net["b"].weight = net["c"].weight = net["a"].weight
    with pytest.warns(TieLostWarning, match=r"a\.msgpack cannot hold that b\.weight and a\.weight and 1 more are tied"):
        steelyard.save(net, tmp_path / "a.msgpack")
    assert steelyard.weights(tmp_path / "a.msgpack").size == 27


def test_the_names_that_safetensors_leaves_out_for_a_tie_are_tied(tmp_path):
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    net[1].weight = net[0].weight
    save_model(net, tmp_path / "a.safetensors")
    found = steelyard.weights(tmp_path / "a.safetensors")
    assert {name: weight.tied for name, weight in found.items()} in (
        {"0.weight": None, "1.weight": "0.weight"},
        {"1.weight": None, "0.weight": "1.weight"},
    )
    assert found.size == 15
    assert steelyard.diff(net, found).same


def test_an_array_that_a_pickle_has_twice_is_tied(tmp_path):
    shared = np.arange(6.0)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": shared, "b": [shared, shared.copy()]}))
    found = steelyard.weights(tmp_path / "a.pkl")
    assert {name: weight.tied for name, weight in found.items()} == {"a": None, "b.0": "a", "b.1": None}


def views(data):
    """Tensors of several types; some are tied, or are views of one storage."""
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.uint16]))
    base = torch.randn(4, 6, generator=torch.manual_seed(data.draw(st.integers(0, 9)))).to(dtype)
    made = {"base": base, "turned": base.t(), "part": base[1:3, ::2], "empty": base[:0], "whole": base, "number": base[0, 0]}
    names = data.draw(st.lists(st.sampled_from(sorted(made)), min_size=1, max_size=6, unique=True))
    return {name: made[name] for name in names}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_torch_file_holds_comes_back_from_every_format(suffix):
    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def law(data):
        with tempfile.TemporaryDirectory() as folder:
            before = saved(views(data), Path(folder, "before.pt"))
            steelyard.save(before, Path(folder, f"after{suffix}"))
            after = steelyard.weights(Path(folder, f"after{suffix}"))
            assert steelyard.digest(after) == steelyard.digest(before)
            assert steelyard.diff(before, after).same
            assert [weight.tied for weight in after.values()] == [weight.tied for weight in before.values()]

    law()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whether_a_weight_is_trainable_is_known_only_where_the_file_says_so(suffix, tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].bias.requires_grad_(False)
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    if suffix == ".pt":
        torch.save(net.state_dict(), tmp_path / "a.pt")
    elif suffix == ".npz":
        np.savez(tmp_path / "a.npz", **arrays)
    else:
        save_model(net, tmp_path / "a.safetensors")
    assert {weight.trainable for weight in steelyard.weights(tmp_path / f"a{suffix}").values()} == {None}
    live = steelyard.weights(net)
    steelyard.save(net, tmp_path / f"b{suffix}")
    assert facts(steelyard.weights(tmp_path / f"b{suffix}")) == facts(live)


def facts(found: Weights):
    return {name: weight.trainable for name, weight in found.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_whole_module_knows_what_is_trained_pickled_or_compiled(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].bias.requires_grad_(False)
    torch.save(net, tmp_path / "a.pt")
    torch.jit.script(net).save(tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        assert facts(steelyard.weights(tmp_path / name)) == facts(steelyard.weights(net))
