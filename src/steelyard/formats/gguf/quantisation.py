"""GGML's block quantisations: a run of numbers kept as integers of a few bits, with a scale for each block.

Each decoder takes blocks as rows of bytes, and returns rows of float32. The comment above it gives the layout of one
block: first byte, length, and the field by GGML's name. "4 x 16" are numbers of 4 bits in runs of 16 bytes: the low
bits of the run come first, then the next bits of the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.formats.gguf import iq_quantisation as iq
from steelyard.formats.gguf.unpacking import centred, halves, scaled, unpack, viewed

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""The values of 4-bit floats (e2m1), doubled."""


class Blocks:
    """A reader of the numbers that are stored at `offset` in blocks of the quantisation `name`.

    It widens a run to whole blocks, decodes them, and cuts the run out.
    """

    __slots__ = ("name", "offset", "source")

    def __init__(self, source: Source, offset: int, name: str) -> None:
        self.source = source
        self.offset = offset
        self.name = name

    def __call__(self, start: int, stop: int) -> Array:
        import numpy as np

        if stop <= start:
            return np.zeros(0, np.float32)
        size, width, decode = QUANTS[self.name]
        first, last = start // size, -(-stop // size)
        data = self.source.read(self.offset + first * width, (last - first) * width)
        with np.errstate(all="ignore"):  # the scales of a damaged block may be infinite
            decoded = decode(np.frombuffer(data, np.uint8).reshape(-1, width))
        return decoded.reshape(-1)[start - first * size : stop - first * size]


# 0   2   d    float16, the scale
# 2   16  qs   4 x 16 bits, zero point 8
def _q4_0(b: Array) -> Array:
    """Decode 4-bit numbers with a zero point."""
    return scaled(halves(b[:, :2]), centred(unpack(b[:, 2:], 4, 16), 8))


# 0   2   d    float16, the scale
# 2   2   m    float16, the minimum
# 4   16  qs   4 x 16 bits
def _q4_1(b: Array) -> Array:
    """Decode 4-bit numbers with a minimum."""
    d = halves(b[:, :4])
    return scaled(d[:, :1], unpack(b[:, 4:], 4, 16)) + d[:, 1:]


# 0   2   d    float16, the scale
# 2   4   qh   the fifth bit of each number, zero point 16
# 6   16  qs   4 x 16 bits
def _q5_0(b: Array) -> Array:
    """Decode 5-bit numbers with a zero point."""
    q = unpack(b[:, 6:], 4, 16) | unpack(b[:, 2:6], 1, 1) << 4
    return scaled(halves(b[:, :2]), centred(q, 16))


# 0   2   d    float16, the scale
# 2   2   m    float16, the minimum
# 4   4   qh   the fifth bit of each number
# 8   16  qs   4 x 16 bits
def _q5_1(b: Array) -> Array:
    """Decode 5-bit numbers with a minimum."""
    d = halves(b[:, :4])
    return scaled(d[:, :1], unpack(b[:, 8:], 4, 16) | unpack(b[:, 4:8], 1, 1) << 4) + d[:, 1:]


# 0   2   d    float16, the scale
# 2   32  qs   int8
def _q8_0(b: Array) -> Array:
    """Decode 8-bit numbers."""
    return scaled(halves(b[:, :2]), viewed(b[:, 2:], "i1"))


# 0   4   d    float32, the scale
# 4   4   s    the sum of the block, which only products need
# 8   32  qs   int8
def _q8_1(b: Array) -> Array:
    """Decode 8-bit numbers, stored with their sum."""
    return scaled(viewed(b[:, :4], "<f4"), viewed(b[:, 8:], "i1"))


# 0   4    d      float32, the scale
# 4   256  qs     int8
# 260 32   bsums  the sums of groups of 16, which only products need
def _q8_k(b: Array) -> Array:
    """Decode 8-bit numbers in blocks of 256, stored with their sums."""
    return scaled(viewed(b[:, :4], "<f4"), viewed(b[:, 4:260], "i1"))


