"""GGML's IQ quantisations: groups of numbers kept as indices into a codebook, with signs and scales.

The comment above each decoder gives the layout of one block of 256 numbers (IQ4_NL: 32), as in `quantisation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.formats.gguf.iq_codebooks import codebook
from steelyard.formats.gguf.unpacking import centred, halves, scaled, unpack, viewed

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""The levels of the 4-bit kinds."""


# offset, length in bytes, GGML's name of the field
# 0   2   d    float16, the scale
# 2   16  qs   4 x 16 bits, indices of levels
def iq4_nl(b: Array) -> Array:
    """Decode 4.5 bits a number: each is a level of a fixed non-uniform scale."""
    import numpy as np

    return scaled(halves(b[:, :2]), np.array(_IQ4, np.float32)[unpack(b[:, 2:], 4, 16)])


# 0   2    d         float16, the scale of the scales
# 2   2    scales_h  the high two bits of 8 scales, of 32 numbers each, zero point 32
# 4   4    scales_l  the low four bits
# 8   128  qs        4 x 16 bits, indices of levels
def iq4_xs(b: Array) -> Array:
    """Decode 4.25 bits a number: the levels of IQ4_NL, with one scale for 32 numbers."""
    import numpy as np

    scales = unpack(b[:, 4:8], 4, 1) | unpack(b[:, 2:4], 2, 1) << 4
    levels = np.array(_IQ4, np.float32)[unpack(b[:, 8:], 4, 16)]
    return scaled(halves(b[:, :2]) * centred(scales, 32).astype(np.float32), levels)


# 0   2   d    float16, the scale of the scales
# 2   64  qs   8 x 8 bytes, for 32 numbers each:
#              4 indices of one byte, then a word of 32 bits: 4 x 7 signs, 4 bits of the scale
def iq2_xxs(b: Array) -> Array:
    """Decode 2.0625 bits a number: points of 8 numbers from a codebook of 256, with one scale for 32 numbers."""
    import numpy as np

    words = viewed(b[:, 2:], "<u4").reshape(len(b), 8, 2)
    scales = halves(b[:, :2]) * (np.float32(0.5) + (words[..., 1] >> 28).astype(np.float32)) * np.float32(0.25)
    index = b[:, 2:].reshape(len(b), 8, 8)[..., :4].reshape(len(b), -1)
    return _points("IQ2_XXS", index, scales, _word_signs(words[..., 1]))


# 0   2   d       float16, the scale of the scales
# 2   64  qs      32 words of 16 bits: an index of 9 bits, 7 signs
# 66  8   scales  4 bits each, of 16 numbers each
def iq2_xs(b: Array) -> Array:
    """Decode 2.3125 bits a number: points of 8 numbers from a codebook of 512, with one scale for 16 numbers."""
    import numpy as np

    words = viewed(b[:, 2:66], "<u2")
    return _points("IQ2_XS", words & 511, _iq2_scales(b, b[:, 66:]), _even_signs((words >> 9).astype(np.uint8)))


# 0   2   d       float16, the scale of the scales
# 2   32  qs      the low bytes of 32 indices
# 34  32  signs   one bit a number
# 66  8   qh      the high two bits of the indices
# 74  8   scales  4 bits each, of 16 numbers each
def iq2_s(b: Array) -> Array:
    """Decode 2.5625 bits a number: points of 8 numbers from a codebook of 1024, with one scale for 16 numbers."""
    import numpy as np

    index = b[:, 2:34].astype(np.uint16) | unpack(b[:, 66:74], 2, 1).astype(np.uint16) << 8
    return _points("IQ2_S", index, _iq2_scales(b, b[:, 74:]), _signs(b[:, 34:66]))


def _iq2_scales(b: Array, packed: Array) -> Array:
    """Return the scale of each group of 16 numbers: d * (1/2 + s) / 4 for 4 bits s."""
    import numpy as np

    return halves(b[:, :2]) * (np.float32(0.5) + unpack(packed, 4, 1)) * np.float32(0.25)


# 0   2   d     float16, the scale of the scales
# 2   64  qs    64 indices of one byte
# 66  32  aux   8 words of 32 bits, for 32 numbers each: 4 x 7 signs, 4 bits of the scale
def iq3_xxs(b: Array) -> Array:
    """Decode 3.0625 bits a number: points of 4 numbers from a codebook of 256, with one scale for 32 numbers."""
    import numpy as np

    words = viewed(b[:, 66:], "<u4")
    scales = halves(b[:, :2]) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.5)
    return _points("IQ3_XXS", b[:, 2:66], scales, _word_signs(words))


