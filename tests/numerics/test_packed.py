"""Fields of bits and numbers of float8, compared with NumPy's own bits and casts; float32 rounded to float16 as NumPy does."""

import ml_dtypes
import numpy as np
import pytest

from steelyard.core.rounding import rounded
from steelyard.numerics.packed import as_float32, fields, high_first, less_zeros


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", [(3, 1), (2, 7), (2, 3, 5), (4, 0), (0, 3), (1, 96)])
def test_fields_of_any_width_are_one_stream_of_each_row(bits, shape):
    words = np.random.default_rng(bits).integers(0, 2**32, shape, dtype=np.uint32)
    stream = np.unpackbits(words.astype("<u4").view(np.uint8), axis=-1, bitorder="little")
    count = stream.shape[-1] // bits
    known = stream[..., : count * bits].reshape(*shape[:-1], count, bits) @ (1 << np.arange(bits))
    assert np.array_equal(fields(words, bits), known)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_highest_bits_first(bits):
    stored = np.random.default_rng(bits).integers(0, 256, (5, 6), dtype=np.uint8)
    known = np.unpackbits(stored, axis=-1).reshape(5, -1, bits) @ (1 << np.arange(bits)[::-1])
    assert np.array_equal(high_first(stored, bits), known)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
@pytest.mark.parametrize("largest", [123, 127])
def test_every_number_of_float8_with_and_without_nan(dtype, largest):
    every = np.tile(np.arange(256, dtype=np.uint8), 8)
    codes = every[every & 127 <= largest].view(getattr(ml_dtypes, dtype))
    assert np.array_equal(as_float32(codes).view(np.uint32), codes.astype(np.float32).view(np.uint32))


def test_codes_less_zeros_times_scales_by_groups():
    codes, zeros = np.array([[3, 0, 15]], np.int8), np.array([[1, 16]], np.int8)
    assert less_zeros(codes, zeros, np.array([[2.0, 0.5]], np.float32), 2).tolist() == [[4.0, -2.0, -0.5]]


def test_float16_is_rounded_as_numpy_does_in_every_range():
    halves = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = ((halves[1:] + halves[:-1]) / 2).astype(np.float32)  # as near to the lower as to the upper one
    near = [np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf)]
    large = np.array([65504, 65519.99, 65520, 1e30, np.inf, 1e-45, 0], np.float32)
    values = np.concatenate([middles, *near, large, halves.astype(np.float32)])
    with np.errstate(all="ignore"):
        for each in (values, -values, np.append(values, np.float32(np.nan))):
            assert np.array_equal(rounded(each, np.dtype("f2")).view("u2"), each.astype("f2").view("u2"))
