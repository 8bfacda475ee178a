"""Numbers in the types that every language has: integers of 8 to 64 bits, float32 and float64; and their order in memory.

| dtype | becomes |
|---|---|
| bool | uint8, 0 or 1 |
| float16, bfloat16, float8, float6, float4 | float32, exactly; or their own bits as uint16 or uint8 |
| int2, int4, uint2, uint4 | int8, uint8 |
| complex64, complex128 | float32, float64 with one more axis: the real part, then the imaginary part |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from steelyard.core.axes import LABELS, label_of, parsed
from steelyard.core.readers import by_rows
from steelyard.dtypes import is_floating, itemsize, numpy_dtype
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

NATIVE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
"""The types that a table may have."""
CHANNELS = ("first", "last")


def plain(weight: Weight, *, bits: bool) -> Weight:
    """Return a weight in a native type; with `bits` short floats keep theirs. Raises `ShapeError` where there is none."""
    dtype = weight.dtype
    if dtype in NATIVE:
        return weight
    if dtype == "bool":
        return _changed(weight, "uint8", lambda run: run.view("uint8"))
    if dtype.startswith("complex"):
        part = "float32" if dtype == "complex64" else "float64"
        return weight.replace(dtype=part, shape=(*weight.shape, 2), axes="", read=_parts(weight, part))
    if is_floating(dtype) and itemsize(dtype) <= 2:
        word = f"uint{8 * itemsize(dtype)}"
        return _changed(weight, word, lambda run: run.view(word)) if bits else _changed(weight, "float32", widened)
    if dtype.startswith(("int", "uint")):
        word = f"{dtype.rstrip('0123456789')}8"
        return _changed(weight, word, lambda run: run.astype(word))
    raise ShapeError(f'{printable(weight.name)} is {dtype}, which other machines do not have; dtype="float64" casts it')


def _changed(weight: Weight, dtype: str, change: Callable[[Array], Array]) -> Weight:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        return change(np.ascontiguousarray(weight.read(start, stop)))

    return weight.replace(dtype=dtype, read=read)


def _parts(weight: Weight, part: str) -> Callable[[int, int], Array]:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        first = start // 2
        return np.ascontiguousarray(weight.read(first, -(-stop // 2))).view(part)[start - 2 * first : stop - 2 * first]

    return read


def widened(run: Array) -> Array:
    """Return short floats as float32, exactly, also the payloads of NaN, which processors change.

    >>> import numpy as np
    >>> [hex(n) for n in widened(np.array([0x3C00, 0x7C01], "uint16").view("float16")).view("uint32")]
    ['0x3f800000', '0x7f802000']
    """
    import numpy as np

    if run.dtype.name == "bfloat16":
        return (run.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(invalid="ignore"):
        wide = run.astype(np.float32)
    if run.dtype == np.float16 and (odd := np.isnan(wide)).any():
        bits = run.view(np.uint16)[odd].astype(np.uint32)
        wide.view(np.uint32)[odd] = (bits & 0x8000) << 16 | 0x7F800000 | (bits & 0x3FF) << 13
    return wide


def laid_out(weight: Weight, channels: str) -> Weight:
    """Return a weight with its axes in one order for all frameworks: outputs first; inputs next ("first"), or last ("last").

    A dense kernel is `out in` either way, and a depthwise kernel with a multiplier ends with its channels if they are last.
    Raises `ShapeError` if the axes of a weight with several are not known.
    """
    if len(weight.shape) < 2:
        return weight
    axes = weight.axes.split()
    if len(axes) != len(weight.shape):
        raise ShapeError(
            f"the axes of {printable(weight.name)}, {weight.shape}, are not known, so channels={channels!r} cannot order them; "
            "leave it out, or select other weights"
        )
    order = _order(weight.axes, channels)
    if order == sorted(order):
        return weight
    shape = tuple(weight.shape[at] for at in order)

    def rows(first: int, last: int) -> Array:
        turned: Array = weight.numpy().transpose(order)[first:last]
        return turned

    return weight.replace(shape=shape, axes=" ".join(axes[at] for at in order), read=by_rows(shape, rows))


def _order(axes: str, channels: str) -> list[int]:
    words = frozenset(factor.word for axis in parsed(axes) for factor in axis)
    first = [*LABELS] if channels == "first" else [label for label in LABELS if label != "in"] + ["in"]
    if "mult" in words and channels == "last":
        first = [label for label in LABELS if label not in ("out", "in")] + ["out", "in"]
    labels = [next((label for factor in axis if (label := label_of(factor.word, words))), "") for axis in parsed(axes)]
    places: Sequence[int] = [first.index(label) if label else -1 for label in labels]
    return sorted(range(len(places)), key=lambda at: places[at])


def own_bits(weight: Weight) -> str:
    """Return the unsigned type that has the bits of a native type."""
    return f"uint{8 * numpy_dtype(weight.dtype).itemsize}"
