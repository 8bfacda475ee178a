"""A tied name that only one source has is not a difference."""

import numpy as np
import safetensors.torch
import torch
from torch import nn

import steelyard
from steelyard.core import readers


class Language(nn.Module):
    """A net whose head has the kernel of its embedding, as language models have."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(7, 3)
        self.norm = nn.LayerNorm(3)
        self.lm_head = nn.Linear(3, 7, bias=False)
        self.lm_head.weight = self.wte.weight


def test_a_file_without_the_tied_name_is_the_same_as_the_net_and_as_a_file_with_both(tmp_path):
    net = Language()
    state = net.state_dict()
    torch.save(state, tmp_path / "both.bin")
    del state["lm_head.weight"]
    safetensors.torch.save_file(state, tmp_path / "one.safetensors", {"format": "pt"})
    for whole in (net, tmp_path / "both.bin"):
        for pair in ((whole, tmp_path / "one.safetensors"), (tmp_path / "one.safetensors", whole)):
            found = steelyard.diff(*pair)
            assert found.same
            assert "'lm_head.weight'" in found.notes[0]
            assert "tied to 'wte.weight'" in found.notes[0]
    del state["wte.weight"]
    state["lm_head.weight"] = net.wte.weight.detach()
    safetensors.torch.save_file(state, tmp_path / "head.safetensors")
    assert steelyard.diff(net, tmp_path / "head.safetensors").same


def test_a_missing_name_that_is_not_tied_or_whose_partner_has_another_shape_is_a_difference(tmp_path):
    net = Language()
    state = net.state_dict()
    state["lm_head.weight"] = state["lm_head.weight"].clone()
    torch.save(state, tmp_path / "both.pt")
    torch.save({name: tensor for name, tensor in state.items() if name != "lm_head.weight"}, tmp_path / "one.pt")
    found = steelyard.diff(tmp_path / "one.pt", tmp_path / "both.pt")
    assert found.rows[0].kind == "added"
    assert found.notes == [
        "'lm_head.weight', which only the second source has, is a copy of 'wte.weight', to which other nets tie it"
    ]
    assert not steelyard.diff(net, tmp_path / "both.pt").notes
    torch.save({**state, "lm_head.weight": state["lm_head.weight"] + 1}, tmp_path / "unequal.pt")
    found = steelyard.diff(tmp_path / "unequal.pt", tmp_path / "one.pt")
    assert found.rows[0].kind == "removed"
    assert found.notes == [
        "'lm_head.weight', which only the first source has, is not a copy of 'wte.weight', to which other nets tie it"
    ]
    (changed,) = (row for row in steelyard.diff(net, tmp_path / "unequal.pt").rows if row.kind != "equal")
    assert (changed.name, changed.kind) == ("lm_head.weight", "changed")
    torch.save(
        {"wte.weight": torch.zeros(8, 3), "norm.weight": torch.ones(3), "norm.bias": torch.zeros(3)}, tmp_path / "other.pt"
    )
    assert {row.name or row.source for row in steelyard.diff(tmp_path / "other.pt", net).rows if row.kind == "added"} == {
        "lm_head.weight"
    }


def test_many_weights_without_a_partner_are_not_compared_with_all_others_each(monkeypatch):
    chance = np.random.default_rng(0)
    one = {f"a{nth}": chance.normal(size=4) for nth in range(300)}
    other = {name: value for name, value in one.items() if int(name[1:]) % 2} | {f"b{nth}": one["a1"].copy() for nth in range(3)}
    reads = []
    read = readers.Live.__call__
    monkeypatch.setattr(readers.Live, "__call__", lambda *args: (reads.append(1), read(*args))[1])
    found = steelyard.diff(one, other)
    assert len(reads) < 20 * len(one)
    assert sum("is a copy of 'a1'" in note for note in found.notes) == 3
