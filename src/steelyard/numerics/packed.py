"""Parts of stored matrices, and the fields of bits in their words, for weights that are made of packed ones."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from steelyard.core.readers import ByColumns, by_rows
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard.core.weight import Array, Reader, Weight

    Operation = Callable[..., Any]
    """A ufunc of two arrays."""

_OF_BYTE = {1: 8, 2: 4, 4: 2, 8: 1}
"""The number of fields in a byte, by their bits."""
_FEW = 1 << 10  # fewer codes are cast sooner than a table is made
_FLOAT8 = {"float8_e4m3fn": (20, 120, 127), "float8_e5m2": (21, 112, 124)}
"""Shift from a code to the bits of float32, the power of two between both, and the first code that is not finite."""
LONGEST_ROW = 1 << 24
"""numbers of a row of a packed weight: a row is unpacked at a time"""


def rows(weight: Weight, first: int, last: int) -> Array:
    """Read the rows [first, last) of a weight, which keep its other axes.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> rows(from_array("w", np.arange(6).reshape(3, 2)), 1, 2).tolist()
    [[2, 3]]
    """
    width = weight.size // max(weight.shape[0], 1)
    return weight.read(first * width, last * width).reshape(last - first, *weight.shape[1:])


def transposed(weight: Weight) -> Weight:
    """Return a stored matrix with its axes exchanged, so that `rows` reads its columns; bands of them are kept for the next.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> rows(transposed(from_array("w", np.arange(6).reshape(3, 2))), 1, 2).tolist()
    [[1, 3, 5]]
    """
    shape = weight.shape[::-1]
    return weight.replace(shape=shape, read=ByColumns(weight.read, shape))


def fields(words: Array, bits: int) -> Array:
    """Return the unsigned fields of `bits` bits in each row of words of 32 bits, which is one stream, the lowest bits first.

    A field may begin in one word and end in the next. Bits that are left at the end of a row are no field.

    >>> import numpy as np
    >>> fields(np.array([[0x76543210]], np.uint32), 4).tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7]]
    >>> int(fields(np.array([[1 << 30, 1]], np.uint32), 3)[0, 10])
    5
    """
    import numpy as np

    stream = np.ascontiguousarray(words).astype("<i4" if words.dtype.kind == "i" else "<u4", copy=False).view(np.uint8)
    if bits in _OF_BYTE:
        return low_first(stream, bits)
    count = stream.shape[-1] * 8 // bits
    eights = -(-count // 8)  # eight fields take `bits` bytes, which are spread over eight
    padded = np.zeros((*stream.shape[:-1], max(eights * bits, stream.shape[-1])), np.uint8)
    padded[..., : stream.shape[-1]] = stream
    wide = np.zeros((*stream.shape[:-1], eights, 8), np.uint8)
    wide[..., :bits] = padded[..., : eights * bits].reshape(*stream.shape[:-1], eights, bits)
    return _spread(wide.view("<u8"), bits).view(np.uint8).reshape(*stream.shape[:-1], eights * 8)[..., :count]


def low_first(stored: Array, bits: int) -> Array:
    """Return the unsigned fields of 1, 2, 4 or 8 bits in the bytes of the last axis, the lowest bits of a byte first."""
    return _of_bytes(stored, bits, "<")


def high_first(stored: Array, bits: int) -> Array:
    """Return the unsigned fields of 1, 2, 4 or 8 bits in the bytes of the last axis, the highest bits of a byte first."""
    return _of_bytes(stored, bits, ">")


def _of_bytes(stored: Array, bits: int, order: str) -> Array:
    """Return the fields of each byte as the bytes of a word, whose first byte has the lowest bits in order "<"."""
    import numpy as np

    data = stored.view(np.uint8)
    if bits == 8:
        return data
    words = _spread(data.astype(f"u{_OF_BYTE[bits]}", order="C"), bits)
    return (
        words.astype(f"{order}u{_OF_BYTE[bits]}", copy=False)
        .view(np.uint8)
        .reshape(*data.shape[:-1], data.shape[-1] * _OF_BYTE[bits])
    )


def _spread(words: Array, bits: int) -> Array:
    """Return words with a field in each byte, of words with as many fields next to each other in their lowest bits, in place.

    The upper half of the fields moves up until it begins a half of the word, then that of each half, and so on.
    """
    kind, count = words.dtype.type, words.dtype.itemsize
    step = count // 2
    while step:
        lower, upper = (sum((1 << step * bits) - 1 << at * 8 for at in range(begin, count, 2 * step)) for begin in (0, step))
        raised = words << kind(step * (8 - bits))
        if bits > 4:  # else what moves up does not meet the lower half
            raised &= kind(upper)
            words &= kind(lower)
        words |= raised
        if bits <= 4:
            words &= kind(lower | upper)
        step //= 2
    return words


def repeated(values: Array, axis: int, group: int, length: int) -> Array:
    """Repeat each value along an axis for the `group` numbers that it is for, up to a length, which the last group may end.

    >>> import numpy as np
    >>> repeated(np.array([[1, 2]]), 1, 2, 3).tolist()
    [[1, 1, 2]]
    """
    import numpy as np

    full = np.repeat(values, group, axis)
    return full[(slice(None),) * axis + (slice(length),)]


def looked_up(stored: Array, numbers: Array, *, high_first: bool = False) -> Array:
    """Return the number of each of the two codes of 4 bits in the bytes of the last axis, in float32: one of 16 `numbers`.

    >>> import numpy as np
    >>> looked_up(np.array([[0x21]], np.uint8), np.arange(16, dtype=np.float32)).tolist()
    [[1.0, 2.0]]
    """
    import numpy as np

    code = np.arange(256)
    both = numbers.astype(np.float32)[np.stack([code >> 4, code & 15] if high_first else [code & 15, code >> 4], axis=-1)]
    pairs = np.ascontiguousarray(both).view(np.uint64)[:, 0]  # a pair is looked up at once
    found: Array = np.take(pairs, stored.view(np.uint8), mode="wrap").view(np.float32)
    return found


def in_groups(operation: Operation, values: Array, operands: Array, group: int) -> None:
    """Change a matrix in place: each of its rows by one operand for each `group` columns, of which the last may have fewer.

    >>> import numpy as np
    >>> values = np.ones((1, 5), np.float32)
    >>> in_groups(np.multiply, values, np.array([[1, 2, 3]], np.float32), 2)
    >>> values.tolist()
    [[1.0, 1.0, 2.0, 2.0, 3.0]]
    """
    whole = values.shape[1] // group
    inside = values[:, : whole * group].reshape(len(values), whole, group)
    operation(inside, operands[:, :whole, None], out=inside)
    rest = values[:, whole * group :]
    operation(rest, operands[:, whole : whole + 1], out=rest)


def less_zeros(codes: Array, zeros: Array, scales: Array, group: int) -> Array:
    """Return (code - zero) * scale in float32, where each `group` columns share a zero point and a scale.

    The codes are changed; they and the zero points are small integers of one type, which holds their differences.
    """
    import numpy as np

    if zeros.size and (zeros == zeros[0, 0]).all():  # as in a symmetric layer
        codes -= zeros[0, 0]
    else:
        in_groups(np.subtract, codes, zeros, group)
    values = codes.astype(np.float32)
    in_groups(np.multiply, values, scales, group)
    return values


def stacked_fields(weight: Weight, bits: int, shifts: Sequence[int], first: int, last: int) -> Array:
    """Return the rows [first, last) of codes of `bits` bits: in each stored word, at shift k, is a row of the k-th part of them.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> stacked_fields(from_array("w", np.array([[0x21], [0x43]], np.uint8)), 4, (4, 0), 1, 3).tolist()
    [[4], [1]]
    """
    import numpy as np

    stored = flattened(weight)
    height, width = stored.shape
    parts = [np.empty((0, width), np.uint8)]
    at = first
    while at < last:
        part, row = divmod(at, height)
        end = min(last, (part + 1) * height)
        words = rows(stored, row, row + end - at) >> shifts[part]
        parts.append((words & ((1 << bits) - 1)).astype(np.uint8))
        at = end
    return np.concatenate(parts)


def flattened(weight: Weight) -> Weight:
    """Return a stored weight as a matrix, of which all axes but the last are the rows; a scalar has one."""
    width = weight.shape[-1] if weight.shape else 1
    return weight.replace(shape=(weight.size // max(width, 1), width))


def matrix_reader(shape: tuple[int, ...], part: Callable[[int, int], Array]) -> Reader:
    """Return the reader of a weight whose rows [first, last) `part` returns; all axes but the last are rows.

    Raises `ShapeError` for rows so long that one of them takes more memory than a reader may.
    """
    width = shape[-1] if shape else 1
    if width > LONGEST_ROW:
        raise ShapeError(f"its rows have {width:,} numbers, more than the {LONGEST_ROW:,} that are read at a time")
    return by_rows((prod(shape[:-1]), width), quiet(part))


def quiet(part: Reader) -> Reader:
    """Return the same reader without NumPy's warnings: a scale of a damaged file may be NaN, infinite or too large."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        with np.errstate(all="ignore"):
            return part(start, stop)

    return read


