"""Bytes that stay as they are are copied by the system where it can, and read and written where not: the file is the same."""

import errno
import os

import numpy as np
import pytest

import steelyard
from steelyard import sizes
from steelyard.errors import FormatError

pytestmark = pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="only Linux has copy_file_range")


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "READ_AHEAD_BYTES", 64)
    monkeypatch.setattr(sizes, "COPY_BYTES", 100)
    chance = np.random.default_rng(0)
    numbers = {f"w{nth}": chance.normal(size=size) for nth, size in enumerate((3, 40, 1, 0, 7))}
    steelyard.save(numbers | {"half": np.ones(5, "f2")}, tmp_path / "net.safetensors")
    return steelyard.weights(tmp_path / "net.safetensors")


@pytest.fixture
def copied(monkeypatch):
    """The calls of copy_file_range, as places in the source and numbers of bytes."""
    calls, real = [], os.copy_file_range

    def copying(source, target, count, offset, place):
        calls.append((offset, real(source, target, count, offset, place)))
        return calls[-1][1]

    monkeypatch.setattr(os, "copy_file_range", copying)
    return calls


def written(weights, path):
    from steelyard.io import write

    write(weights, str(path))
    return path.read_bytes()


def test_a_run_of_weights_is_copied_in_pieces(net, copied, tmp_path):
    made = written(net, tmp_path / "made.safetensors")
    assert made == (tmp_path / "net.safetensors").read_bytes()
    assert [count for _, count in copied] == [100, 100, 100, 100, 18]
    copied.clear()
    mixed = net.with_weights(
        [net["w1"], net["w0"], net["half"].replace(read=lambda start, stop: np.ones(stop - start, "f2")), net["w4"]]
    )
    written(mixed, tmp_path / "made.safetensors")
    assert [count for _, count in copied] == [100, 100, 100, 20]
    for name, weight in steelyard.weights(tmp_path / "made.safetensors").items():
        assert np.array_equal(weight.numpy(), net[name].numpy())


@pytest.mark.parametrize("after", [0, 1])
def test_where_the_system_does_not_copy_bytes_are_read_and_written(net, monkeypatch, tmp_path, after):
    calls, real = [], os.copy_file_range

    def copying(*given):
        calls.append(given)
        if len(calls) > after:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(*given)

    monkeypatch.setattr(os, "copy_file_range", copying)
    assert written(net, tmp_path / "made.safetensors") == (tmp_path / "net.safetensors").read_bytes()
    assert len(calls) == after + 1


def test_a_full_disk_leaves_no_file(net, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space"):
        written(net, tmp_path / "made.safetensors")
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors"]


def test_a_file_that_changes_meanwhile_is_refused(net, copied, monkeypatch, tmp_path):
    recording = os.copy_file_range

    def changing(*given):
        os.utime(tmp_path / "net.safetensors", ns=(1, 1))
        return recording(*given)

    monkeypatch.setattr(os, "copy_file_range", changing)
    with pytest.raises(FormatError, match="has changed since it was opened"):
        written(net, tmp_path / "made.safetensors")
    assert len(copied) == 1
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors"]


def test_a_file_that_becomes_shorter_is_refused(net, tmp_path):
    os.truncate(tmp_path / "net.safetensors", 600)
    with pytest.raises(FormatError, match=r"has changed|became shorter"):
        written(net, tmp_path / "made.safetensors")


def test_numbers_that_are_looked_at_are_not_copied(net, copied, tmp_path):
    steelyard.save(net, tmp_path / "made.safetensors")
    assert not copied
