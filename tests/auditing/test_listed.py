"""The audit of a file that was listed: it is about what was opened, and what the listing proved is not looked for again."""

import json
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import steelyard
from steelyard.auditing import archives, plain_values
from steelyard.auditing.quick import would_run
from steelyard.codecs.hdf5 import reading


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


def archive(path, **members):
    """Write an archive of arrays, and of members as they are."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            if isinstance(content, bytes):
                file.writestr(name, content)
                continue
            with file.open(f"{name}.npy", "w") as member:
                np.save(member, content, allow_pickle=True)
    return str(path)


def inner_archive(tmp_path):
    with open(archive(tmp_path / "inner.npz", a=np.ones(3), b=np.array([Harmful()], object)), "rb") as file:
        return file.read()


HARMFUL = {
    "an array of objects": lambda _: np.array([Harmful()], object),
    "a pickle": lambda _: pickle.dumps(Harmful()),
    "a pickle after the numbers": lambda _: b"\x93NUMPY" + bytes(10) + pickle.dumps(Harmful()),
    "an archive whose members have the names of arrays": inner_archive,
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_members_that_are_no_arrays_of_numbers_are_looked_into(tmp_path, kind):
    path = archive(tmp_path / "net.npz", a=np.ones(3), b=np.ones(2), odd=HARMFUL[kind](tmp_path))
    found = would_run(path, steelyard.weights(path))
    assert found == would_run(path)
    assert any("system" in what for what in found) or kind == "a pickle after the numbers"  # NumPy refuses its header


def test_the_directory_and_arrays_of_numbers_are_not_read_again(tmp_path, monkeypatch):
    path = archive(tmp_path / "net.npz", **{f"layers.{nth}.w": np.ones(4) for nth in range(5)})
    listed = steelyard.weights(path)
    for name in ("directory", "member_source"):
        monkeypatch.setattr(archives, name, lambda *_, **__: pytest.fail("read again"))
    assert would_run(path, listed) == would_run(path, listed.select("*.3.*")) == []


def test_a_tree_of_hdf5_is_not_read_again_and_what_it_holds_is_found_as_before(tmp_path, monkeypatch):
    layer = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["a"], file["b"] = np.ones(3), h5py.ExternalLink("other.h5", "c")
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    path = str(tmp_path / "net.h5")
    anew = would_run(path)
    listed = steelyard.weights(path)
    monkeypatch.setattr(reading, "open_hdf5", lambda *_: pytest.fail("read again"))
    assert would_run(path, listed) == anew
    assert any("compiled Python code" in what for what in anew)
    assert any("external link" in what for what in anew)


def described(path, **metadata):
    """Write a safetensors file of one weight with this metadata."""
    save_file({"w": np.ones(3, "f4")}, path, metadata=metadata)
    return str(path)


def test_a_header_of_safetensors_is_not_decoded_again_and_its_texts_are_judged_as_before(tmp_path, monkeypatch):
    path = described(tmp_path / "net.safetensors", note="import os; os.system('ls')", chat="{{ ''.__class__.__mro__ }}")
    anew = steelyard.audit(path)
    assert {finding.rule for finding in anew.findings} == {"metadata-code", "template-internals"}
    listed = steelyard.weights(path)
    monkeypatch.setattr(plain_values, "decoded", lambda *_: pytest.fail("decoded again"))
    assert listed.audit.to_dict() == anew.to_dict()


@pytest.mark.parametrize("name", ["net.npz", "net.h5", "net.rds", "net.safetensors"])
def test_the_audit_of_weights_finds_what_that_of_their_file_finds(tmp_path, name):
    path = str(tmp_path / name)
    steelyard.save({"fc": {"weight": np.ones((3, 2), "f4"), "bias": np.zeros(3, "f4")}}, path)
    if name == "net.npz":
        archive(path, a=np.ones(3), odd=np.array([Harmful()], object))
    found = steelyard.weights(path).audit
    assert [each.to_dict() for each in found.findings] == [each.to_dict() for each in steelyard.audit(path).findings]
    assert bool(found.would_run) == (name == "net.npz")


def test_what_was_found_in_a_file_stands_neither_for_the_archive_around_it_nor_for_one_beside_it(tmp_path):
    inner = archive(tmp_path / "inner.npz", a=np.ones(3))
    with open(inner, "rb") as file, zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.writestr("model.npz", file.read())
        outer.writestr("notes.txt", pickle.dumps(Harmful()))
    path = str(tmp_path / "outer.zip")
    listed = steelyard.weights(path)
    assert would_run(path, listed) == would_run(path) != []
    assert listed.audit.would_run == steelyard.audit(path).would_run != []
    folder = tmp_path / "folder"
    folder.mkdir()
    described(folder / "model.safetensors", note="a net")
    described(folder / "adapter_model.safetensors", note="import os; os.system('ls')")
    with pytest.warns(steelyard.errors.LeftOutWarning):
        listed = steelyard.weights(folder)
    assert [finding.rule for finding in listed.audit.findings] == ["metadata-code"]


def test_the_file_that_was_opened_is_audited_and_not_the_one_that_took_its_place(tmp_path):
    path = archive(tmp_path / "net.npz", a=np.ones(3), odd=np.array([Harmful()], object))
    listed = steelyard.weights(path)
    os.replace(archive(tmp_path / "other.npz", a=np.ones(3)), path)
    assert any("system" in what for what in would_run(path, listed))
    assert would_run(path) == []


def test_headers_of_many_small_members_are_read_in_pages(tmp_path, monkeypatch):
    path = archive(tmp_path / "net.npz", **{f"w{nth}": np.full(3, nth) for nth in range(200)})
    reads = []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or preadv(*given))
    found = steelyard.weights(path)
    assert len(reads) < 50
    assert all(found[f"w{nth}"].numpy().tolist() == [nth] * 3 for nth in range(200))