# 0   2   d       float16, the scale of the scales
# 2   64  qs      the low bytes of 64 indices
# 66  8   qh      the high bit of the indices
# 74  32  signs   one bit a number
# 106 4   scales  4 bits each, of 32 numbers each
def iq3_s(b: Array) -> Array:
    """Decode 3.4375 bits a number: points of 4 numbers from a codebook of 512, with one scale for 32 numbers."""
    import numpy as np

    index = b[:, 2:66].astype(np.uint16) | unpack(b[:, 66:74], 1, 1).astype(np.uint16) << 8
    scales = halves(b[:, :2]) * (1 + 2 * unpack(b[:, 106:], 4, 1))
    return _points("IQ3_S", index, scales, _signs(b[:, 74:106]))


# 0   2   d    float16, the scale of the scales
# 2   32  qs   the low bytes of 32 indices
# 34  16  qh   8 words of 16 bits, for 32 numbers each:
#              4 x 3 high bits of the indices, 3 bits of the scale, the sign of the shift
def iq1_s(b: Array) -> Array:
    """Decode 1.5625 bits a number: points of 8 ternary numbers, moved by 1/8, with one scale for 32 numbers."""
    import numpy as np

    words = viewed(b[:, 34:], "<u2")
    high = words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7
    index = b[:, 2:34].astype(np.uint16) | high.reshape(len(b), -1) << 8
    scales = halves(b[:, :2]) * (2 * (words >> 12 & 7) + 1)
    return _shifted(index, scales, np.where(words >> 15, np.float32(-0.125), np.float32(0.125)))


# 0   32  qs      the low bytes of 32 indices
# 32  16  qh      4 bits an index: its high three bits, the sign of its shift
# 48  8   scales  4 words of 16 bits: 4 x 3 bits of scales, of 16 numbers each, and 4 bits of d
#                 (float16, the scale of the scales), the lowest bits first
def iq1_m(b: Array) -> Array:
    """Decode 1.75 bits a number: points of 8 ternary numbers, moved by 1/8, with one scale for 16 numbers."""
    import numpy as np

    words, high = viewed(b[:, 48:], "<u2"), unpack(b[:, 32:48], 4, 1)
    top = words >> np.array([12, 8, 4, 0], np.uint16) & np.array([15, 240, 3840, 61440], np.uint16)
    d = np.bitwise_or.reduce(top, axis=1).astype("<u2").view("<f2").astype(np.float32)[:, None]
    scales = (words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7).reshape(len(b), -1)
    index = b[:, :32].astype(np.uint16) | (high & 7).astype(np.uint16) << 8
    return _shifted(index, d * (2 * scales + 1), np.where(high & 8, np.float32(-0.125), np.float32(0.125)))


def _points(name: str, index: Array, scales: Array, signs: Array) -> Array:
    """Look up the points of a codebook, which are magnitudes, and apply scales and signs."""
    return scaled(scales, codebook(name)[index].reshape(len(index), -1)) * signs


def _shifted(index: Array, scales: Array, shift: Array) -> Array:
    """Decode points to which a shift is added, one for each group that has its own."""
    points = codebook("IQ1")[index].reshape(*shift.shape, -1) + shift[..., None]
    return scaled(scales, points.reshape(len(index), -1))


def _signs(bits: Array) -> Array:
    """Return -1 for each bit that is set, 1 for the others."""
    import numpy as np

    return np.float32(1) - (unpack(bits, 1, 1) << 1).astype(np.float32)


def _word_signs(words: Array) -> Array:
    """Unpack four groups of seven signs from each word."""
    import numpy as np

    seven = (words[..., None] >> np.array([0, 7, 14, 21], np.uint32) & 127).astype(np.uint8)
    return _even_signs(seven.reshape(len(words), -1))


def _even_signs(seven: Array) -> Array:
    """Return eight signs for seven bits: the eighth makes the number of minus signs even."""
    import numpy as np

    parity = seven ^ seven >> 4
    parity = parity ^ parity >> 2
    return _signs(seven | ((parity ^ parity >> 1) & np.uint8(1)) << 7)
