"""The commands, by their purpose, in the order of the help text.

Each is a module in `commands/`, with an underscore for the hyphen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

from steelyard.running import run

if TYPE_CHECKING:
    from steelyard.running import Command

PURPOSES = {
    "look into a file or a training": {
        "ls": "its weights, or a line for each file of a folder",
        "show": "a weight, a part of it, or a layer: facts, range, numbers, picture",
        "stats": "range, mean, deviation, norms, quantiles, zeros, NaN and Inf",
        "layers": "the layers in order, with shapes and inputs, repeated blocks once",
        "size": "parameters by layer, bytes in other types, what fits into a memory",
        "grid": "blocks by parts in one picture: deviation, norm, or what changed",
        "spectra": "singular values: norms, ranks, the power law of their tail",
        "plot": "a picture in PNG, PDF or SVG",
        "report": "one HTML file that shows every weight, offline",
        "serve": "the same in the browser, for a file of any size",
        "history": "a training: its last steps, what moved, where NaN began, two runs",
        "pack": "a recorded training in half the bytes, and back bit for bit",
    },
    "check and compare": {
        "check": "damage, NaN and Inf, and code that loading the file would run",
        "digest": "digests that are equal for equal weights in any container",
        "diff": "what changed from one file to another, weight by weight",
        "lineage": "which of several files are related, as a tree",
        "catalog": "a table of all weights of many files, and questions to it",
    },
    "carry weights elsewhere": {
        "convert": "into another format",
        "vector": "into one flat vector, a .npy file",
        "transfer": "into the model of another file or framework",
        "export": "as arrays for a device: C, Rust, MicroPython ...",
        "save-patch": "the difference of two files as a small file",
        "apply-patch": "a patch to the weights that it was made for",
    },
    "make other weights": {
        "average": "the mean of several files, such as checkpoints or folds",
        "merge": "several models in one, by a method or a recipe of mergekit",
        "prune": "zeros for the smallest elements, or fewer units",
        "quantize": "kernels in 8 or 4 bits, as the library of --like loads them",
        "factorize": "kernels as products of low rank",
    },
    "set up the command": {
        "completion": "what a shell needs to complete it: bash, zsh or fish",
    },
}
"""Each command with a line on what it gives, which fits into a terminal of 80 columns."""
COMMANDS = tuple(chain.from_iterable(PURPOSES.values()))


def command(name: str) -> Command:
    """Return the module of a command; no other command is imported, to start fast."""
    module: Any = import_module(f"steelyard.commands.{name.replace('-', '_')}")
    return module  # type: ignore[no-any-return]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`, by default the process's arguments, and return its exit status."""
    return run(COMMANDS, command, sys.argv[1:] if argv is None else list(argv), PURPOSES)