def as_float32(codes: Array) -> Array:
    """Return codes as new float32 numbers; those of float8 are made by their bits or a table, since a cast is slow.

    >>> import numpy as np
    >>> as_float32(np.array([-2, 3], np.int8)).tolist()
    [-2.0, 3.0]
    """
    import numpy as np

    if not codes.dtype.name.startswith("float8") or codes.size < _FEW:
        return codes.astype(np.float32)
    stored, facts = codes.view(np.uint8), _FLOAT8.get(codes.dtype.name)
    if facts and np.float32(1e-40) * np.float32(2) and (stored & 127).max() < facts[2]:  # subnormal numbers are not flushed
        return _moved(stored, *facts[:2])
    table = np.arange(256, dtype=np.uint8).view(codes.dtype).astype(np.float32)
    found: Array = np.take(table, stored, mode="wrap")
    return found


def _moved(stored: Array, shift: int, power: int) -> Array:
    """Return finite numbers of float8: their exponent and mantissa become those of float32, whose exponent has another bias.

    float8     s eeee mmm, or s eeeee mm
    float32    s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm
    """
    import numpy as np

    words = stored.view(np.int8).astype(np.int32)  # with copies of the sign
    words <<= shift
    words &= np.int32((127 << shift) - (1 << 31))
    made = words.view(np.float32)
    made *= np.float32(2.0**power)
    return made


