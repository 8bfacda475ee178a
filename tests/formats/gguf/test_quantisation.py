"""Block quantisations, compared with the `gguf` package's own decoders."""

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from steelyard.formats.gguf.quantisation import QUANTS, Blocks
from steelyard.storage.source import from_bytes

WITHOUT_REFERENCE = {"Q8_1", "Q8_K", "Q1_0"}


def random_blocks(name, count, seed=0):
    size, width, _ = QUANTS[name]
    return np.random.default_rng(seed).integers(0, 256, count * width, dtype=np.uint8), size * count


def test_the_sizes_of_all_blocks_are_those_of_the_reference():
    for name, (size, width, _) in QUANTS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] == (size, width)


@pytest.mark.parametrize("name", sorted(set(QUANTS) - WITHOUT_REFERENCE))
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")  # random scales, in the reference
def test_random_blocks_are_decoded_to_the_last_bit_as_the_reference_does(name):
    data, size = random_blocks(name, 400)
    expected = dequantize(data, gguf.GGMLQuantizationType[name]).reshape(-1)
    actual = Blocks(from_bytes(data.tobytes()), 0, name)(0, size)
    assert actual.dtype == np.float32
    finite = np.isfinite(expected)
    assert finite.any()
    np.testing.assert_array_equal(actual[finite].view(np.uint32), expected[finite].astype(np.float32).view(np.uint32))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", sorted(QUANTS))
def test_a_run_from_the_middle_of_a_block_equals_a_slice_of_the_whole(name):
    data, size = random_blocks(name, 4, seed=1)
    read = Blocks(from_bytes(b"xyz" + data.tobytes()), 3, name)
    whole = read(0, size)
    for start, stop in ((0, 1), (1, size), (size // 2 - 1, size // 2 + 2), (size - 1, size), (5, 5)):
        np.testing.assert_array_equal(read(start, stop), whole[start:stop])


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"])
def test_numbers_that_the_reference_quantised_are_close_to_the_originals(name):
    numbers = np.random.default_rng(2).normal(size=512).astype(np.float32)
    if name.startswith("TQ"):
        numbers = np.sign(np.round(numbers))  # three levels
    data = quantize(numbers, gguf.GGMLQuantizationType[name])
    actual = Blocks(from_bytes(data.tobytes()), 0, name)(0, 512)
    assert np.abs(actual - numbers).max() < 0.5


def test_types_without_a_reference_decoder_follow_their_layout():
    numbers = np.arange(-16, 16, dtype=np.int8)
    q8_1 = np.array([0.5, 99], "<f4").tobytes() + numbers.tobytes()
    np.testing.assert_array_equal(Blocks(from_bytes(q8_1), 0, "Q8_1")(0, 32), numbers * np.float32(0.5))
    many = np.arange(256).astype(np.int8)
    q8_k = np.array([0.25], "<f4").tobytes() + many.tobytes() + bytes(32)
    np.testing.assert_array_equal(Blocks(from_bytes(q8_k), 0, "Q8_K")(0, 256), many * np.float32(0.25))
    q1_0 = np.array([2.0], "<f2").tobytes() + b"\x01" + bytes(15)
    np.testing.assert_array_equal(Blocks(from_bytes(q1_0), 0, "Q1_0")(0, 128), [2.0] + [-2.0] * 127)
