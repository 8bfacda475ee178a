"""ONNX: a file is run if the process has imported ONNX Runtime; Steelyard does not import it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.graph import Graph, Run
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, UnknownModelError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


def _can_run() -> bool:
    """Return whether the process has imported ONNX Runtime."""
    return "onnxruntime" in sys.modules


def graph(model: Weights, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of the weights of an ONNX file, in the order of its nodes."""
    held = model.graph
    if held is None:
        raise UnknownModelError("these weights have no graph; pass those of the ONNX file itself")
    return held


def run(model: str | os.PathLike[str] | Weights, inputs: Sequence[Array]) -> Run:
    """Run an ONNX file in its own types; the outputs of its layers are not known.

    `model` is its path, or the weights that were read from it. Raises `UnknownModelError` if ONNX Runtime is not
    imported, or the weights are no longer those of the file, and `ShapeError` for another number of inputs.
    """
    if not _can_run():
        raise UnknownModelError("an ONNX file runs only in ONNX Runtime; import onnxruntime first")
    import onnxruntime

    session = onnxruntime.InferenceSession(_path(model), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()
    if len(wanted) != len(inputs):
        raise ShapeError(f"the ONNX file takes {len(wanted)} inputs ({_names(wanted)}), not {len(inputs)}")
    given = {each.name: np.asarray(x, _TYPES.get(each.type)) for each, x in zip(wanted, inputs, strict=True)}
    return Run([np.asarray(output) for output in session.run(None, given)], {})


def run_file(path: str, inputs: Sequence[Array]) -> list[Array]:
    """Return the outputs of an ONNX file."""
    return run(path, inputs).outputs


def _names(wanted: Sequence[Any]) -> str:
    return ", ".join(printable(each.name) for each in wanted)


def _path(model: str | os.PathLike[str] | Weights) -> str:
    """Return the path of the file. Live weights may have other numbers than the file that they came from."""
    if not isinstance(model, Weights):
        return os.fspath(model)
    source = getattr(model.meta.get("model"), "source", None)
    if model.live or source is None or source.path is None:
        raise UnknownModelError("these weights are not those of an ONNX file on this machine; save them, and pass the path")
    return str(source.path)
