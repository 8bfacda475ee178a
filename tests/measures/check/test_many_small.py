"""Many small weights are checked as the rows of a matrix; the findings are those of weights that are checked one by one."""

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.core.weight import Weight
from steelyard.errors import NonFiniteWarning
from steelyard.measures.check import check
from steelyard.measures.check.health import health, surely_healthy
from steelyard.numerics.nonfinite import surely_finite
from steelyard.numerics.small import read_rows
from steelyard.storage.source import from_bytes

DTYPES = ("f2", "f4", "f8", ml_dtypes.bfloat16, "i1", "i4", ">f4", "c8")
SHAPES = ((4, 2), (6, 4), (8, 8), (3, 2, 3, 3), (16,), (1, 1), (0, 4), (40, 40))


def _odd(values, kind, chance):
    """Make one kind of defect."""
    if not values.size:
        return values
    match kind:
        case 1:
            values.flat[chance.integers(values.size)] = np.nan if values.dtype.kind not in "iu" else 0
        case 2:
            values.flat[-1] = -np.inf if values.dtype.kind not in "iu" else 127
        case 3:
            values[...] = values.flat[0]
        case 4:
            values[0] = 0
        case 5:
            values[-1] = values[0]
        case 6:
            values[..., 0] = -0.0
        case 7:
            values *= 0
        case 8 if values.dtype.kind not in "iu":
            values *= values.dtype.type(1e4)
        case 9:
            values[...] = -values
    return values


def _net():
    chance = np.random.default_rng(0)
    leaves = ("weight", "bias", "running_var", "kernel", "embedding")
    net = {}
    for nth in range(1200):
        dtype, shape = DTYPES[nth % len(DTYPES)], SHAPES[nth // 8 % len(SHAPES)]
        values = (chance.normal(size=shape) * 3).astype(dtype)
        with np.errstate(all="ignore"):
            net[f"layers.{nth}.{leaves[nth // 64 % 5]}"] = _odd(values, chance.integers(24), chance)
    return net


@pytest.mark.parametrize("way", ["arrays", "file"])
def test_findings_are_those_of_weights_that_are_checked_one_by_one(way, tmp_path, monkeypatch):
    source = _net()
    if way == "file":
        with pytest.warns(NonFiniteWarning):
            steelyard.save(
                {name: value for name, value in source.items() if value.dtype.kind != "c"}, tmp_path / "net.safetensors"
            )
        source = tmp_path / "net.safetensors"
    monkeypatch.setattr(sizes, "SMALL_RUN", 1 << 40)
    alone = check(source, health=True).to_dict()
    monkeypatch.setattr(sizes, "SMALL_RUN", 2)
    assert check(source, health=True).to_dict() == alone
    assert len({finding["kind"] for finding in alone["findings"]}) >= 6


def test_most_sound_weights_need_no_look_of_their_own(tmp_path):
    chance = np.random.default_rng(1)
    arrays = {f"layers.{nth}.attn.q.weight": chance.normal(size=(8, 4)).astype("f4") for nth in range(100)}
    steelyard.save(arrays, tmp_path / "net.safetensors")
    listed = list(steelyard.weights(tmp_path / "net.safetensors").values())
    assert surely_finite(listed) == surely_healthy(listed) == set(arrays)
    assert not list(health(steelyard.weights(tmp_path / "net.safetensors")))


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_rows_of_a_file_are_read_at_once(byteorder):
    values = np.arange(60, dtype=f"{byteorder}f4").reshape(20, 3)
    source, reads = from_bytes(values.tobytes()), []
    fill = source.fill
    source.fill = lambda offset, buffer: (reads.append(offset), fill(offset, buffer))
    order = np.random.default_rng(2).permutation(20)
    listed = [
        Weight(name=f"w{at}", shape=(3,), dtype="float32", read=source.numbers(int(at) * 12, "float32", byteorder))
        for at in order
    ]
    rows, failed = read_rows(listed)
    assert not failed
    assert len(reads) == 1
    np.testing.assert_array_equal(rows, values[order].astype("f4"))


def test_a_weight_that_cannot_be_read_does_not_spoil_the_others():
    source = from_bytes(np.arange(6, dtype="f4").tobytes())
    listed = [Weight(name=f"w{at}", shape=(3,), dtype="float32", read=source.numbers(at * 12, "float32")) for at in range(3)]
    rows, failed = read_rows([*listed, from_array("v", np.ones(3, "f4"))])
    assert failed == {2}
    np.testing.assert_array_equal(rows[[0, 1, 3]], [[0, 1, 2], [3, 4, 5], [1, 1, 1]])
