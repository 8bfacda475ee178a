"""GGML's block quantisations: a run of numbers kept as whole numbers of a few bits, with a scale for each block.

Each decoder takes blocks as rows of bytes, and gives rows of float32. Sums and products are taken in the order in
which GGML's own Python code takes them, so that results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.formats.gguf.iq_codebooks import lattice

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""The values of 4-bit floats (e2m1), doubled."""


def quantised(source: Source, offset: int, name: str) -> Reader:
    """Return a reader of numbers that lie from `offset` on in blocks of the quantisation `name`.

    A run is widened to whole blocks, decoded, and cut.
    """
    size, width, decode = QUANTS[name]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        if stop <= start:
            return np.zeros(0, np.float32)
        first, last = start // size, -(-stop // size)
        data = source.read(offset + first * width, (last - first) * width)
        with np.errstate(all="ignore"):  # the scales of a damaged block may be infinite
            decoded = decode(np.frombuffer(data, np.uint8).reshape(-1, width))
        return decoded.reshape(-1)[start - first * size : stop - first * size]

    return read


def _planes(data: Array, bits: int, run: int) -> Array:
    """Spread bytes into numbers of `bits` bits: the lowest of `run` bytes, then the next of the same bytes, and so on."""
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    return ((data.reshape(len(data), -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)).reshape(len(data), -1)


def _halves(data: Array) -> Array:
    """Read float16 as float32."""
    import numpy as np

    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def _words(data: Array, dtype: str) -> Array:
    import numpy as np

    return np.ascontiguousarray(data).view(dtype)


def _scaled(scales: Array, numbers: Array, offsets: Array | None = None) -> Array:
    """Multiply each part of a block by its scale, and take its offset away."""
    import numpy as np

    parts = numbers.astype(np.float32).reshape(*scales.shape, -1) * scales[..., None]
    if offsets is not None:
        parts = parts - offsets[..., None]
    return parts.reshape(len(numbers), -1)


def _signed(values: Array, zero: int) -> Array:
    import numpy as np

    return values.astype(np.int16) - np.int16(zero)


def _q4_0(b: Array) -> Array:
    return _scaled(_halves(b[:, :2]), _signed(_planes(b[:, 2:], 4, 16), 8))


def _q4_1(b: Array) -> Array:
    d = _halves(b[:, :4])
    return _scaled(d[:, :1], _planes(b[:, 4:], 4, 16)) + d[:, 1:]


def _q5_0(b: Array) -> Array:
    q = _planes(b[:, 6:], 4, 16) | _planes(b[:, 2:6], 1, 1) << 4
    return _scaled(_halves(b[:, :2]), _signed(q, 16))


def _q5_1(b: Array) -> Array:
    d = _halves(b[:, :4])
    return _scaled(d[:, :1], _planes(b[:, 8:], 4, 16) | _planes(b[:, 4:8], 1, 1) << 4) + d[:, 1:]


def _q8_0(b: Array) -> Array:
    return _scaled(_halves(b[:, :2]), _words(b[:, 2:], "i1"))


def _q8_1(b: Array) -> Array:
    """The second word is the sum of the block, which only products need."""
    return _scaled(_words(b[:, :4], "<f4"), _words(b[:, 8:], "i1"))


def _q8_k(b: Array) -> Array:
    return _scaled(_words(b[:, :4], "<f4"), _words(b[:, 4:260], "i1"))


def _q1_0(b: Array) -> Array:
    return _scaled(_halves(b[:, :2]), _signed(_planes(b[:, 2:], 1, 1) << 1, 1))


def _q2_k(b: Array) -> Array:
    import numpy as np

    d, scales = _halves(b[:, 80:]), b[:, :16]
    return _scaled(
        d[:, :1] * (scales & 15).astype(np.float32), _planes(b[:, 16:80], 2, 32), d[:, 1:] * (scales >> 4).astype(np.float32)
    )


def _q3_k(b: Array) -> Array:
    """The third bit of each number stands apart, and is set where nothing is to be taken away."""
    import numpy as np

    scales = _planes(b[:, 96:104], 4, 8) | _planes(b[:, 104:108], 2, 4) << 4
    q = _signed(_planes(b[:, 32:96], 2, 32), 0) - ((1 - _signed(_planes(b[:, :32], 1, 32), 0)) << 2)
    return _scaled(_halves(b[:, 108:]) * _signed(scales, 32).astype(np.float32), q)


def _scales_k(b: Array) -> tuple[Array, Array]:
    """Unpack eight scales and eight offsets of six bits each from twelve bytes."""
    import numpy as np

    low, middle, high = b[:, :4], b[:, 4:8], b[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | (low >> 2 & 48)], axis=1)
    offsets = np.concatenate([middle & 63, high >> 4 | (middle >> 2 & 48)], axis=1)
    return scales.astype(np.float32), offsets.astype(np.float32)


