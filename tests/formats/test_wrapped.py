"""One model in an archive has the weights that it has as a file, and nothing is unpacked to a disk."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile

import carried
import numpy as np
import pytest
import torch
import zstandard
from safetensors.numpy import save

import steelyard
from steelyard.cli import main
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.tensor([1.0, -2.0])}
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def torch_file():
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


PT = torch_file()
FILES = {
    "net.zip": zipped({"a/model.pt": PT, "a/README.md": b"text"}),
    "stored.zip": zipped({"a/model.pt": PT}, zipfile.ZIP_STORED),
    "net.mar": zipped({"model.pt": PT, "handler.py": b"", "MAR-INF/MANIFEST.json": b"{}"}),
    "net.nemo": tarred({"./model_config.yaml": b"a: 1\n", "./model_weights.ckpt": PT, "./tokenizer.model": b"a"}),
    "net.tar": tarred({"a/" * 60 + "model.pth": PT}),
    "gnu.tar": tarred({"a/" * 60 + "model.pth": PT}, tarfile.GNU_FORMAT),
    "net.tar.gz": gzip.compress(tarred({"model.pth": PT})),
    "net.tgz": gzip.compress(tarred({"model.pth": PT})),
    "net.tar.bz2": bz2.compress(tarred({"model.pth": PT})),
    "net.tar.xz": lzma.compress(tarred({"model.pth": PT})),
    "net.tar.zst": zstandard.compress(tarred({"model.pth": PT})),
    "net.pt.gz": gzip.compress(PT),
    "one.zip": zipped({"weights": PT}),
    "deep.zip": zipped({"net.tar.gz": gzip.compress(tarred({"model.pth": PT}))}),
    "hidden.zip": zipped({"__MACOSX/._model.pt": b"a", "model.pt": PT}),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, weight in expected.items():
        assert (found[name].role, found[name].axes, found[name].dtype) == (weight.role, weight.axes, weight.dtype)
        assert np.array_equal(found[name].numpy(), weight.numpy())


@pytest.mark.parametrize("name", FILES)
def test_the_one_model_of_an_archive_has_its_weights(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    found = check_format(open_path(path))
    assert list(found) == list(STATE)
    assert all(np.array_equal(found[key].numpy(), value.numpy()) for key, value in STATE.items())
    assert found["fc.weight"].role == "kernel"
    assert os.listdir(tmp_path) == [name]


def test_a_model_of_keras_in_an_archive_is_read_by_its_own_format(tmp_path):
    inner = next(carried.folder("golden").rglob("keras.keras"))
    (tmp_path / "x.zip").write_bytes(zipped({"model/plain.keras": inner.read_bytes()}, zipfile.ZIP_STORED))
    found, expected = steelyard.weights(tmp_path / "x.zip"), steelyard.weights(inner)
    assert_same(found, expected)


def test_shards_and_side_files_are_found_in_the_archive(tmp_path):
    arrays = [{"a": np.ones((2, 3), "f4")}, {"b": np.zeros(2, "f4")}]
    index = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))})
    members = {f"m/{shard}": save(array) for shard, array in zip(SHARDS, arrays, strict=True)}
    (tmp_path / "net.zip").write_bytes(zipped({**members, "m/model.safetensors.index.json": index.encode()}))
    assert list(steelyard.weights(tmp_path / "net.zip")) == ["a", "b"]
    folder = carried.folder("tfjs") / "layers"
    members = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "tfjs.tar").write_bytes(tarred(members))
    assert_same(steelyard.weights(tmp_path / "tfjs.tar"), steelyard.weights(folder))
    index = '{"weight_map": {"a": "../../secret.safetensors"}}'
    (tmp_path / "bad.zip").write_bytes(zipped({"m/model.safetensors.index.json": index.encode()}))
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        steelyard.weights(tmp_path / "bad.zip")


def test_several_models_are_named_and_one_can_be_chosen(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = save({"w": np.ones(2, "f4")})
    (tmp_path / "two.zip").write_bytes(zipped({"a/one.pt": PT, "b.safetensors": other}))
    with pytest.raises(FormatError, match=r"several models: a/one\.pt, b\.safetensors; name one, such as two\.zip!/a/one\.pt"):
        steelyard.weights("two.zip")
    assert list(steelyard.weights("two.zip!/b.safetensors")) == ["w"]
    assert main(["ls", "two.zip!a/one.pt"]) == 0
    assert "fc.weight" in capsys.readouterr().out
    assert main(["check", "two.zip!/b.safetensors"]) == 0
    assert main(["convert", "two.zip!/b.safetensors", "out.npz"]) == 0
    assert main(["convert", "two.zip!/b.safetensors", "two.zip"]) == 2
    with pytest.raises(FileMissingError, match=r"has no member c\.pt; it has a/one\.pt, b\.safetensors"):
        steelyard.weights("two.zip!/c.pt")
    (tmp_path / "deep.zip").write_bytes(zipped({"two.zip": (tmp_path / "two.zip").read_bytes()}))
    assert list(steelyard.weights("deep.zip!/two.zip!/b.safetensors")) == ["w"]
    with pytest.raises(FormatError, match="is no archive"):
        steelyard.weights("out.npz!/w.npy!/x")


def test_the_policy_is_the_model_of_stable_baselines3(tmp_path):
    members = {"data": b"{}", "pytorch_variables.pth": PT, "policy.pth": PT, "policy.optimizer.pth": PT}
    (tmp_path / "ppo.zip").write_bytes(zipped({**members, "_stable_baselines3_version": b"1.0"}))
    found = steelyard.weights(tmp_path / "ppo.zip")
    assert list(found) == list(STATE)
    assert found.meta["notes"] == ["the archive also holds policy.optimizer.pth, pytorch_variables.pth, which were not read"]


@pytest.mark.shared
def test_a_published_agent_of_stable_baselines3_is_read():
    path = carried.SHARED / "cases/files/public/CartPole-v1.zip"
    with zipfile.ZipFile(path) as archive:
        expected = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    found = steelyard.weights(path)
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name].numpy(), tensor.numpy()) for name, tensor in expected.items())


def test_a_bomb_and_archives_without_end_are_refused(tmp_path):
    bomb = gzip.compress(tarred({"model.pt": bytes(100 << 20)}), 1)
    (tmp_path / "bomb.tar.gz").write_bytes(bomb)
    with pytest.raises(FormatError, match=r"inflates from .* refused, see steelyard\.limits"):
        steelyard.weights(tmp_path / "bomb.tar.gz")
    data = PT
    for _ in range(6):
        data = zipped(
            {
                "model.zip": data,
            }
        )
    (tmp_path / "deep.zip").write_bytes(data)
    with pytest.raises(FormatError, match="more than 3 levels of archives in archives"):
        steelyard.weights(tmp_path / "deep.zip")


@pytest.mark.parametrize("name", ["net.zip", "net.tar", "net.tar.gz", "net.pt.gz", "net.nemo"])
def test_a_cut_archive_is_refused_in_one_line(name, tmp_path):
    whole = min(len(FILES[name]), 2048)  # the weights end after that
    for part in (0.1, 0.4, 0.7, 0.97):
        (tmp_path / name).write_bytes(FILES[name][: int(part * whole)])
        with pytest.raises(FormatError, match=r"cut|end|damaged|partial"):
            steelyard.weights(tmp_path / name)["fc.weight"].numpy()


def test_an_archive_without_a_weight_file_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"a", "b.txt": b"b"}))
    (tmp_path / "a.tar").write_bytes(tarred({"a.txt": b"a", "b.txt": b"b"}))
    for name, kind in (("a.zip", "zip"), ("a.tar", "tar")):
        with pytest.raises(FormatError, match=f"a {kind} archive in which no weight file is known by its name"):
            steelyard.weights(tmp_path / name)
