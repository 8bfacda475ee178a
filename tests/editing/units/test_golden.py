"""The weights that go with some units, and the outputs of what is left, are those of 28 nets made smaller by hand."""

import json

import numpy as np
import pytest
import torch
from carried import SHARED

import steelyard

GOLDEN = SHARED / "editing" / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("units_*/meta.json"))
HEADS = {"fused_qkv": ("qkv", (0, 8, 16)), "heads": ("q", (0,))}
"""The layer whose rows are the heads of a case, of two places each, and where each of its parts begins."""


def torch_net(case, meta):
    from torch import nn
    from torch.nn import functional

    names = {"torch": torch, "nn": nn, "F": functional, "C": nn.Conv2d, "L": nn.Linear, "BN": nn.BatchNorm2d}
    known = {*names}
    exec(meta["code"], names)
    net = next(value for key, value in names.items() if key not in known and isinstance(value, type))().eval()
    gone = {}
    for layer, units in meta["groups"].items():
        if layer == "heads":
            name, starts = HEADS[case.removeprefix("units_")]
            gone[name] = [start + 2 * head + place for start in starts for head in units for place in (0, 1)]
        elif layer.endswith(" reverse"):
            own = layer.removesuffix(" reverse")
            gone[own] = gone[own] + [getattr(net, own).hidden_size + unit for unit in units]
        else:
            gone[layer] = units
    return net, gone


def keras_net(meta):
    import keras

    net = keras.models.model_from_json(meta["model_json"])
    layers = {layer.name: layer for layer in steelyard.weights(net).graph.layers}
    gone = {}
    for name, cuts in meta["remove"].items():
        layer, _, leaf = name.rpartition("/")
        if leaf == "recurrent_kernel":
            gone[layer] = cuts["0"]
        elif name.endswith("/attention_output/kernel"):
            gone[layer.removesuffix("/attention_output")] = cuts["0"]
        elif leaf in ("kernel", "pointwise_kernel", "embeddings") and layers.get(layer) and "in" not in meta["remove"]:
            last = str(len(steelyard.weights(net)[name].shape) - 1)
            if layers[layer].kind in ("dense", "conv") and last in cuts and "depthwise" not in layers[layer].settings:
                gone[layer] = cuts[last]
    return net, gone


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    meta = json.loads((GOLDEN / case / "meta.json").read_text())
    inputs, expected = (dict(np.load(GOLDEN / case / f"{part}.npz")) for part in ("inputs", "expected"))
    x, expected_output = inputs.pop("probe:x"), expected.pop("probe:y")
    inputs.pop("probe:y")
    net, gone = torch_net(case, meta) if "code" in meta else keras_net(meta)
    weights = steelyard.weights(net)
    weights.assign({name: array for name, array in inputs.items() if name in weights})
    plan = steelyard.prune_units(net, gone, probe=x)
    for name, array in expected.items():
        np.testing.assert_array_equal(plan.weights[name].numpy(), array)
    assert {*plan.cuts} == {*meta["remove"]}
    if "code" in meta:  # a Keras net takes a second to build, and test_keras.py has one of each kind
        np.testing.assert_allclose(plan.model(torch.as_tensor(x)).detach().numpy(), expected_output, atol=1e-6)
