"""What can be saved can be read back bit for bit, or is refused before anything is written: each format, type and kind of shape."""

import ml_dtypes
import numpy as np
import pytest
from writing.samples import suffixes, target

import steelyard
from steelyard.errors import FormatError, SteelyardError

SHAPES = [(0,), (0, 4), (4, 0), (2, 0, 3), (), (1,), (2, 3)]
OWN = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">f4"]
OWN += ["float16", "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble"]
OTHERS = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float6_e2m3fn", "float4_e2m1fn", "int4", "uint4", "int2"]
TYPES = [*map(np.dtype, OWN), *(np.dtype(getattr(ml_dtypes, name)) for name in OTHERS)]
EVERYWHERE = {"float16", "float32", "float64", "int8", "int16", "int32", "int64"}
"""Types that every format holds."""
NOT_HELD = {"model.json": {"float64", "int8", "int16", "int64"}}
"""But for these, which TensorFlow.js does not know."""


@pytest.mark.parametrize("suffix", sorted({*suffixes(), ".npy"}))
def test_what_can_be_saved_can_be_read_back(tmp_path, suffix):
    path = target(tmp_path, suffix)
    for dtype in TYPES:
        saved = {shape for shape in SHAPES if comes_back(np.ones(shape, dtype), path)}
        assert saved in (set(), set(SHAPES)), f"{dtype} is held in the shapes {saved} alone"
        assert bool(saved) != (dtype.name in NOT_HELD.get(suffix, ())) or dtype.name not in EVERYWHERE, dtype


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".msgpack", ".raw", ".safetensors", ".pt", ".gguf", ".orbax"])
def test_a_long_double_is_refused_by_name_since_other_machines_read_it_otherwise(tmp_path, suffix):
    path = target(tmp_path, suffix)
    with pytest.raises(FormatError, match=r"w is (float128|a long double).*(convert|cast)"):
        steelyard.save({"w": np.ones(3, np.longdouble)}, path)
    assert not path.exists()


def comes_back(array, path):
    """Save an array; return False if it is refused. What is saved must be read back."""
    before = sorted(path.parent.iterdir())
    try:
        (kept,) = steelyard.weights({"w": array}).values()
        steelyard.save({"w": array}, path)
    except SteelyardError:
        assert sorted(path.parent.iterdir()) == before
        return False
    (found,) = steelyard.weights(path).values()
    assert (found.dtype, found.shape) == (kept.dtype, kept.shape)
    assert found.numpy().tobytes() == kept.numpy().tobytes()
    return True
