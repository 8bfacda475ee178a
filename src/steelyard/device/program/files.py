"""Programs of files that list operators, and the runtimes that prove them if the process has imported one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.core import plugins
from steelyard.device.program.operators import translated
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.computation import Computation
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.device.program.program import Program

_RUNTIMES = {"ONNX": "onnxruntime", "TFLite": "tensorflow"}
"""The framework that runs the files of a language."""


def program_of_file(computation: Computation, weights: Weights, inputs: Sequence[Array] | None) -> Program:
    """Return the program of a file for inputs of the shapes of an example, or those that the file has."""
    return translated(computation, weights, _shapes(computation) if inputs is None else _given(computation, inputs))


def answers_of_file(source: object, computation: Computation, inputs: Sequence[Array]) -> list[Array] | None:
    """Return the outputs of a file by a runtime that the process has imported; None where it has none."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    framework = _RUNTIMES.get(computation.language, "")
    if framework not in sys.modules:
        return None
    found: list[Array] = plugins.load("frameworks", framework).run_file(os.fspath(source), inputs)
    return found


def _given(computation: Computation, inputs: Sequence[Array]) -> list[tuple[int, ...]]:
    if len(inputs) != len(computation.inputs):
        raise ShapeError(f"the net takes {len(computation.inputs)} inputs ({', '.join(computation.inputs)}), not {len(inputs)}")
    return [tuple(each.shape[1:]) for each in inputs]


def _shapes(computation: Computation) -> list[tuple[int, ...]]:
    known = [shape[1:] for shape in computation.inputs.values() if shape]
    if len(known) != len(computation.inputs) or any(length is None or length < 0 for shape in known for length in shape):
        raise ShapeError("the shapes of the net's inputs are not known; pass an example as probe=")
    return [tuple(length for length in shape if length is not None) for shape in known]