# 0   2   d    float16, the scale
# 2   16  qs   one bit a number: 1 is d, 0 is -d
def _q1_0(b: Array) -> Array:
    """Decode signs."""
    return scaled(halves(b[:, :2]), centred(unpack(b[:, 2:], 1, 1) << 1, 1))


# 0   16  scales  of 16 numbers each: low four bits the scale, high four bits the minimum
# 16  64  qs      2 x 32 bits
# 80  2   d       float16, the scale of the scales
# 82  2   dmin    float16, the scale of the minima
def _q2_k(b: Array) -> Array:
    """Decode 2-bit numbers with 4-bit scales and minima."""
    import numpy as np

    d, scales = halves(b[:, 80:]), b[:, :16]
    minima = d[:, 1:] * (scales >> 4).astype(np.float32)
    return scaled(d[:, :1] * (scales & 15).astype(np.float32), unpack(b[:, 16:80], 2, 32), minima)


# 0   32  hmask   the third bit of each number; where it is 0, 4 is subtracted
# 32  64  qs      2 x 32 bits, the low bits
# 96  12  scales  16 of 6 bits, zero point 32: 8 bytes hold the low four bits, 4 bytes the high two
# 108 2   d       float16, the scale of the scales
def _q3_k(b: Array) -> Array:
    """Decode 3-bit numbers with 6-bit scales."""
    import numpy as np

    scales = unpack(b[:, 96:104], 4, 8) | unpack(b[:, 104:108], 2, 4) << 4
    q = centred(unpack(b[:, 32:96], 2, 32), 0) - ((1 - centred(unpack(b[:, :32], 1, 32), 0)) << 2)
    return scaled(halves(b[:, 108:]) * centred(scales, 32).astype(np.float32), q)


# byte    bits 0-5       bits 6-7
# 0-3     scale 0-3      high bits of scale 4-7
# 4-7     minimum 0-3    high bits of minimum 4-7
# 8-11    low nibble: low bits of scale 4-7; high nibble: low bits of minimum 4-7
def _scales_k(b: Array) -> tuple[Array, Array]:
    """Unpack eight scales and eight minima of six bits each from twelve bytes."""
    import numpy as np

    low, middle, high = b[:, :4], b[:, 4:8], b[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 2 & 48)], axis=1)
    minima = np.concatenate([middle & 63, high >> 4 | (middle >> 2 & 48)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


# 0   2    d       float16, the scale of the scales
# 2   2    dmin    float16, the scale of the minima
# 4   12   scales  and minima of 32 numbers each, see _scales_k
# 16  128  qs      4 x 32 bits
def _q4_k(b: Array) -> Array:
    """Decode 4-bit numbers with 6-bit scales and minima."""
    d, (scales, minima) = halves(b[:, :4]), _scales_k(b[:, 4:16])
    return scaled(d[:, :1] * scales, unpack(b[:, 16:], 4, 32), d[:, 1:] * minima)


# 0   2    d       float16, the scale of the scales
# 2   2    dmin    float16, the scale of the minima
# 4   12   scales  and minima of 32 numbers each, see _scales_k
# 16  32   qh      1 x 32 bits, the fifth bit of each number
# 48  128  qs      4 x 32 bits
def _q5_k(b: Array) -> Array:
    """Decode 5-bit numbers with 6-bit scales and minima."""
    d, (scales, minima) = halves(b[:, :4]), _scales_k(b[:, 4:16])
    q = unpack(b[:, 48:], 4, 32) | unpack(b[:, 16:48], 1, 32) << 4
    return scaled(d[:, :1] * scales, q, d[:, 1:] * minima)


# 0   128  ql      4 x 64 bits, the low bits, zero point 32
# 128 64   qh      2 x 32 bits, the high bits
# 192 16   scales  int8, of 16 numbers each
# 208 2    d       float16, the scale of the scales
def _q6_k(b: Array) -> Array:
    """Decode 6-bit numbers with 8-bit scales."""
    import numpy as np

    q = unpack(b[:, :128], 4, 64) | unpack(b[:, 128:192], 2, 32) << 4
    return scaled(halves(b[:, 208:]) * viewed(b[:, 192:208], "i1").astype(np.float32), centred(q, 32))


# 0   48  qs   five numbers of three levels a byte: 32 bytes, then 16
# 48  4   qh   four numbers of three levels a byte
# 52  2   d    float16, the scale
def _tq1_0(b: Array) -> Array:
    """Decode ternary numbers, five to a byte.

    A byte holds its digits as a fraction of 256; a multiplication by a power of 3 brings the next one to the top.
    """
    import numpy as np

    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    runs = ((b[:, :32], 5), (b[:, 32:48], 5), (b[:, 48:52], 4))
    digits = [(run.reshape(len(b), 1, -1) * powers[:count]).reshape(len(b), -1) for run, count in runs]
    q = np.concatenate(digits, axis=1).astype(np.uint16) * 3 >> 8
    return scaled(halves(b[:, 52:]), centred(q, 1))


# 0   64  qs   2 x 32 bits, zero point 1
# 64  2   d    float16, the scale
def _tq2_0(b: Array) -> Array:
    """Decode ternary numbers of two bits each."""
    return scaled(halves(b[:, 64:]), centred(unpack(b[:, :64], 2, 32), 1))


# 0   1   e    the exponent of the scale, 2 ** (e - 127)
# 1   16  qs   4 x 16 bits, each a float (e2m1)
def _mxfp4(b: Array) -> Array:
    """Decode 4-bit floats with a power of two as their scale.

    The scale is halved, since the levels are doubled; the two smallest scales are then subnormal floats.
    """
    import numpy as np

    e = b[:, :1].astype(np.uint32)
    scale = np.where(e < 2, np.uint32(1 << 21) << e, (e - 1) << np.uint32(23)).astype(np.uint32).view(np.float32)
    return scaled(scale, np.array(_FP4, np.float32)[unpack(b[:, 1:], 4, 16)])


# 0   4   d    the scales of 16 numbers each, unsigned floats (e4m3); 127 stands for 0
# 4   32  qs   4 x 8 bits, each a float (e2m1)
def _nvfp4(b: Array) -> Array:
    """Decode 4-bit floats with an 8-bit float as the scale of 16 numbers."""
    import numpy as np

    exponent, mantissa = (b[:, :4] >> 3 & 15).astype(np.int32), (b[:, :4] & 7).astype(np.float32)
    scale = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7)).astype(np.float32)
    scale = np.where(b[:, :4] == 127, np.float32(0), scale * np.float32(0.5))
    return scaled(scale, np.array(_FP4, np.float32)[unpack(b[:, 4:], 4, 8)])


