"""A NaN of the signalling kind, at which the processor raises a flag, is a NaN like any other: no operation warns of it."""

import numpy as np
import pytest

import steelyard
from steelyard.cli import main

BITS = {"f2": 0x7D00, "f4": 0x7FA00000, "f8": 0x7FF4000000000000}


@pytest.fixture(params=BITS)
def files(request, tmp_path):
    kind = request.param
    good = {"fc.weight": np.arange(1, 13).reshape(3, 4).astype(kind), "fc.bias": np.ones(3, kind)}
    bad = {name: array.copy() for name, array in good.items()}
    bad["fc.weight"].view(f"u{kind[1]}")[1, 2] = BITS[kind]
    np.savez(tmp_path / "good.npz", **good)
    np.savez(tmp_path / "bad.npz", **bad)
    return {"BAD": str(tmp_path / "bad.npz"), "GOOD": str(tmp_path / "good.npz"), "OUT": str(tmp_path / "out")}


COMMANDS = [
    "stats BAD",
    "check --health BAD",
    "diff GOOD BAD",
    "grid BAD",
    "grid BAD --before GOOD",
    "spectra BAD",
    "lineage BAD GOOD",
    "report BAD --before GOOD -o OUT.html",
    "quantize BAD --to int8 -o OUT.safetensors",
    "prune BAD --amount 0.5 -o OUT.npz",
    "average BAD GOOD -o OUT.npz",
    "convert BAD OUT.safetensors --dtype float64",
    "convert BAD OUT.safetensors --dtype bfloat16",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_warns_of_it_as_of_a_sum(files, command, capsys):
    words = [word.replace("OUT", files["OUT"]) for word in (files.get(word, word) for word in command.split())]
    assert main(words) == {"check": 1, "diff": 1, "quantize": 2}.get(words[0], 0)
    assert "invalid value" not in capsys.readouterr().err


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties"])
def test_no_merge_warns_of_it(files, method):
    options = {} if method == "linear" else {"density": 0.5}
    merged = steelyard.merge(files["GOOD"], files["BAD"], method=method, **options)
    merged.to_vector()
