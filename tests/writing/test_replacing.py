"""Replacing a file: the old file or the whole new one, its mode, links, and errors in one line."""

import gc
import os
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from writing.samples import ENV, content, leftovers, suffixes, target, weights

import steelyard
from steelyard.cli import main
from steelyard.errors import FileMissingError
from steelyard.storage import source
from steelyard.storage.atomic import replacing


def test_a_temporary_file_that_is_being_written_is_left_alone(tmp_path):
    with replacing(tmp_path / "a.bin") as file:
        (held,) = leftovers(tmp_path)
        file.write(b"first")
        with replacing(tmp_path / "a.bin") as other:
            other.write(b"second")
        assert leftovers(tmp_path) == [held]
    assert (tmp_path / "a.bin").read_bytes() == b"first"  # the last that is complete wins
    assert not leftovers(tmp_path)


def test_only_abandoned_files_of_the_same_target_are_removed(tmp_path):
    names = [".a.bin.0123456789abcdef.tmp", ".b.bin.0123456789abcdef.tmp", ".a.bin.notes.tmp", "a.bin.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with replacing(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a.bin"])


FORBIDDEN = """
import os, sys, tempfile, numpy as np, steelyard
made = steelyard.weights({"w": np.zeros(3)})
with tempfile.TemporaryDirectory() as folder:
    steelyard.save(made, f"{folder}/a.safetensors")  # all that is needed is imported now
if os.geteuid() == 0:
    os.setuid(65534)  # nothing is read-only for root
try:
    steelyard.save(made, sys.argv[1])
except PermissionError as error:
    print("refused")
"""


def test_a_read_only_folder_is_one_error_and_changes_nothing():
    with tempfile.TemporaryDirectory() as folder:  # not in tmp_path, which others may not enter
        os.chmod(folder, 0o555)
        command = [sys.executable, "-c", FORBIDDEN, f"{folder}/a.safetensors"]
        run = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
        assert run.stdout == "refused\n"
        assert not os.listdir(folder)
        os.chmod(folder, 0o755)


def test_a_folder_that_takes_no_files_is_one_line(tmp_path):
    steelyard.save(weights(1.0), tmp_path / "a.npz")
    code = f"from steelyard.cli import main; raise SystemExit(main(['convert', {str(tmp_path / 'a.npz')!r}, '/proc/self/a.npz']))"
    run = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_an_old_file_is_kept_and_a_new_one_follows_the_umask(tmp_path, mode):
    path = tmp_path / "a.npz"
    old = os.umask(0o027)
    try:
        steelyard.save(weights(0.0), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(mode)
        steelyard.save(weights(1.0), path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_is_written_through_and_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    steelyard.save(weights(0.0), tmp_path / "real" / "a.npz")
    (tmp_path / "link.npz").symlink_to("real/a.npz")
    steelyard.save(weights(1.0), tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert content(tmp_path / "real" / "a.npz") == 1.0


@pytest.mark.parametrize("suffix", suffixes())
def test_saving_over_the_file_that_is_read_keeps_every_number(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(source, "_HELD", set())  # models that other tests keep do not count: few files are open
    path = target(tmp_path, suffix)
    steelyard.save(weights(5.0), path)
    lazy = steelyard.weights(path)
    steelyard.save(lazy, path)
    assert content(path) == 5.0
    assert np.unique(lazy.to_vector()).tolist() == [5.0]  # what was opened before still reads the old content


@pytest.mark.parametrize("suffix", suffixes())
def test_a_file_is_closed_as_soon_as_nothing_can_read_from_it(tmp_path, suffix):
    path = target(tmp_path, suffix)
    steelyard.save(weights(5.0, 64), path)
    gc.collect()
    held = set(source._HELD)
    gc.disable()  # a reference cycle would keep it open until the next collection
    try:
        lazy = steelyard.weights(path)
        assert lazy.to_vector().size == 71
        assert lazy.audit is not None
        assert len(source._HELD) > len(held)  # of a set, the index and the shards
        del lazy
        assert set(source._HELD) == held
    finally:
        gc.enable()


def test_a_folder_that_is_not_there_is_named_and_no_temporary_file(tmp_path, capsys):
    steelyard.save({"w": np.zeros(2)}, tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "none" / "b.npz")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such folder to write into; make it first\n"


def test_a_folder_in_the_place_of_a_file_is_named_and_no_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError) as error, replacing(tmp_path / "taken") as file:
        file.write(b"new")
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "taken"), None)
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path, capsys):
    steelyard.save(weights(0.0, 64), tmp_path / "a.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "link.npz").symlink_to("pipe.npz")
    for name in ("pipe.npz", "link.npz"):
        assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / name)]) == 2
        assert "is a device, a pipe or a socket, which no file replaces" in capsys.readouterr().err
    assert stat.S_ISFIFO((tmp_path / "pipe.npz").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "link.npz", "pipe.npz"]


def test_every_format_names_a_folder_that_is_not_there(tmp_path):
    net = {"fc.weight": np.ones((4, 3), "f4"), "fc.bias": np.zeros(4, "f4")}
    names = [
        f"x{suffix}" for suffix in (".npz", ".safetensors", ".pt", ".dcp", ".orbax", ".h5", ".gguf", ".msgpack", ".rds", ".raw")
    ]
    for name in [*names, "model.json", "weights_manifest.json"]:
        with pytest.raises(FileMissingError, match=r"none: no such folder to write into; make it first$"):
            steelyard.save(net, tmp_path / "none" / name)
    with pytest.raises(FileMissingError, match=r"none: no such folder to write into; make it first$"):
        steelyard.save(net, tmp_path / "none" / "x.safetensors", shard_size=20)
    assert not os.listdir(tmp_path)