QUANTS: dict[str, tuple[int, int, Callable[[Array], Array]]] = {
    "Q4_0": (32, 18, _q4_0),
    "Q4_1": (32, 20, _q4_1),
    "Q5_0": (32, 22, _q5_0),
    "Q5_1": (32, 24, _q5_1),
    "Q8_0": (32, 34, _q8_0),
    "Q8_1": (32, 40, _q8_1),
    "Q1_0": (128, 18, _q1_0),
    "Q2_K": (256, 84, _q2_k),
    "Q3_K": (256, 110, _q3_k),
    "Q4_K": (256, 144, _q4_k),
    "Q5_K": (256, 176, _q5_k),
    "Q6_K": (256, 210, _q6_k),
    "Q8_K": (256, 292, _q8_k),
    "IQ1_S": (256, 50, iq.iq1_s),
    "IQ1_M": (256, 56, iq.iq1_m),
    "IQ2_XXS": (256, 66, iq.iq2_xxs),
    "IQ2_XS": (256, 74, iq.iq2_xs),
    "IQ2_S": (256, 82, iq.iq2_s),
    "IQ3_XXS": (256, 98, iq.iq3_xxs),
    "IQ3_S": (256, 110, iq.iq3_s),
    "IQ4_NL": (32, 18, iq.iq4_nl),
    "IQ4_XS": (256, 136, iq.iq4_xs),
    "TQ1_0": (256, 54, _tq1_0),
    "TQ2_0": (256, 66, _tq2_0),
    "MXFP4": (32, 17, _mxfp4),
    "NVFP4": (64, 36, _nvfp4),
}
"""Per quantisation: the numbers in a block, the bytes of a block, and its decoder."""