def _q4_k(b: Array) -> Array:
    d, (scales, offsets) = _halves(b[:, :4]), _scales_k(b[:, 4:16])
    return _scaled(d[:, :1] * scales, _planes(b[:, 16:], 4, 32), d[:, 1:] * offsets)


def _q5_k(b: Array) -> Array:
    d, (scales, offsets) = _halves(b[:, :4]), _scales_k(b[:, 4:16])
    q = _planes(b[:, 48:], 4, 32) | _planes(b[:, 16:48], 1, 32) << 4
    return _scaled(d[:, :1] * scales, q, d[:, 1:] * offsets)


def _q6_k(b: Array) -> Array:
    import numpy as np

    q = _planes(b[:, :128], 4, 64) | _planes(b[:, 128:192], 2, 32) << 4
    return _scaled(_halves(b[:, 208:]) * _words(b[:, 192:208], "i1").astype(np.float32), _signed(q, 32))


def _tq1_0(b: Array) -> Array:
    """Five numbers of three levels a byte, as a fraction of 256; multiplying brings the next digit to the top."""
    import numpy as np

    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    parts = [
        (part.reshape(len(b), 1, -1) * powers[:count]).reshape(len(b), -1)
        for part, count in ((b[:, :32], 5), (b[:, 32:48], 5), (b[:, 48:52], 4))
    ]
    q = np.concatenate(parts, axis=1).astype(np.uint16) * 3 >> 8
    return _scaled(_halves(b[:, 52:]), _signed(q, 1))


def _tq2_0(b: Array) -> Array:
    return _scaled(_halves(b[:, 64:]), _signed(_planes(b[:, :64], 2, 32), 1))


def _looked_up(levels: tuple[int, ...], q: Array) -> Array:
    import numpy as np

    return np.array(levels, np.float32)[q]


def _iq4_nl(b: Array) -> Array:
    return _scaled(_halves(b[:, :2]), _looked_up(_IQ4, _planes(b[:, 2:], 4, 16)))


def _iq4_xs(b: Array) -> Array:
    import numpy as np

    scales = _planes(b[:, 4:8], 4, 1) | _planes(b[:, 2:4], 2, 1) << 4
    return _scaled(_halves(b[:, :2]) * _signed(scales, 32).astype(np.float32), _looked_up(_IQ4, _planes(b[:, 8:], 4, 16)))


def _mxfp4(b: Array) -> Array:
    """The scale is a power of two, halved since the levels are doubled; the lowest two are subnormal."""
    import numpy as np

    e = b[:, :1].astype(np.uint32)
    scale = np.where(e < 2, np.uint32(1 << 21) << e, (e - 1) << np.uint32(23)).astype(np.uint32).view(np.float32)
    return _scaled(scale, _looked_up(_FP4, _planes(b[:, 1:], 4, 16)))


def _nvfp4(b: Array) -> Array:
    """Four scales a block, each a float of eight bits without a sign (e4m3); 127 is none."""
    import numpy as np

    exponent, mantissa = (b[:, :4] >> 3 & 15).astype(np.int32), (b[:, :4] & 7).astype(np.float32)
    scale = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7)).astype(np.float32)
    scale = np.where(b[:, :4] == 127, np.float32(0), scale * np.float32(0.5))
    return _scaled(scale, _looked_up(_FP4, _planes(b[:, 4:], 4, 8)))


def _signs(bits: Array) -> Array:
    """Give -1 for each bit that is set, 1 for the others."""
    import numpy as np

    return np.float32(1) - (_planes(bits, 1, 1) << 1).astype(np.float32)


def _sevenths(words: Array) -> Array:
    """Unpack four groups of seven signs from each word; the eighth makes their number even."""
    import numpy as np

    seven = (words[..., None] >> np.array([0, 7, 14, 21], np.uint32) & 127).astype(np.uint8)
    return _evened(seven.reshape(len(words), -1))


def _evened(seven: Array) -> Array:
    import numpy as np

    parity = seven ^ seven >> 4
    parity = parity ^ parity >> 2
    return _signs(seven | ((parity ^ parity >> 1) & np.uint8(1)) << 7)


