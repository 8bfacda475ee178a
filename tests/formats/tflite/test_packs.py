"""A pack of several TensorFlow Lite models is one set, each model under the name of its member."""

import io
import tarfile
import zipfile

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError

GOLDEN = carried.folder("golden")
CASES = ("dense", "conv2d")
MODELS = {f"{case}.tflite": (GOLDEN / case / "model.tflite").read_bytes() for case in CASES}


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1.5
            archive.addfile(entry, io.BytesIO(data))
    return path


def expected(prefixes):
    return {
        f"{prefix}/{name}": weight.numpy()
        for prefix, case in prefixes.items()
        for name, weight in steelyard.weights(GOLDEN / case / "model.tflite").items()
    }


def assert_holds(path, prefixes):
    found, wanted = steelyard.weights(path), expected(prefixes)
    assert list(found) == list(wanted)
    assert all(np.array_equal(found[name].numpy(), array) for name, array in wanted.items())
    for weight in found.values():
        assert weight.name.startswith(weight.layer)
        assert weight.role in ("kernel", "bias")
    assert steelyard.check(path).ok


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (zipped, "pack.task"),
        (zipped, "pack.zip"),
        (tarred, "pack.tar"),
        (lambda path, members: tarred(path, members, tarfile.GNU_FORMAT), "pack.tar"),
        (lambda path, members: tarred(path, members, tarfile.USTAR_FORMAT), "pack.tar"),
    ],
    ids=["task", "zip", "pax", "gnu", "ustar"],
)
def test_the_models_of_a_pack_are_one_set_under_the_names_of_their_members(write, name, tmp_path):
    folder = "a" * 90
    path = write(tmp_path / name, {**MODELS, f"{folder}/inner/dense.tflite": MODELS["dense.tflite"]})
    assert_holds(path, {"dense": "dense", "conv2d": "conv2d", f"{folder}/inner/dense": "dense"})
    assert steelyard.weights(path).meta["models"] == [*MODELS, f"{folder}/inner/dense.tflite"]


def test_a_pack_in_a_pack_is_read_under_its_name(tmp_path):
    inner = zipped(tmp_path / "inner.task", MODELS).read_bytes()
    path = zipped(tmp_path / "whole.task", {"hand.task": inner, "face.tflite": MODELS["dense.tflite"]})
    assert_holds(path, {"hand/dense": "dense", "hand/conv2d": "conv2d", "face": "dense"})
    for depth in range(3):
        inner = zipped(tmp_path / f"{depth}.task", {"deeper.task": inner, "x.tflite": b""}).read_bytes()
    with pytest.raises(FormatError, match="more than 3 levels of packs in packs"):
        steelyard.weights(tmp_path / "2.task")


def test_other_members_are_named(tmp_path, capsys):
    path = zipped(tmp_path / "pack.task", {**MODELS, "labels.txt": b"cat", "folder/": b""})
    assert main(["ls", str(path)]) == 0
    assert "the pack also holds labels.txt, which were not read" in capsys.readouterr().out


@pytest.mark.parametrize(("write", "name"), [(zipped, "pack.zip"), (tarred, "pack.tar")])
def test_a_damaged_member_is_named(write, name, tmp_path):
    path = write(tmp_path / name, {**MODELS, "bad.tflite": b"\0" * 64})
    with pytest.raises(FormatError, match=rf"{name}:bad\.tflite: is not a model of TensorFlow Lite"):
        steelyard.weights(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(FormatError, match=name):
        steelyard.weights(path)


def test_a_name_that_two_members_of_a_tar_have_is_refused(tmp_path):
    path = tmp_path / "pack.tar"
    with tarfile.open(path, "w") as archive:
        for data in MODELS.values():
            entry = tarfile.TarInfo("a.tflite")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(FormatError, match=r"has the member a\.tflite twice"):
        steelyard.weights(path)


def test_several_models_in_a_folder_are_not_one_model(tmp_path):
    for name, data in MODELS.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=r"a folder with several models: conv2d\.tflite, dense\.tflite"):
        steelyard.weights(tmp_path)
