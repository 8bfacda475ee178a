"""The operations of Core ML that decode constants.

    affine_dequantize       scale * (quantized_data - zero_point), along an axis
    lut_to_dense            lut[indices]; packed bits and a shape, or from iOS 18 on indices with a shape and groups of palettes
    blockwise_shift_scale   scale * (data - offset), where each scale belongs to a block
    sparse_to_dense         nonzero_data at the bits of a mask
    cast                    source_val in another type

Source: the documentation of the operations in coremltools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.core.weight import Refused
from steelyard.dtypes import UNKNOWN, itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, printable
from steelyard.formats.coreml.codes import Value, bits_at, computed, picked
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

    Values = Mapping[str, Value]
    Plan = tuple[tuple[int, ...], str, Callable[[], Array]]


def decoded(source: Source, kind: str, name: str, values: Values, budget: Budget) -> Value:
    """Return a constant that an operation decodes; one that cannot be decoded raises the reason when it is read."""
    try:
        refused = [value.read.error for value in values.values() if isinstance(value.read, Refused)]
        if refused:
            raise refused[0]
        shape, dtype, make = DECODERS[kind](source, values)
        stored = sum(value.stored for value in values.values())
        if not is_possible(shape) or is_bomb(prod(shape) * itemsize(dtype), stored):
            raise FormatError(
                source.name, f"{printable(name)} would have the shape {printable(list(shape))}, too large for its codes"
            )
        budget.spend_read(prod(shape) * itemsize(dtype))
    except KeyError as error:
        why = FormatError(source.name, f"{printable(name)} is decoded from {printable(error.args[0])}, which is not a constant")
        return Value((), UNKNOWN, 0, Refused(why), 0)
    except SteelyardError as error:
        return Value((), UNKNOWN, 0, Refused(error), 0)
    return Value(shape, dtype, 0, computed(shape, dtype, make), stored)


def _array(value: Value) -> Array:
    return value.read(0, prod(value.shape)).reshape(value.shape)


def _integers(value: Value) -> list[int]:
    """Return a short list of integers that the model itself has."""
    return [int(number) for number in value.read(0, min(prod(value.shape), 64)).tolist()]


def _affine(source: Source, values: Values) -> Plan:
    data, scale, zero = values["quantized_data"], values["scale"], values["zero_point"]
    axis = _integers(values["axis"])[0] if "axis" in values else 0
    if not -len(data.shape) <= axis < max(len(data.shape), 1):
        raise FormatError(source.name, f"is quantised along the axis {axis} of {list(data.shape)}")
    lengths = [1] * len(data.shape)
    if prod(scale.shape) > 1 or prod(zero.shape) > 1:
        lengths[axis] = data.shape[axis]
    if any(prod(part.shape) not in (1, prod(lengths)) for part in (scale, zero)):
        raise FormatError(source.name, f"has scales of the shape {list(scale.shape)} for {list(data.shape)}")

    def make() -> Array:
        factors, zeros = (part.reshape(-1) if part.size == 1 else part.reshape(lengths) for part in (_array(scale), _array(zero)))
        wide = numpy_dtype("float32")
        found: Array = (_array(data).astype(wide) - zeros.astype(wide)) * factors.astype(wide)
        return found

    return data.shape, scale.dtype, make


def _palette(source: Source, values: Values) -> Plan:
    lut, indices = values["lut"], values["indices"]
    if "shape" in values:  # before iOS 18: packed bits
        shape = tuple(_integers(values["shape"]))
        bits = max((prod(lut.shape) - 1).bit_length(), 1)
        if bits > 8 or prod(indices.shape) < -(-prod(shape) * bits // 8):
            raise FormatError(source.name, f"has a palette of {prod(lut.shape):,} for {prod(indices.shape):,} bytes of codes")

        def unpack() -> Array:
            data = from_bytes(_array(indices).tobytes(), source.name)
            codes = bits_at(data, (0, data.size), bits, highest_first=False)(0, prod(shape))
            return picked(source, _array(lut).reshape(-1), codes).reshape(shape)

        return shape, lut.dtype, unpack
    rank = len(indices.shape)
    groups = lut.shape[:rank]
    if (
        len(lut.shape) != rank + 2
        or lut.shape[-1] != 1
        or any(not n or length % n for length, n in zip(indices.shape, groups, strict=True))
    ):
        raise FormatError(
            source.name, f"has palettes of the shape {list(lut.shape)} for {list(indices.shape)}, which are not supported"
        )

    def pick() -> Array:
        import numpy as np

        codes, tables = _array(indices), _array(lut)[..., 0]
        if codes.size and int(codes.max()) >= tables.shape[-1]:
            raise FormatError(source.name, f"has the code {int(codes.max())}, and palettes of {tables.shape[-1]}")
        axes = [np.arange(length) // (length // n) for length, n in zip(indices.shape, groups, strict=True)]
        places = np.ix_(*axes) if axes else ()
        found: Array = tables[(*places, codes)]
        return found

    return indices.shape, lut.dtype, pick


def _blockwise(source: Source, values: Values) -> Plan:
    data, scale, offset = values["data"], values["scale"], values.get("offset")
    tables = [scale, offset] if offset else [scale]
    for table in tables:
        fits = len(table.shape) == len(data.shape) and all(
            n and not length % n for length, n in zip(data.shape, table.shape, strict=True)
        )
        if not fits:
            raise FormatError(source.name, f"has scales of the shape {list(table.shape)} for {list(data.shape)}")

    def spread(table: Value) -> Array:
        import numpy as np

        made = _array(table).astype(np.float32)
        for axis, length in enumerate(data.shape):
            made = np.repeat(made, length // table.shape[axis], axis=axis)
        return made

    def make() -> Array:
        values = _array(data).astype(numpy_dtype("float32"))
        return (values - spread(offset) if offset else values) * spread(scale)

    return data.shape, scale.dtype, make


def _sparse(source: Source, values: Values) -> Plan:
    numbers, mask = values["nonzero_data"], values["mask"]
    shape = tuple(_integers(values["shape"])) if "shape" in values else mask.shape
    if "shape" in values and prod(mask.shape) < -(-prod(shape) // 8):
        raise FormatError(source.name, f"has a mask of {prod(mask.shape):,} bytes for the shape {list(shape)}")

    def make() -> Array:
        import numpy as np

        flags = _array(mask).reshape(-1)
        if "shape" in values:
            flags = np.unpackbits(flags.view(np.uint8), bitorder="little")[: prod(shape)]
        made = np.zeros(prod(shape), numpy_dtype(numbers.dtype))
        if int(np.count_nonzero(flags)) != prod(numbers.shape):
            raise FormatError(source.name, f"has {prod(numbers.shape):,} numbers for a mask of {np.count_nonzero(flags):,}")
        made[flags != 0] = _array(numbers).reshape(-1)
        return made.reshape(shape)

    return shape, numbers.dtype, make


def _cast(source: Source, values: Values) -> Plan:
    data = values["source_val"]
    return data.shape, "float32" if data.dtype == "float16" else data.dtype, lambda: _array(data)


DECODERS: Mapping[str, Callable[[Source, Values], Plan]] = {
    "constexpr_affine_dequantize": _affine,
    "constexpr_lut_to_dense": _palette,
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_sparse_to_dense": _sparse,
    "constexpr_cast": _cast,
}
"""By the type of an operation, a function that returns the shape and the type of what it gives, and how to compute it."""
