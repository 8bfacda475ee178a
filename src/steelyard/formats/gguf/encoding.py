"""GGML's block quantisations the other way: float32 numbers into the bytes of blocks, equal to those of the gguf package.

Each encoder takes the numbers of a block as a row, and returns rows of bytes; `quantisation` has the layouts. Numbers are in
float32, computed in the order in which the gguf package does, so that no byte differs. K-quants, IQ quants and NVFP4 have no
encoder: llama.cpp searches their scales, and the gguf package cannot write them either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.errors import LossyError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array

_MIDDLES = (0.5, 1.5, 2.5, 3.5, 5, 7, 10)
"""Between the values of 4-bit floats (e2m1), doubled: 0, 1, 2, 3, 4, 6, 8, 12."""
_LARGEST_HALF = 65504.0
_POWERS = (81, 27, 9, 3, 1)


def _half(values: Array) -> Array:
    """Return numbers as the bytes of float16."""
    import numpy as np

    return np.ascontiguousarray(values.astype("<f2")).view(np.uint8)


def _inverse(scale: Array) -> Array:
    """Return 1 / scale, and 0 for a block of zeros."""
    import numpy as np

    return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _rounded(values: Array) -> Array:
    """Round to the nearest integer, halves away from zero."""
    import numpy as np

    size = np.abs(values)
    floor = np.floor(size)
    rounded: Array = np.sign(values) * (floor + np.floor(2 * (size - floor)))
    return rounded


def _nibbles(codes: Array) -> Array:
    """Return codes of 4 bits: the first half of a block in the low bits, the second in the high bits."""
    half = codes.shape[1] // 2
    packed: Array = codes[:, :half] | codes[:, half:] << 4
    return packed


def _fifth_bits(codes: Array) -> Array:
    """Return the fifth bit of each code, eight in a byte, the lowest bit first."""
    import numpy as np

    return np.packbits(codes >> 4, axis=1, bitorder="little")


def _signed(blocks: Array, bits: int) -> tuple[Array, Array]:
    """Return the scale and the codes of blocks whose number of greatest magnitude has the code 0."""
    import numpy as np

    middle = 1 << (bits - 1)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    scale = largest / np.float32(-middle)
    return scale, _limited(blocks * _inverse(scale) + np.float32(middle + 0.5), bits)


def _ranged(blocks: Array, bits: int) -> tuple[Array, Array, Array]:
    """Return the scale, the minimum and the codes of blocks from their smallest to their largest number."""
    import numpy as np

    low = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - low) / np.float32((1 << bits) - 1)
    return scale, low, _limited((blocks - low) * _inverse(scale) + np.float32(0.5), bits)


def _limited(values: Array, bits: int) -> Array:
    import numpy as np

    return np.trunc(values).astype(np.uint8).clip(0, (1 << bits) - 1)


def _joined(*parts: Array) -> Array:
    import numpy as np

    return np.concatenate(parts, axis=1)


def _q4_0(blocks: Array) -> Array:
    scale, codes = _signed(blocks, 4)
    return _joined(_half(scale), _nibbles(codes))


def _q4_1(blocks: Array) -> Array:
    scale, low, codes = _ranged(blocks, 4)
    return _joined(_half(scale), _half(low), _nibbles(codes))


def _q5_0(blocks: Array) -> Array:
    scale, codes = _signed(blocks, 5)
    return _joined(_half(scale), _fifth_bits(codes), _nibbles(codes & 15))


def _q5_1(blocks: Array) -> Array:
    scale, low, codes = _ranged(blocks, 5)
    return _joined(_half(scale), _half(low), _fifth_bits(codes), _nibbles(codes & 15))


def _q8_0(blocks: Array) -> Array:
    import numpy as np

    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    return _joined(_half(scale), _rounded(blocks * _inverse(scale)).astype(np.int8).view(np.uint8))


def _ternary(blocks: Array) -> tuple[Array, Array]:
    """Return the scale of blocks, their greatest magnitude, and codes of 0, 1 and 2."""
    import numpy as np

    scale = np.abs(blocks).max(axis=1, keepdims=True)
    return scale, (_rounded(blocks * _inverse(scale)).astype(np.int8) + np.int8(1)).astype(np.uint8)


def _tq1_0(blocks: Array) -> Array:
    import numpy as np

    scale, codes = _ternary(blocks)
    runs = []
    for begin, digits, width in ((0, 5, 32), (160, 5, 16), (240, 4, 4)):
        run = codes[:, begin : begin + digits * width].reshape(-1, digits, width).astype(np.uint16)
        runs.append((run * np.array(_POWERS[:digits], np.uint16)[:, None]).sum(axis=1))
    # a byte holds five digits as a fraction of 256, rounded up
    fractions = (_joined(*runs) * 256 + 242) // 243
    return _joined(fractions.astype(np.uint8), _half(scale))


def _tq2_0(blocks: Array) -> Array:
    import numpy as np

    scale, codes = _ternary(blocks)
    parts = codes.reshape(-1, 2, 4, 32) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    return _joined(np.bitwise_or.reduce(parts, axis=2).reshape(len(blocks), -1), _half(scale))


def _mxfp4(blocks: Array) -> Array:
    import numpy as np

    largest = np.abs(blocks).max(axis=1, keepdims=True)
    exponent = np.where(largest > 0, np.floor(np.log2(largest)) - 2 + 127, 0).astype(np.uint8)
    wide = exponent.astype(np.uint32)
    scale = np.where(wide < 2, np.uint32(1 << 21) << wide, (wide - 1) << np.uint32(23)).astype(np.uint32).view(np.float32)
    size = np.abs(blocks) / scale
    codes = np.zeros(blocks.shape, np.uint8)
    for middle in _MIDDLES:  # of two equally near numbers the smaller one
        codes += size > np.float32(middle)
    codes |= ((blocks < 0) & (codes > 0)).astype(np.uint8) << 3
    return _joined(exponent, _nibbles(codes))


ENCODERS: dict[str, Callable[[Array], Array]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "MXFP4": _mxfp4,
}
"""The encoder of each quantisation that can be written."""
_DIVISORS = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 127, "MXFP4": 1 << 112}
"""What the largest magnitude of a block is divided by for its scale, a float16; 1 for all others."""


def encoded(word: str, blocks: Array, name: str) -> Array:
    """Return the bytes of blocks of a quantisation. Raises `LossyError` where a scale does not fit into a float16.

    >>> import numpy as np
    >>> encoded("Q8_0", np.zeros((1, 32), np.float32), "w").shape
    (1, 34)
    """
    import numpy as np

    largest = float(np.abs(blocks).max(initial=0))
    if largest / _DIVISORS.get(word, 1) > _LARGEST_HALF:
        raise LossyError(
            f"{printable(name)} holds {largest:.6g}, whose scale in {word} would be above the largest float16, 65504"
        )
    with np.errstate(all="ignore"):  # the inverse of the scale of subnormal numbers may be infinite
        return ENCODERS[word](blocks)
