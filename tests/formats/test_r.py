"""R's files, read without R and compared number by number with what R itself said of them."""

import json
import math
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard.core.source import open_path
from steelyard.core.splitting import split
from steelyard.errors import FormatError, SteelyardError
from steelyard.testing import check_format
from tests.conftest import SHARED

FIXTURES = SHARED / "r" / "fixtures"


def cases(folder, kind=None):
    """Return the folder and the JSON of the fixtures of a folder, of one kind or of all."""
    found = [(path, json.loads(path.read_text())) for path in sorted((FIXTURES / folder).glob("*.json"))]
    return [pytest.param(path.parent, said, id=path.stem) for path, said in found if kind in (None, said.get("kind"))]


def numbers(value):
    """Return what JSON says of numbers as an array; NA, NaN and Inf are words there."""
    words = {"NA": math.nan, "NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf}

    def plain(item):
        return [plain(each) for each in item] if isinstance(item, list) else words.get(item, item)

    return np.array(plain(value), float)


def same(array, said):
    """Tell whether numbers are those that R said, bit for bit but for the payload of NA."""
    said = numbers(said)
    return array.shape == said.shape and np.array_equal(array, said.astype(array.dtype), equal_nan=True)


def sigmoid(value, cut=15.0):
    """The sigmoid of nnet's C code, with the exponential of its C library."""
    return 0.0 if value < -cut else 1.0 if value > cut else 1 / (1 + math.exp(-value))


def parts(weights, layer):
    """Return kernel, bias and skip kernel of a layer, zeros of no rows where there is none."""
    held = {name.rpartition(".")[2]: part.numpy() for name, part in weights.layers[layer].items()}
    return held["kernel"], held["bias"], held.get("skip", np.zeros((0, len(held["bias"]))))


def forward(weights, facts, rows):
    """Predict as nnet's C code does, adding bias, hidden units and inputs one after another."""
    out = []
    for x in rows:
        hidden = list(x) if "hidden" not in weights.layers else None
        if hidden is None:
            kernel, bias, _ = parts(weights, "hidden")
            hidden = [sigmoid(added(bias[unit], x, kernel[:, unit])) for unit in range(len(bias))]
        kernel, bias, skip = parts(weights, "output")
        sums = [added(bias[unit], [*hidden, *x[: len(skip)]], [*kernel[:, unit], *skip[:, unit]]) for unit in range(len(bias))]
        out.append(outputs(sums, facts["output"]))
    return np.array(out)


def added(total, values, kernel):
    for value, weight in zip(values, kernel, strict=True):
        total += weight * value
    return float(total)


def outputs(sums, kind):
    if kind != "softmax":
        return [sigmoid(total) if kind == "logistic" else total for total in sums]
    top = max(sums)
    powers = [math.exp(total - top) for total in sums]
    whole = 0.0
    for power in powers:
        whole += power
    return [power / whole for power in powers]


@pytest.mark.parametrize(("folder", "said"), cases("nnet", "nnet"))
def test_an_nnet_s_vector_is_its_wts_and_its_layers_are_those_that_r_says(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    assert weights.to_vector(order="F").tobytes() == numbers(said["wts"]).tobytes()
    layers = {layer: {k: v for k, v in held.items() if v is not None} for layer, held in said["layers"].items()}
    if "skip" in layers:
        leaf = "skip" if "hidden" in layers else "kernel"
        layers["output"][leaf] = layers.pop("skip")["kernel"]
    assert list(weights.layers) == list(layers)
    for layer, held in layers.items():
        found = {name.rpartition(".")[2]: part for name, part in weights.layers[layer].items()}
        assert found.keys() == held.keys()
        for leaf, value in held.items():
            assert same(found[leaf].numpy(), value), f"{layer}.{leaf}"


@pytest.mark.parametrize(("folder", "said"), cases("nnet", "nnet"))
def test_an_nnet_s_predictions_are_r_s_own_to_the_last_bit(folder, said):
    weights = steelyard.weights(folder / said["files"][0])
    (facts,) = weights.meta["networks"].values()
    assert same(forward(weights, facts, numbers(said["inputs"])), said["raw"])
    kind = "softmax" if said["softmax"] else "linear" if said["nsunits"] < said["nunits"] else "logistic"
    assert facts["output"] == kind
    assert facts["units"] == [n for n in said["n"] if n]
    assert facts.get("inputs", []) == (said["coefnames"] or [])
    assert facts.get("outputs", []) == (said["lev"] or [])
    assert (facts["entropy"], facts["censored"], facts["cut"]) == (said["entropy"], said["censored"], 15.0)
    assert facts["class"] == said["r_class"]
    assert "fitted.values" in weights.meta["notes"][0]
