"""Live nets with adapters of PEFT, told by what their modules say; the states are those that PEFT itself made."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from tests import carried

FACTS = {"default": {"r": 2, "lora_alpha": 4}, "second": {"r": 2, "lora_alpha": 8}}
LIVE = (
    ("peft-lora-several-default", ["default"]),
    ("peft-lora-several-second", ["second"]),
    ("peft-lora-both-live", ["default", "second"]),
)
"""Golden cases of states of live nets, and the adapters that are active."""


def net_of(state, scaling, active, merged=()):
    """Return modules with the names of a state of PEFT, which say what those of PEFT do."""
    net = nn.Module()
    for name, value in state.items():
        *path, leaf = name.split(".")
        module = net
        for word in path:
            if word not in module._modules:
                module.add_module(word, nn.Module())
            module = module._modules[word]
        module.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    for module in [*net.modules()]:
        if "lora_A" in module._modules:
            module.scaling, module.active_adapters, module.merged_adapters = dict(scaling), [*active], [*merged]
            module.disable_adapters = False
    net.peft_config = {name: SimpleNamespace(peft_type="LORA", fan_in_fan_out=False, **facts) for name, facts in FACTS.items()}
    return net


@pytest.mark.parametrize(("case", "active"), LIVE)
def test_the_active_adapters_are_merged_with_the_scales_of_the_modules(case, active):
    folder = carried.folder("effective") / case
    net = net_of(torch.load(folder / "live_state.pt", weights_only=True), {"default": 2.0, "second": 4.0}, active)
    found = steelyard.effective(net)
    with np.load(folder / "effective.npz") as expected:
        assert {*found} == {*expected}
        for key in expected:
            known = expected[key].astype(np.float64)
            assert np.abs(found[key].numpy() - known).max() <= 2e-6 * max(np.abs(known).max(), 1e-30), key
    assert found["q_proj.weight"].derivation.scheme == "LoRA of PEFT"
    assert "base_model.model.q_proj.base_layer.weight" in found["q_proj.weight"].derivation.parts


def test_adapters_that_are_merged_or_disabled_are_not_added_again():
    state = torch.load(carried.folder("effective") / "peft-lora-several-second" / "live_state.pt", weights_only=True)
    stored = state["base_model.model.q_proj.base_layer.weight"].numpy()
    merged = net_of(state, {"default": 2.0, "second": 4.0}, ["second"], merged=["second"])
    assert steelyard.effective(merged)["q_proj.weight"].numpy().tobytes() == stored.tobytes()
    off = net_of(state, {"default": 2.0, "second": 4.0}, ["second"])
    for module in off.modules():
        module.disable_adapters = True
    assert steelyard.effective(off)["q_proj.weight"].numpy().tobytes() == stored.tobytes()


def test_a_module_that_is_saved_whole_takes_the_place_of_the_original():
    state = {
        "base_model.model.head.original_module.weight": torch.zeros(2, 3),
        "base_model.model.head.modules_to_save.default.weight": torch.ones(2, 3),
    }
    net = net_of(state, {}, [])
    net.peft_config["default"].modules_to_save = ["head"]
    head = net._modules["base_model"]._modules["model"]._modules["head"]
    head.active_adapters = ["default"]
    assert steelyard.effective(net)["head.weight"].numpy().tolist() == [[1.0] * 3] * 2
    head.active_adapters = []
    assert steelyard.effective(net)["head.weight"].numpy().tolist() == [[0.0] * 3] * 2
