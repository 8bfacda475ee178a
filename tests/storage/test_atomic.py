"""A file is renamed only after its bytes are on the disk, as after a power failure; a stand-in for fsync shows the order."""

import os

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.storage.atomic import replacing


@pytest.fixture
def steps(monkeypatch):
    """The calls of fsync and rename, in order."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        seen.append(("sync", os.fstat(handle).st_ino))
        fsync(handle)

    def replaced(source, target, **words):
        seen.append(("replace", os.stat(source).st_ino))
        replace(source, target, **words)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return seen


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_folder_after_that(tmp_path, steps):
    with replacing(tmp_path / "a.bin") as file:
        file.write(b"numbers")
    inode, folder = (tmp_path / "a.bin").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("sync", inode), ("replace", inode), ("sync", folder)]


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pt", "a.rds"])
def test_every_format_is_saved_in_this_order(tmp_path, steps, name):
    steelyard.save({"w": np.ones(3)}, tmp_path / name)
    inode = (tmp_path / name).stat().st_ino
    assert steps.index(("sync", inode)) < steps.index(("replace", inode))


def test_convert_without_sync_replaces_the_file_without_waiting_for_the_disk(tmp_path, steps):
    steelyard.save({"w": np.ones(3)}, tmp_path / "a.npz")
    steps.clear()
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.safetensors"), "--no-sync"]) == 0
    assert [word for word, _ in steps] == ["replace"]
    assert steelyard.weights(tmp_path / "b.safetensors")["w"].numpy().tolist() == [1, 1, 1]
    steelyard.save({"w": np.ones(3)}, tmp_path / "c.npz")
    assert "sync" in [word for word, _ in steps]