def e2m1(stored: Array) -> Array:
    """Return the two numbers of float4 E2M1 in each byte of the last axis, the lowest bits first, in float32."""
    import numpy as np

    return looked_up(stored, np.array(E2M1, np.float32))


E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The numbers of float4 E2M1 by their four bits."""


def powers_of_two(exponents: Array) -> Array:
    """Return the scales of E8M0 bytes in float32: 2^(byte - 127), NaN for 255."""
    import numpy as np
    from ml_dtypes import float8_e8m0fnu

    scales: Array = exponents.view(np.uint8).view(float8_e8m0fnu).astype(np.float32)
    return scales


def packed_pairs(codes: Array, *, high_first: bool = False) -> Array:
    """Return two codes of 4 bits of the last axis in each byte; the last byte of a row of odd length has a zero.

    >>> import numpy as np
    >>> [hex(each) for each in packed_pairs(np.array([1, 2, 3], np.uint8))]
    ['0x21', '0x3']
    """
    import numpy as np

    bits = codes.astype(np.uint8) & np.uint8(15)
    if bits.shape[-1] % 2:
        bits = np.concatenate([bits, np.zeros((*bits.shape[:-1], 1), np.uint8)], axis=-1)
    first, second = bits[..., ::2], bits[..., 1::2]
    return (first << 4 | second) if high_first else (second << 4 | first)
