"""Small weights to save in every format, and a process that saves again and again."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

import steelyard
from steelyard.core import plugins

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
"""A process that may write little must not leave cut bytecode behind."""
NEEDS_A_MODEL = {"onnx", "keras"}
"""Formats that write only into the layout of a model that is there; their own tests do this with it."""


@cache
def suffixes():
    """Return the first suffix of each format that writes any weights."""
    modules = {name: plugins.load("formats", name) for name in plugins.names("formats") if name not in NEEDS_A_MODEL}
    return sorted(module.SUFFIXES[0] for module in modules.values() if hasattr(module, "write"))


def target(folder, suffix):
    return folder / (f"net.safetensors{suffix}" if suffix == ".index.json" else f"net{suffix}")


def weights(fill, size=1 << 21):
    """Weights of 8 MiB, all of one value."""
    return {"layer.weight": np.full((4, size // 4), fill, "f4"), "layer.bias": np.full(7, fill, "f4")}


def content(path):
    """Return the one value that all numbers of a file have; a mixture fails."""
    values = set(np.unique(steelyard.weights(path).to_vector()).tolist())
    assert len(values) == 1, values
    return values.pop()


def leftovers(folder):
    """Return the hidden files in a folder, and those in the folders of distributed checkpoints in it."""
    return [name for each in (folder, *folder.glob("*.dcp")) for name in os.listdir(each) if name.endswith(".tmp")]


SAVING = """
import os, sys, numpy as np, steelyard
path, size = sys.argv[1], 1 << 21
make = lambda fill: {"layer.weight": np.full((4, size // 4), fill, "f4"), "layer.bias": np.full(7, fill, "f4")}
made = [steelyard.weights(make(1.0)), steelyard.weights(make(2.0))]
steelyard.save(made[0], os.path.join(os.path.dirname(path), "warm-" + os.path.basename(path)))  # all that is needed is imported now
print("ready", flush=True)
for turn in range(10**6):
    steelyard.save(made[turn % 2], path)
"""


def saving(path):
    """Start a process that saves again and again."""
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, env=ENV)
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process
