"""The layout of torchao in safetensors, whose facts are JSON in the metadata of the file; `schemes.torchao` reads it.

L._weight_qdata       int8 or float8 (out, in)
L._weight_scale       (out, groups)
L._weight_zero_point  int8 (out, groups), zeros, for integers
metadata              "L.weight": {"_type": class, "_data": {"block_size": [1, group], ...}, "_tensor_data_names": [...]}

Classes of torchao 0.18: Int8Tensor, IntxUnpackedToInt8Tensor (int4, a byte each), Float8Tensor.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from steelyard.core.weight import Weight
from steelyard.editing.quantizing.cells import CellReader, Cells
from steelyard.editing.quantizing.compressed_tensors import matrix_cells, whole_groups
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.editing.quantizing.request import Request

_CLASSES = {"int8": "Int8Tensor", "int4": "IntxUnpackedToInt8Tensor", "float8_e4m3fn": "Float8Tensor"}
_CONFIGS = {"int8": "Int8WeightOnlyConfig", "int4": "IntxWeightOnlyConfig", "float8_e4m3fn": "Float8WeightOnlyConfig"}
_DTYPES = ("float16", "bfloat16", "float32")


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    if request.axis not in ("out", 0):
        raise ShapeError("torchao has a scale a row or a group; axis must be 'out'")
    if len(weight.shape) != 2 or weight.axes not in ("", "out in"):
        return "not the kernel of a linear layer of PyTorch"
    if weight.name.rpartition(".")[2] != "weight":
        return "not called weight"
    return whole_groups(weight, request)


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the stored weights of a quantised one."""
    dtype = weight.dtype if weight.dtype in _DTYPES and request.kind != "float8_e4m3fn" else "float32"
    cells = matrix_cells(weight, request, dtype)
    stored = request.kind if request.kind == "float8_e4m3fn" else "int8"
    made = [
        _named(weight, "qdata", CellReader(cells, weight.shape, Cells.codes, stored)),
        _named(weight, "scale", CellReader(cells, cells.grid.cells, Cells.only_scales, dtype)),
    ]
    if stored == "int8":
        made.append(_named(weight, "zero_point", CellReader(cells, cells.grid.cells, _zeros, "int8")))
    return made


def _zeros(cells: Cells, first: int, last: int) -> Array:
    import numpy as np

    return np.zeros((last - first, cells.grid.cells[1]), np.int8)


def _named(weight: Weight, word: str, read: CellReader) -> Weight:
    name = f"{weight.name.removesuffix('weight')}_weight_{word}"
    return Weight(name=name, shape=read.shape, dtype=read.dtype, read=read, layer=weight.layer)


def metadata(request: Request, quantised: Mapping[str, Weight], weights: Weights) -> dict[str, str]:
    """Return the texts that the metadata of a file needs."""
    made = {}
    for name, weight in weights.items():
        said = _said(request, weight) if name in quantised else {"_type": "Tensor"}
        made[name] = json.dumps(said)
    return {**made, "tensor_names": json.dumps([*weights])}


def _said(request: Request, weight: Weight) -> dict[str, object]:
    dtype = weight.dtype if weight.dtype in _DTYPES else "float32"
    facts: dict[str, object] = {"block_size": [1, request.group or weight.shape[1]], "dtype": _dtype(dtype)}
    names = ["qdata", "scale"] if request.kind == "float8_e4m3fn" else ["qdata", "scale", "zero_point"]
    if request.kind == "int4":
        facts |= {"target_dtype": _dtype("int4"), "activation_quantization": None}
    elif request.kind == "int8":
        facts |= {"act_quant_kwargs": None, "reduce_range": False}
    else:
        preference = {"_type": "KernelPreference", "_data": "AUTO"}
        facts |= {"mm_config": None, "act_quant_kwargs": None, "kernel_preference": preference}
    return {"_type": _CLASSES[request.kind], "_data": facts, "_tensor_data_names": names}


def _dtype(word: str) -> dict[str, str]:
    return {"_type": "torch.dtype", "_data": word}


def config(request: Request, quantised: Sequence[Weight], kept: Sequence[Weight]) -> dict[str, object]:
    """Return the `quantization_config` with which transformers loads the weights; `kept` are the kernels that stay."""
    data: dict[str, object] = {}
    if request.group:
        data["granularity"] = {"_type": "PerGroup", "_data": {"group_size": request.group}}
    if request.kind == "int4":
        data["weight_dtype"] = _dtype("int4")
    said = {"_type": _CONFIGS[request.kind], "_version": 2, "_data": data}
    layers = sorted(weight.layer for weight in kept if len(weight.shape) == 2 and weight.layer)
    return {
        "quant_method": "torchao",
        "quant_type": {"default": said},
        "modules_to_not_convert": layers,
        "include_input_output_embeddings": False,
    }
