"""The layout of compressed-tensors, which vLLM and transformers load; `schemes.compressed_tensors` reads it.

pack-quantized         L.weight_packed int32 (out, words of a row), L.weight_scale (out, groups), L.weight_shape int64, and for
                       affine codes L.weight_zero_point int32 (words of a column, groups); codes are stored plus 2^(b-1), the
                       lowest bits first
float-quantized        L.weight float8 (out, in), L.weight_scale (out, 1)
mxfp4-pack-quantized   L.weight_packed uint8 (out, in / 2), L.weight_scale uint8 (out, in / 32)

One scale a weight has the shape (1). int-quantized is not written, since it quantises activations too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows, from_array
from steelyard.core.roles import layer_of
from steelyard.core.weight import Weight
from steelyard.editing.quantizing.cells import CellReader, Cells, coding_of, pairs
from steelyard.errors import ShapeError
from steelyard.numerics.grids import Grid
from steelyard.numerics.packed import packed_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.editing.quantizing.cells import Rows
    from steelyard.editing.quantizing.request import Request

_WORD = 32
_SCALES = ("float16", "bfloat16")
_FORMATS = {"float8_e4m3fn": "float-quantized", "mxfp4": "mxfp4-pack-quantized"}


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    if request.axis not in (None, "out", 0):
        raise ShapeError("compressed-tensors has scales by outputs; axis must be 'out', or None for one scale a weight")
    if len(weight.shape) != 2 or weight.axes not in ("", "out in"):
        return "not the kernel of a linear layer of PyTorch"
    if weight.name.rpartition(".")[2] != "weight":
        return "not called weight"
    return whole_groups(weight, request)


def whole_groups(weight: Weight, request: Request) -> str | None:
    """Return why a matrix cannot be cut into groups of its rows."""
    if request.group and weight.shape[1] % request.group:
        return f"groups of {request.group} do not divide its {weight.shape[1]:,} inputs"
    return None


def matrix_cells(weight: Weight, request: Request, scale_dtype: str) -> Cells:
    """Return the cells of a matrix (out, in): its rows, their groups, or the whole."""
    outputs, inputs = weight.shape
    sides = (outputs if request.axis is None else 1, request.group or inputs)
    return Cells(weight, Grid(weight.shape, sides), coding_of(request, scale_dtype), request.calibrate)


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the stored weights of a quantised one."""
    scale_type = weight.dtype if weight.dtype in _SCALES else "float32"
    cells = matrix_cells(weight, request, scale_type)
    stored = "uint8" if request.kind == "mxfp4" else scale_type
    scale = _made(weight, "scale", _scale_shape(cells, request), stored, cells, Cells.only_scales)
    if request.kind == "float8_e4m3fn":
        plain = {"dtype": request.kind, "encoding": "", "tied": None, "overlaps": None}
        return [weight.replace(read=CellReader(cells, weight.shape, Cells.codes, request.kind), **plain), scale]
    if request.kind == "mxfp4":
        shape = (weight.shape[0], weight.shape[1] // 2)
        return [_made(weight, "packed", shape, "uint8", cells, pairs), scale]
    width = -(-weight.shape[1] * request.bits // _WORD)
    packed = _made(weight, "packed", (weight.shape[0], width), "int32", cells, _WORDS[request.bits])
    made = [packed, scale, from_array(f"{weight.name}_shape", _lengths(weight.shape), layer=weight.layer)]
    return [*made, _zero_points(weight, cells, request)] if request.affine else made


def _scale_shape(cells: Cells, request: Request) -> tuple[int, ...]:
    return (1,) if request.axis is None and not request.group else cells.grid.cells


def _made(weight: Weight, word: str, shape: tuple[int, ...], dtype: str, cells: Cells, rows: Rows) -> Weight:
    name = f"{weight.name}_{word}"
    return Weight(name=name, shape=shape, dtype=dtype, read=CellReader(cells, shape, rows, dtype), layer=layer_of(name))


def _lengths(shape: Sequence[int]) -> Array:
    import numpy as np

    return np.array(shape, np.int64)


def _words(bits: int, cells: Cells, first: int, last: int) -> Array:
    return packed_words(cells.codes(first, last), bits)


_WORDS = {bits: partial(_words, bits) for bits in (4, 8)}


def packed_words(codes: Array, bits: int) -> Array:
    """Return rows of signed codes of 4 or 8 bits as words of int32; the last word of a row ends with zeros.

    >>> import numpy as np
    >>> [hex(word) for word in packed_words(np.array([[-8, 7, 0]]), 4)[0]]
    ['0x8f0']
    """
    import numpy as np

    unsigned = (codes.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    count = _WORD // bits
    padded = np.zeros((len(unsigned), -(-unsigned.shape[1] // count) * count), np.uint8)
    padded[:, : unsigned.shape[1]] = unsigned
    stream = packed_pairs(padded) if bits == 4 else padded
    return np.ascontiguousarray(stream).view("<i4")


def _zero_points(weight: Weight, cells: Cells, request: Request) -> Weight:
    count = _WORD // request.bits
    outputs, groups = cells.grid.cells
    shape = (-(-outputs // count), groups)

    def rows(first: int, last: int) -> Array:
        import numpy as np

        zero = cells.scales(first * count, min(last * count, outputs))[1]
        assert zero is not None
        return np.ascontiguousarray(packed_words(zero.T, request.bits).T) if zero.size else np.zeros((0, groups), np.int32)

    name = f"{weight.name}_zero_point"
    return Weight(name=name, shape=shape, dtype="int32", read=by_rows(shape, rows), layer=layer_of(name))


def config(request: Request, quantised: Sequence[Weight], kept: Sequence[Weight]) -> dict[str, object]:
    """Return the `quantization_config` with which the library loads the weights; `kept` are the kernels that stay."""
    number = {"num_bits": request.bits, "type": "int" if request.kind in ("int8", "int4") else "float"}
    strategy = "group" if request.group else "channel" if request.axis is not None else "tensor"
    weights: dict[str, object] = {**number, "symmetric": not request.affine, "group_size": request.group, "strategy": strategy}
    weights |= {"dynamic": False} | ({"scale_dtype": "torch.uint8"} if request.kind == "mxfp4" else {})
    form = _FORMATS.get(request.kind, "pack-quantized")
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None, "format": form}
    ignored = sorted(weight.layer for weight in kept if len(weight.shape) == 2 and weight.layer)
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ignored,
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
    }
