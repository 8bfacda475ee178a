"""The layout of bitsandbytes, NF4, FP4 and int8, which transformers loads; `schemes.bitsandbytes` reads it.

nf4, fp4   X uint8 (numbers / 2, 1), the high bits first; X.absmax float32 (blocks), X.quant_map float32 (16), and JSON in
           X.quant_state.bitsandbytes__nf4 or __fp4; with double quantisation X.absmax uint8 (blocks), X.nested_absmax and
           X.nested_quant_map
int8       L.weight int8 (out, in), L.SCB float32 (out), the greatest magnitude of each row, L.weight_format uint8, 0
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.readers import array_reader, by_rows, from_array
from steelyard.core.weight import Weight
from steelyard.editing.quantizing import tables
from steelyard.errors import ShapeError
from steelyard.numerics import grids
from steelyard.numerics.packed import packed_pairs
from steelyard.numerics.row_changes import kept as remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard.core.weight import Array
    from steelyard.editing.quantizing.request import Request

_DTYPES = ("float16", "bfloat16", "float32")
_PLAIN = {"encoding": "", "tied": None, "overlaps": None}


def left(weight: Weight, request: Request) -> str | None:
    """Return why a weight stays as it is; None where it is quantised."""
    if request.axis not in ("out", 0):
        raise ShapeError(f"bitsandbytes has its own cells for {request.kind}; leave axis out")
    if len(weight.shape) != 2 or weight.axes not in ("", "out in"):
        return "not the kernel of a linear layer of PyTorch"
    if request.kind == "int8" and weight.name.rpartition(".")[2] != "weight":
        return "not called weight"
    return None


def pieces(weight: Weight, request: Request) -> list[Weight]:
    """Return the stored weights of a quantised one."""
    return _of_int8(weight) if request.kind == "int8" else _of_table(weight, request)


class _Blocks(NamedTuple):
    """A weight as blocks of the flat array, of which the last may be cut."""

    weight: Weight
    size: int
    kind: str

    @property
    def total(self) -> int:
        return -(-self.weight.size // self.size)

    def numbers(self, first: int, last: int) -> Array:
        """Return the numbers of the blocks [first, last), a block a row; the last one ends with zeros."""
        import numpy as np

        flat = self.weight.replace(shape=(self.weight.size,))
        found = grids.floats(flat, first * self.size, min(last * self.size, self.weight.size))
        padded = np.zeros((last - first) * self.size, np.float32)
        padded[: len(found)] = found
        return padded.reshape(last - first, self.size)

    def absmax(self, first: int, last: int) -> Array:
        """Return the scales of the blocks [first, last)."""
        import numpy as np

        step = max((1 << 20) // self.size, 1)
        parts = [np.abs(self.numbers(at, min(at + step, last))).max(axis=1) for at in range(first, last, step)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def codes(self, first: int, last: int) -> Array:
        """Return the bytes [first, last) of the codes."""
        begin, end = first * 2 // self.size, -(-last * 2 // self.size)
        values = self.numbers(begin, max(end, begin))
        codes = tables.codes(self.kind, values, abs(values).max(axis=1, initial=0)).reshape(-1)
        return packed_pairs(codes, high_first=True)[first - begin * self.size // 2 :][: max(last - first, 0)]


def _of_table(weight: Weight, request: Request) -> list[Weight]:
    blocks = _Blocks(weight, request.group or 64, request.kind)
    count, size = -(-weight.size // 2), blocks.total
    codes = weight.replace(shape=(count, 1), dtype="uint8", read=by_rows((count,), blocks.codes), axes="", **_PLAIN)
    made = [codes, *(_scales(weight, blocks) if not request.double else _nested_scales(weight, blocks))]
    dtype = weight.dtype if weight.dtype in _DTYPES else "float32"
    state: dict[str, object] = {"quant_type": request.kind, "blocksize": blocks.size, "dtype": dtype, "shape": [*weight.shape]}
    made.append(_named(weight, "quant_map", (16,), "float32", _constant(tables.NUMBERS[request.kind])))
    if not request.double:
        return [*made, _state(weight, state)]
    made.append(_named(weight, "nested_quant_map", (256,), "float32", lambda a, b: tables.dynamic_table()[a:b]))
    state |= {"nested_blocksize": tables.NESTED, "nested_dtype": "float32"}
    offset = float(tables.nested(blocks.absmax(0, size))[2])  # the text has the mean of all scales, so these are read now
    return [*made, _state(weight, state | {"nested_offset": offset})]


def _state(weight: Weight, state: dict[str, object]) -> Weight:
    import numpy as np

    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return from_array(f"{weight.name}.quant_state.bitsandbytes__{state['quant_type']}", text, layer=weight.layer)


def _scales(weight: Weight, blocks: _Blocks) -> list[Weight]:
    return [_named(weight, "absmax", (blocks.total,), "float32", blocks.absmax)]


def _nested_scales(weight: Weight, blocks: _Blocks) -> list[Weight]:
    absmax = remembered(partial(blocks.absmax, 0, blocks.total))
    own = -(-blocks.total // tables.NESTED)
    return [
        _named(weight, "absmax", (blocks.total,), "uint8", lambda a, b: tables.nested(absmax())[0][a:b]),
        _named(weight, "nested_absmax", (own,), "float32", lambda a, b: tables.nested(absmax())[1][a:b]),
    ]


def _named(weight: Weight, word: str, shape: tuple[int, ...], dtype: str, rows: Callable[[int, int], Array]) -> Weight:
    return Weight(name=f"{weight.name}.{word}", shape=shape, dtype=dtype, read=by_rows(shape, rows), layer=weight.layer)


def _constant(numbers: Sequence[float]) -> Callable[[int, int], Array]:
    def rows(first: int, last: int) -> Array:
        import numpy as np

        return np.array(numbers[first:last], np.float32)

    return rows


def _of_int8(weight: Weight) -> list[Weight]:
    import numpy as np

    outputs = weight.shape[0]

    def largest(first: int, last: int) -> Array:
        found: Array = np.abs(grids.floats(weight, first, last)).max(axis=1, initial=0)
        return found

    def codes(first: int, last: int) -> Array:
        values = grids.floats(weight, first, last)
        scale = np.abs(values).max(axis=1, initial=0, keepdims=True)
        found: Array = np.rint(values * (np.float32(127) / np.where(scale == 0, np.float32(1), scale))).astype(np.int8)
        return found

    stem = weight.name.removesuffix("weight")
    return [
        weight.replace(dtype="int8", read=by_rows(weight.shape, codes), **_PLAIN),
        Weight(name=f"{stem}SCB", shape=(outputs,), dtype="float32", read=by_rows((outputs,), largest), layer=weight.layer),
        Weight(
            name=f"{stem}weight_format", shape=(), dtype="uint8", read=array_reader(np.zeros(1, np.uint8)), layer=weight.layer
        ),
    ]


def config(request: Request, quantised: Sequence[Weight], kept: Sequence[Weight]) -> dict[str, object]:
    """Return the `quantization_config` with which transformers loads the weights; `kept` are the kernels that stay."""
    four = request.kind != "int8"
    made: dict[str, object] = {"quant_method": "bitsandbytes", "load_in_4bit": four, "load_in_8bit": not four}
    made["llm_int8_skip_modules"] = sorted(weight.layer for weight in kept if len(weight.shape) == 2 and weight.layer)
    if not four:
        return made | {"llm_int8_threshold": 6.0}
    dtype = quantised[0].dtype if quantised and quantised[0].dtype in _DTYPES else "float32"
    made |= {"bnb_4bit_quant_type": request.kind, "bnb_4bit_use_double_quant": request.double}
    return made | {"bnb_4bit_compute_dtype": dtype, "bnb_4bit_quant_storage": "uint8"}
