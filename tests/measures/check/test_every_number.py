"""A check reads every number of every dtype, each once, and finds a file that ends within them."""

from contextlib import nullcontext

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.errors import SteelyardError

FLOATS = (
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
    *("complex64", "complex128"),
)
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SUFFIXES = (".npz", ".npy", ".pt", ".safetensors", ".h5", ".gguf", ".msgpack", ".rds")


def array_of(dtype, size=1000):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return np.random.default_rng(0).normal(size=size).astype(kind)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_every_number_is_read_once(dtype, small_sizes):
    array, times = array_of(dtype), np.zeros(1000, int)

    def read(start, stop):
        times[start:stop] += 1
        return array[start:stop]

    weight = from_array("w", array).replace(read=read)
    assert steelyard.check(Weights([weight])).ok
    assert set(times) == {1}


def is_refused(path):
    """Whether a file is refused as a whole, and not weight by weight."""
    try:
        steelyard.weights(path)
    except SteelyardError:
        return True
    return False


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_file_that_ends_within_the_numbers_is_found(dtype, suffix, tmp_path):
    path, array = tmp_path / f"a{suffix}", array_of(dtype)
    try:
        steelyard.save(Weights([from_array("w", array)]), path)
    except SteelyardError:
        return  # the format does not hold this type
    assert steelyard.check(path).ok
    data = path.read_bytes()
    begin = data.find(array.tobytes()[:64]) if suffix != ".rds" else 0  # R has numbers of its own, big-endian
    assert begin >= 0
    path.write_bytes(data[: begin + array.nbytes - array.itemsize // 2 - 1])
    with pytest.raises(SteelyardError, match=rf"a\{suffix}") if is_refused(path) else nullcontext():
        assert not steelyard.check(path).ok


def test_all_formats_but_a_few_hold_each_float(tmp_path):
    """The test above leaves out a type that a format does not hold: that is rare."""
    held = 0
    for suffix in SUFFIXES:
        for dtype in FLOATS:
            try:
                steelyard.save(Weights([from_array("w", array_of(dtype, 3))]), tmp_path / f"{dtype}{suffix}")
            except SteelyardError:
                continue
            held += 1
    assert held >= len(SUFFIXES) * len(FLOATS) - 15
