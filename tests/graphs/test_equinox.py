"""Equinox as graphs that run: one example at a time, in inference mode, with the layers by the paths of their weights."""

import json
import os
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest

from steelyard.core.plugins import load

SHARED = Path(os.environ.get("STEELYARD_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = SHARED / "conventions/golden"
INDEX = {case["id"]: case for case in json.loads((GOLDEN / "index.json").read_text())["cases"]}
CASES = [case for case in INDEX if "eqx" in INDEX[case].get("builders", {}) and "eqx" in INDEX[case]["files"]]
WORDS = {"convt": "conv transpose", "depthwise": "conv", "rms": "rms norm", "mha": "attention"}
NORMS = {"layernorm_2axes": "layer norm", "groupnorm": "group norm"}
runner = load("graphs", "equinox")


def golden(case):
    scope = {"__name__": "golden"}
    exec(INDEX[case]["builders"]["eqx"], scope)
    return eqx.tree_deserialise_leaves(GOLDEN / INDEX[case]["files"]["eqx"][0], scope["build"]())


def arrays(case):
    layout = INDEX[case]["layout"]["eqx"]
    with np.load(GOLDEN / INDEX[case]["io"]) as io:
        return [io[name] for name in layout["inputs"]], io[layout["output"]]


@pytest.mark.parametrize("case", CASES)
def test_a_golden_net_gives_the_golden_output_in_float64(case):
    inputs, expected = arrays(case)
    (found,) = runner.run(golden(case), inputs).outputs
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    assert abs(found - expected).max() / abs(expected).max() <= INDEX[case]["tolerance"]


@pytest.mark.parametrize("case", CASES)
def test_the_graph_of_a_golden_net_names_its_layers_and_their_kinds(case):
    model = golden(case)
    graph = runner.graph(model, arrays(case)[0])
    assert graph.executed
    assert graph.channels == "first"
    found = {layer.name: layer.kind for layer in graph.layers if layer.kind != "activation"}
    expected = [layer for layer in INDEX[case]["layers"] if "weightnorm" not in case or layer["kind"] == "dense"]
    names = [layer["names"]["eqx"].replace(".0", "[0]").replace(".1", "[1]").replace(".2", "[2]") for layer in expected]
    kinds = [NORMS.get(case) or WORDS.get(layer["kind"], layer["kind"]) for layer in expected]
    assert found == dict(zip(names, kinds, strict=True))
