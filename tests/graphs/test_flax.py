"""Flax as graphs that run: the golden nets give the golden outputs, and their layers are told by the names of their weights."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from flax import serialization

import steelyard
from steelyard.core.graph import KINDS
from steelyard.core.plugins import load

SHARED = Path(os.environ.get("STEELYARD_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = SHARED / "conventions/golden"
CASES = {case["id"]: case for case in json.loads((GOLDEN / "index.json").read_text())["cases"]}
LINEN = [case for case in CASES if "linen" in CASES[case].get("builders", {}) and "linen" in CASES[case]["files"]]
NNX = [case for case in CASES if "nnx" in CASES[case].get("builders", {}) and "nnx" in CASES[case]["files"]]
WORDS = {
    "convt": "conv transpose",
    "depthwise": "conv",
    "bn": "batch norm",
    "rms": "rms norm",
    "mha": "attention",
}
runner = load("graphs", "flax")


def built(case, framework):
    scope = {"__name__": "golden"}
    exec(CASES[case]["builders"][framework], scope)
    return scope["build"]()


def arrays(case, framework):
    layout = CASES[case]["layout"][framework]
    with np.load(GOLDEN / CASES[case]["io"]) as io:
        return [io[name] for name in layout["inputs"]], io[layout["output"]]


def golden_linen(case):
    module, raw = built(case, "linen"), (GOLDEN / CASES[case]["files"]["linen"][0]).read_bytes()
    return module.bind(serialization.msgpack_restore(raw))


def golden_nnx(case):
    model = built(case, "nnx")
    stored = steelyard.weights(GOLDEN / CASES[case]["files"]["nnx"][0])
    own = steelyard.weights(model)
    return own.assign({name: stored[name].numpy() for name in own if name in stored})


def error(given, expected):
    return abs(np.asarray(given, np.float64).reshape(expected.shape) - expected).max() / abs(expected).max()


@pytest.mark.parametrize("case", LINEN)
def test_a_golden_net_of_linen_gives_the_golden_output_in_float64(case):
    inputs, expected = arrays(case, "linen")
    found = runner.run(golden_linen(case), inputs)
    assert found.outputs[0].dtype == np.float64
    assert error(found.outputs[0], expected) <= CASES[case]["tolerance"]


@pytest.mark.parametrize("case", NNX)
def test_a_golden_net_of_nnx_gives_the_golden_output_in_float64(case):
    inputs, expected = arrays(case, "nnx")
    found = runner.run(golden_nnx(case), inputs)
    assert found.outputs[0].dtype == np.float64
    assert error(found.outputs[0], expected) <= CASES[case]["tolerance"]


def names_of(layer, framework):
    """The names that the golden index gives a layer; of recurrent ones those of what holds the cells."""
    names = layer["names"][framework]
    if isinstance(names, dict):
        return list(names.values())
    return names if isinstance(names, list) else [names]


def kinds_of(layer, case):
    kind = layer["kind"]
    if kind == "norm":
        return {"layernorm": "layer norm", "groupnorm": "group norm", "instancenorm": "instance norm"}.get(
            case.partition("_2")[0], "layer norm"
        )
    return WORDS.get(kind, kind)


def check_layers(case, framework, graph, weights):
    assert graph.executed
    assert graph.channels == "last"
    assert {layer.kind for layer in graph.layers} <= KINDS
    found = {layer.name: layer for layer in graph.layers}
    held = {weight.layer.partition("/")[2] if framework == "linen" else weight.layer for weight in weights.values()}
    for layer in CASES[case]["layers"]:
        if layer["kind"] == "separable" or (layer["kind"] == "prelu" and "weightnorm" in case):
            continue
        for name in names_of(layer, framework):
            near = [each for each in found if each == name or each.startswith(f"{name}/" if name else "")]
            assert near, (case, name, list(found))
            assert {found[each].kind for each in near if found[each].kind in ("dense", kinds_of(layer, case))}
    for name in held:
        assert any(name == each or name.startswith(f"{each}/" if each else "") for each in found), (name, list(found))


@pytest.mark.parametrize("case", LINEN)
def test_the_graph_of_a_golden_net_of_linen_names_its_layers(case):
    model = golden_linen(case)
    check_layers(case, "linen", runner.graph(model, arrays(case, "linen")[0]), steelyard.weights(model))


@pytest.mark.parametrize("case", NNX)
def test_the_graph_of_a_golden_net_of_nnx_names_its_layers(case):
    model = golden_nnx(case)
    check_layers(case, "nnx", runner.graph(model, arrays(case, "nnx")[0]), steelyard.weights(model))
