"""Weights that are paired by their numbers: by evidence that can fail, layer by layer, and never silently."""

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main


def linear(seed, bias=None):
    """The weights of a dense layer, whose bias is zeros as after initialisation."""
    made = np.random.default_rng(seed)
    return {"weight": made.standard_normal((4, 4)), "bias": np.zeros(4) if bias is None else bias}


def net_of(**layers):
    """Arrays by name, each with memory of its own, so that none is tied; `same` has one name in both nets."""
    arrays = {f"{name}.{leaf}": array.copy() for name, layer in layers.items() for leaf, array in layer.items()}
    return {"same": np.arange(3.0), **arrays}


def pairs(found):
    return {(row.source, row.name): (row.kind, row.paired_by) for row in found.rows if row.source and row.name != "same"} | {
        ("", row.name): (row.kind, row.paired_by) for row in found.rows if not row.source
    }


def test_the_bias_of_zeros_of_a_live_net_goes_where_its_kernel_goes():
    """Two nets of three equal layers under other names and in another order, as torch makes them."""

    def net(names):
        made = nn.ModuleDict({name: nn.Linear(4, 4) for name in names})
        for layer in made.values():
            nn.init.zeros_(layer.bias)
        return made

    torch.manual_seed(0)
    one, other = net(["q", "k", "v"]), net(["value", "key", "query"])
    for name, partner in {"q": "query", "k": "key", "v": "value"}.items():
        other[partner].load_state_dict(one[name].state_dict())
    found = pairs(steelyard.diff(one, other))
    for name, partner in {"q": "query", "k": "key", "v": "value"}.items():
        assert found[f"{name}.weight", f"{partner}.weight"] == ("renamed", "same numbers")
        assert found[f"{name}.bias", f"{partner}.bias"] == ("renamed", "numbers of its layer")
    assert len(found) == 6


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, np.nan])
def test_an_array_of_one_repeated_value_is_never_paired_by_its_numbers_alone(value):
    norm = {"weight": np.full(4, value), "bias": np.full(4, value)}
    found = steelyard.diff(net_of(ln=norm), net_of(norm=norm))
    assert {row.kind for row in found.rows} == {"equal", "added", "removed"}
    assert any("ln.weight, ln.bias and norm.weight, norm.bias hold one repeated value" in note for note in found.notes)


def test_a_scalar_is_one_value_and_proves_nothing():
    found = steelyard.diff({"same": np.arange(3.0), "a": np.array(0.7)}, {"same": np.arange(3.0), "b": np.array(0.7)})
    assert {row.kind for row in found.rows} == {"equal", "added", "removed"}


def test_layers_with_identical_numbers_stay_unpaired_and_a_note_names_them():
    found = steelyard.diff(net_of(q=linear(0), k=linear(0)), net_of(a=linear(0), b=linear(0)))
    assert {row.kind for row in found.rows} == {"equal", "added", "removed"}
    assert len(found.rows) == 9
    note = next(note for note in found.notes if "not known which is which" in note)
    assert "q.weight" in note
    assert "a.weight" in note


def test_one_layer_that_may_be_either_of_two_stays_unpaired():
    found = steelyard.diff(net_of(q=linear(0)), net_of(a=linear(0), b=linear(0)))
    assert {row.kind for row in found.rows} == {"equal", "added", "removed"}
    assert any("not known which is which" in note for note in found.notes)


def test_the_other_weights_of_a_layer_decide_between_equal_kernels():
    """Constants prove nothing alone, but a layer's partner has all of its numbers."""
    zeros, ones = linear(0), linear(0, np.ones(4))
    found = pairs(steelyard.diff(net_of(q=zeros, k=ones), net_of(a=ones, b=zeros)))
    assert found["q.weight", "b.weight"][0] == found["k.weight", "a.weight"][0] == "renamed"
    assert found["q.bias", "b.bias"][0] == found["k.bias", "a.bias"][0] == "renamed"


def test_the_kernel_outweighs_a_bias_that_another_layer_has():
    one, other = linear(0, np.arange(4.0)), linear(0, np.arange(4.0) + 9)
    decoy = linear(1, np.arange(4.0))
    found = pairs(steelyard.diff(net_of(q=one), net_of(decoy=decoy, a=other)))
    assert found["q.weight", "a.weight"] == ("renamed", "same numbers")
    assert found["q.bias", "a.bias"] == ("changed", "numbers of its layer")


def test_weights_of_a_layer_that_became_three_are_paired_one_by_one():
    made = np.random.default_rng(0).standard_normal((3, 4, 4))
    one = net_of(attention=dict(zip("qkv", made, strict=True)))
    other = net_of(**{name: {"weight": each} for name, each in zip("qkv", made, strict=True)})
    found = pairs(steelyard.diff(one, other))
    assert found == {(f"attention.{name}", f"{name}.weight"): ("renamed", "same numbers") for name in "qkv"}


@pytest.mark.usefixtures("small_sizes")
def test_weights_that_differ_in_their_last_number_are_not_the_same():
    """With blocks of a few elements: the comparison reads to the end."""
    one, other = linear(0), linear(0)
    other["weight"][3, 3] += 1e-9
    assert {row.kind for row in steelyard.diff(net_of(q=one), net_of(a=other)).rows} == {"equal", "added", "removed"}
    almost = {"weight": np.r_[np.zeros(99), 1e-9]}
    assert pairs(steelyard.diff(net_of(q=almost), net_of(a=almost))) == {("q.weight", "a.weight"): ("renamed", "same numbers")}


def test_a_tie_on_both_sides_is_compared_once_under_another_name():
    kernel = np.random.default_rng(0).standard_normal((4, 4))
    one, other = ({"same": np.arange(3.0), f"{x}.weight": kernel.copy()} for x in "ab")
    one["head.weight"], other["top.weight"] = one["a.weight"], other["b.weight"]
    assert pairs(steelyard.diff(one, other)) == {("a.weight", "b.weight"): ("renamed", "same numbers")}


def test_names_without_the_one_prefix_of_a_wrapper_are_names():
    """As `load_state_dict` would need them; a prefix that some names lack, or one of two that fit, is not evidence."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    wrapped = nn.ModuleDict({"model": nn.ModuleDict({"encoder": net})})
    state = {f"encoder.{name}": value for name, value in net.state_dict().items()}
    for found in (steelyard.diff(wrapped, state), steelyard.diff(state, wrapped)):
        assert found.same
        assert {row.paired_by for row in found.rows} == {"name without a prefix"}
        assert any("without their prefix 'model.'" in note for note in found.notes)
    torch.manual_seed(1)
    fresh = nn.ModuleDict({"model": nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))})})
    assert {row.kind for row in steelyard.diff(fresh, state).rows} == {"changed"}
    two = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4)})
    assert {row.kind for row in steelyard.diff(two, nn.Linear(4, 4)).rows} == {"added", "removed"}


def test_the_command_shows_the_evidence(tmp_path, capsys):
    for name, layer in (("a", "q"), ("b", "query")):
        steelyard.save(net_of(**{layer: linear(0)}), tmp_path / f"{name}.safetensors")
    assert main(["diff", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 1
    out = capsys.readouterr().out
    assert "renamed, the same numbers" in out
    assert "renamed with its layer" in out
