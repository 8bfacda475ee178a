"""bitsandbytes: blocks of numbers of 4 bits in a table (NF4, FP4), and rows of int8.

4 bits: X                                        uint8 (numbers / 2, 1), or the same bytes in another type; high bits first
        X.quant_state.bitsandbytes__nf4, __fp4    JSON: blocksize, dtype, shape; nested_blocksize, nested_offset
        X.quant_map                              float32 (16): the number of each code
        X.absmax                                 float32 (blocks), or codes uint8 (blocks) if the scales are quantised too, with
        X.nested_quant_map, X.nested_absmax      float32 (256) and (nested blocks)
8 bits: L.weight int8 (out, in), L.SCB float32 (out), L.weight_format 0: weight[o, i] = code[o, i] * SCB[o] / 127

number k of 4 bits = quant_map[code k] * absmax[k // blocksize], where the numbers are in row-major order, whatever the rows.
absmax[b] = nested_quant_map[code b] * nested_absmax[b // nested_blocksize] + nested_offset
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.codecs.quantization_config import integer
from steelyard.core.effective import Derivation, Pieces, Setting, attempted, derived, joined
from steelyard.core.rounding import rounded
from steelyard.core.weight import Role
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import ShapeError, printable
from steelyard.numerics.packed import in_groups, looked_up, matrix_reader, quiet, rows
from steelyard.numerics.scales import spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.plain import Config
    from steelyard.core.weight import Array, Weight

_STATE, _TYPES = "quant_state", ("nf4", "fp4")
_LONGEST = 1 << 14
"""bytes of a quantisation state: it has a few settings, and a short JSON of many lists would take much more memory"""
_PARTS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
_DTYPES = ("float16", "bfloat16", "float32")
_CODES, _NESTED_CODES = 16, 256
_ONE = 0.007874015718698502
"""1 / 127, as the library has it"""


class _Blocks(NamedTuple):
    """The codes and scales of a weight of 4 bits; the scales have codes too where `nested` is not None."""

    codes: Weight
    map: Weight
    absmax: Weight
    size: int
    block: int
    dtype: str
    nested: tuple[Weight, Weight, int, float] | None


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of linear layers."""
    for kind in _TYPES:
        for stem in pieces.stems(f"bitsandbytes__{kind}"):
            name = stem.removesuffix(_STATE).removesuffix(".")
            found = (pieces.get(name), pieces.get(joined(stem, f"bitsandbytes__{kind}")), *pieces.of(name, *_PARTS))
            facts = Derivation(f"bitsandbytes {kind}", tuple(weight.name for weight in found if weight))
            yield attempted(name, facts, partial(_of_blocks, name, found, facts))
    for name in pieces.stems("absmax"):  # those that are left have no state
        found = (pieces.get(name), *pieces.of(name, *_PARTS))
        facts = Derivation("bitsandbytes 4 bits", tuple(weight.name for weight in found if weight))
        yield attempted(name, facts, _without_state)
    for stem in pieces.stems("SCB"):
        found = pieces.of(stem, "weight", "SCB", "weight_format")
        name, facts = joined(stem, "weight"), Derivation("bitsandbytes int8", tuple(weight.name for weight in found if weight))
        yield attempted(name, facts, partial(_of_rows, name, found, facts))


def _without_state() -> Weight:
    raise ShapeError("quant_state is missing, which has its type, its block size and its shape")