def _points(name: str, index: Array, scales: Array, signs: Array) -> Array:
    return _scaled(scales, lattice(name)[index].reshape(len(index), -1)) * signs


def _iq2_xxs(b: Array) -> Array:
    import numpy as np

    words = _words(b[:, 2:], "<u4").reshape(len(b), 8, 2)
    scales = _halves(b[:, :2]) * (np.float32(0.5) + (words[..., 1] >> 28).astype(np.float32)) * np.float32(0.25)
    index = b[:, 2:].reshape(len(b), 8, 8)[..., :4].reshape(len(b), -1)
    return _points("IQ2_XXS", index, scales, _sevenths(words[..., 1]))


def _iq2_scales(b: Array, packed: Array) -> Array:
    import numpy as np

    return _halves(b[:, :2]) * (np.float32(0.5) + _planes(packed, 4, 1)) * np.float32(0.25)


def _iq2_xs(b: Array) -> Array:
    import numpy as np

    words = _words(b[:, 2:66], "<u2")
    return _points("IQ2_XS", words & 511, _iq2_scales(b, b[:, 66:]), _evened((words >> 9).astype(np.uint8)))


def _iq2_s(b: Array) -> Array:
    import numpy as np

    index = b[:, 2:34].astype(np.uint16) | _planes(b[:, 66:74], 2, 1).astype(np.uint16) << 8
    return _points("IQ2_S", index, _iq2_scales(b, b[:, 74:]), _signs(b[:, 34:66]))


def _iq3_xxs(b: Array) -> Array:
    import numpy as np

    words = _words(b[:, 66:], "<u4")
    scales = _halves(b[:, :2]) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.5)
    return _points("IQ3_XXS", b[:, 2:66], scales, _sevenths(words))


def _iq3_s(b: Array) -> Array:
    import numpy as np

    index = b[:, 2:66].astype(np.uint16) | _planes(b[:, 66:74], 1, 1).astype(np.uint16) << 8
    scales = _halves(b[:, :2]) * (1 + 2 * _planes(b[:, 106:], 4, 1))
    return _points("IQ3_S", index, scales, _signs(b[:, 74:106]))


def _iq1_s(b: Array) -> Array:
    import numpy as np

    words = _words(b[:, 34:], "<u2")
    high = words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7
    index = b[:, 2:34].astype(np.uint16) | high.reshape(len(b), -1) << 8
    scales = _halves(b[:, :2]) * (2 * (words >> 12 & 7) + 1)
    return _shifted(index, scales, np.where(words >> 15, np.float32(-0.125), np.float32(0.125)))


def _iq1_m(b: Array) -> Array:
    """The scale of the block is spread over the top four bits of four words."""
    import numpy as np

    words, high = _words(b[:, 48:], "<u2"), _planes(b[:, 32:48], 4, 1)
    top = words >> np.array([12, 8, 4, 0], np.uint16) & np.array([15, 240, 3840, 61440], np.uint16)
    d = np.bitwise_or.reduce(top, axis=1).astype("<u2").view("<f2").astype(np.float32)[:, None]
    parts = (words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7).reshape(len(b), -1)
    index = b[:, :32].astype(np.uint16) | (high & 7).astype(np.uint16) << 8
    return _shifted(index, d * (2 * parts + 1), np.where(high & 8, np.float32(-0.125), np.float32(0.125)))


def _shifted(index: Array, scales: Array, shift: Array) -> Array:
    """Decode points that are all moved by a shift, one for each group that has its own."""
    points = lattice("IQ1")[index].reshape(*shift.shape, -1) + shift[..., None]
    return _scaled(scales, points.reshape(len(index), -1))


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
    "IQ1_S": (256, 50, _iq1_s),
    "IQ1_M": (256, 56, _iq1_m),
    "IQ2_XXS": (256, 66, _iq2_xxs),
    "IQ2_XS": (256, 74, _iq2_xs),
    "IQ2_S": (256, 82, _iq2_s),
    "IQ3_XXS": (256, 98, _iq3_xxs),
    "IQ3_S": (256, 110, _iq3_s),
    "IQ4_NL": (32, 18, _iq4_nl),
    "IQ4_XS": (256, 136, _iq4_xs),
    "TQ1_0": (256, 54, _tq1_0),
    "TQ2_0": (256, 66, _tq2_0),
    "MXFP4": (32, 17, _mxfp4),
    "NVFP4": (64, 36, _nvfp4),
}
"""The numbers and the bytes of a block, and its decoder."""