def _of_blocks(name: str, found: tuple[Weight | None, ...], facts: Derivation) -> Weight:
    codes, state, absmax, table, *nested = found
    if codes is None or state is None or absmax is None or table is None:
        raise ShapeError(f"{'its codes' if codes is None else 'absmax' if absmax is None else 'quant_map'} are missing")
    config = _state(state)
    shape, dtype, block = config.get("shape"), config.get("dtype"), integer(config, "blocksize")
    lengths = tuple(length for length in shape if type(length) is int) if isinstance(shape, list) else ()
    if not isinstance(shape, list) or not lengths or len(lengths) != len(shape) or not limits.is_possible(lengths):
        raise ShapeError("quant_state has no shape")
    if not isinstance(dtype, str) or dtype not in _DTYPES or block is None or block < 2 or block % 2:
        raise ShapeError(f"quant_state has the dtype {printable(str(dtype))} and a block size of {block}")
    size, stored = prod(lengths), codes.size * itemsize(codes.dtype)
    if not 0 <= stored - -(-size // 2) < itemsize(codes.dtype) or absmax.size != -(-size // block) or table.size != _CODES:
        shown = f"{stored:,} bytes and {absmax.size:,} scales"
        raise ShapeError(f"a shape of {lengths} needs {-(-size // 2):,} bytes and {-(-size // block):,} scales, not {shown}")
    if max(absmax.shape, default=1) != absmax.size:
        raise ShapeError(
            f"absmax has the shape {absmax.shape}: a net that had run on a CPU was saved, whose scales bitsandbytes leaves in "
            "another order; save the net before it runs"
        )
    inner = _nested(absmax, nested, config)
    blocks = _Blocks(codes, table, absmax, size, block, dtype, inner)
    settings: dict[str, Setting] = {
        "quant_type": str(config.get("quant_type")),
        "blocksize": block,
        "dtype": dtype,
        "double_quant": inner is not None,
    }
    facts = facts._replace(settings=settings, scheme=facts.scheme + (" double" if inner else ""))
    axes = "out in" if len(lengths) == 2 else ""
    return derived(
        name, lengths, quiet(partial(_read, blocks)), facts, dtype=dtype, role=Role.KERNEL if axes else Role.OTHER, axes=axes
    )


def _state(state: Weight) -> Config:
    """Return the JSON of a quantisation state."""
    if state.dtype != "uint8" or state.size > _LONGEST:
        raise ShapeError("quant_state is not a text")
    config = from_json(state.numpy().tobytes())
    if not isinstance(config, dict):
        raise ShapeError("quant_state is not an object of JSON")
    return config


def _nested(absmax: Weight, nested: list[Weight | None], config: Config) -> tuple[Weight, Weight, int, float] | None:
    """Return scales and table of the codes of scales, their block size and offset; None where the scales are numbers."""
    block, offset = integer(config, "nested_blocksize"), config.get("nested_offset")
    scales, table = nested
    if block is None and scales is None and absmax.dtype != "uint8":
        return None
    if scales is None or table is None or absmax.dtype != "uint8" or not isinstance(offset, int | float):
        raise ShapeError("its scales are codes, and what makes numbers of them is missing")
    if block is None or block < 1 or scales.size != -(-absmax.size // block) or table.size != _NESTED_CODES:
        raise ShapeError(f"{absmax.size:,} scales in blocks of {block} cannot have {scales.size:,} scales of their own")
    return scales, table, block, offset


def _read(blocks: _Blocks, start: int, stop: int) -> Array:
    """Return the numbers [start, stop)."""
    import numpy as np

    first, last = start // blocks.block, -(-stop // blocks.block)
    begin, width = first * blocks.block, itemsize(blocks.codes.dtype)
    low, high = begin // 2, -(-stop // 2)  # bytes
    stored = blocks.codes.read(low // width, max(-(-high // width), low // width))
    codes = np.ascontiguousarray(stored).view(np.uint8)[low % width :][: max(high - low, 0)]
    values = looked_up(codes, blocks.map.read(0, _CODES), high_first=True)[None, : stop - begin]
    in_groups(np.multiply, values, _absmax(blocks, first, last)[None], blocks.block)
    return rounded(values[0, start - begin :], numpy_dtype(blocks.dtype))


def _absmax(blocks: _Blocks, first: int, last: int) -> Array:
    """Return the scales of blocks [first, last) in float32."""
    import numpy as np

    stored = blocks.absmax.read(first, max(last, first))
    if blocks.nested is None:
        return stored.astype(np.float32, copy=False)
    scales, table, block, offset = blocks.nested
    values = table.read(0, _NESTED_CODES).astype(np.float32)[stored]
    values *= scales.read(0, scales.size).astype(np.float32)[np.arange(first, first + len(stored)) // block]
    return values + np.float32(offset)


def _of_rows(name: str, found: tuple[Weight | None, ...], facts: Derivation) -> Weight:
    codes, scales, order = found
    if codes is None or scales is None or codes.dtype != "int8" or len(codes.shape) != 2 or scales.shape != codes.shape[:1]:
        raise ShapeError("SCB has a scale for each row of an int8 weight, which is missing or has other rows")
    if order is not None and (
        order.size != 1 or order.dtype not in ("uint8", "int8", "int64") or int(order.numpy().reshape(-1)[0])
    ):
        raise ShapeError("weight_format is not 0: its numbers are in the order of a kernel")
    facts = facts._replace(assumed=() if order else ("its numbers are in row-major order",))
    scale = spread(scales, codes.shape)

    def part(first: int, last: int) -> Array:
        import numpy as np

        values = rows(codes, first, last).astype(np.float32)
        scale.apply(np.multiply, values, first)
        values *= np.float32(_ONE)
        return values

    return derived(name, codes.shape, matrix_reader(codes.shape, part), facts, role=Role.KERNEL, axes="out in")
