"""raw: the numbers alone, and a manifest that is believed only where it fits them."""

import hashlib
import json
import os

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, UnsafeFileError

NUMBERS = np.arange(5.0)
MANIFEST = {
    "format": "steelyard raw",
    "version": 1,
    "data": "w.raw",
    "byte order": "little",
    "bytes": 40,
    "sha256": hashlib.sha256(NUMBERS.tobytes()).hexdigest(),
    "weights": [
        {"name": "a", "dtype": "float64", "shape": [3], "offset": 0},
        {"name": "b", "dtype": "float64", "shape": [2, 1], "offset": 24},
    ],
}


def pair(folder, **changes):
    """Write numbers and their manifest, with changes, and return the path of the numbers."""
    NUMBERS.tofile(folder / "w.raw")
    (folder / "w.raw.json").write_text(json.dumps({**MANIFEST, **changes}))
    return folder / "w.raw"


def test_the_file_has_the_numbers_in_order_and_the_manifest_describes_them(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).bfloat16())
    steelyard.save(net, tmp_path / "w.raw")
    assert sorted(os.listdir(tmp_path)) == ["w.raw", "w.raw.json"]
    data = (tmp_path / "w.raw").read_bytes()
    assert np.array_equal(np.frombuffer(data[:24], "<f4").reshape(2, 3), net[0].weight.detach().numpy())
    assert data[40:] == net[1].bias.detach().view(torch.int16).numpy().tobytes()
    manifest = json.loads((tmp_path / "w.raw.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest["weights"][2] == {"name": "1.weight", "dtype": "bfloat16", "shape": [2, 2], "offset": 32}
    assert (manifest["byte order"], manifest["bytes"]) == ("little", len(data))


@pytest.mark.parametrize("suffix", ["w.raw", "w.raw.json"])
def test_what_is_read_back_is_what_was_written(suffix, tmp_path):
    arrays = {f"t/{np.dtype(each).name}": np.ones((2, 3), each) for each in ("f2", "f4", "f8", "i1", "u8", "?", "c8", "c16")}
    arrays |= {f"m.{each.__name__}": np.ones(3, each) for each in (ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.int4)}
    arrays |= {"empty": np.ones((0, 3)), "scalar": np.float32(3), "last": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    arrays["twin"] = arrays["last"]
    w = steelyard.weights(arrays)
    steelyard.save(w, tmp_path / suffix)
    read = steelyard.weights(tmp_path / suffix)
    assert steelyard.diff(w, read).same
    assert [(x.role, x.axes, x.tied) for x in read.values()] == [(x.role, x.axes, x.tied) for x in w.values()]
    assert steelyard.check(tmp_path / suffix).ok


def test_bin_stays_a_file_of_pytorch(tmp_path):
    steelyard.save({"a": np.ones(3)}, tmp_path / "w.bin")
    assert torch.load(tmp_path / "w.bin", weights_only=True)["a"].tolist() == [1, 1, 1]


def test_numbers_of_other_programs_are_read_in_either_byte_order(tmp_path):
    assert steelyard.weights(pair(tmp_path)).to_vector().tolist() == NUMBERS.tolist()
    path = pair(tmp_path, **{"byte order": "big"})
    NUMBERS.astype(">f8").tofile(path)
    assert steelyard.weights(path)["b"].numpy().tolist() == [[3.0], [4.0]]


A, B = MANIFEST["weights"]
REFUSED = {
    "another version": ({"version": 2}, "not one of steelyard raw, version 1"),
    "a byte order": ({"byte order": "x"}, "neither little nor big"),
    "a size": ({"bytes": 39}, "w.raw has 40 bytes, but the manifest is for 39"),
    "a size in words": ({"bytes": "40"}, "but the manifest is for 40"),
    "no weights": ({"weights": []}, "the weights end at byte 0 of 40"),
    "no list": ({"weights": {}}, "no list of weights"),
    "no weight": ({"weights": [3]}, "lacks a name, a dtype, a shape or an offset"),
    "a gap": ({"weights": [B]}, "b begins at byte 24, but what is before it ends at 0"),
    "an overlap": ({"weights": [A, {**B, "offset": 16}]}, "b begins at byte 16"),
    "a negative offset": ({"weights": [{**A, "offset": -8}, B]}, "a begins at byte -8"),
    "two of one name": ({"weights": [A, {**B, "name": "a"}]}, "duplicate name a"),
    "too many numbers": ({"weights": [A, {**B, "shape": [3]}]}, "the weights end at byte 48 of 40"),
    "a negative shape": ({"weights": [{**A, "shape": [-3]}, B]}, "impossible shape"),
    "an endless shape": ({"weights": [{**A, "shape": [1 << 62]}, B]}, "impossible shape"),
    "a shape of truths": ({"weights": [{**A, "shape": [True, 3]}, B]}, "impossible shape"),
    "objects": ({"weights": [{**A, "dtype": "object"}, B]}, "which cannot be read"),
    "an unknown type": ({"weights": [{**A, "dtype": "float7"}, B]}, "which cannot be read"),
    "a missing file": ({"data": "v.raw"}, "the file of numbers, v.raw, is missing"),
    "itself": ({"data": "w.raw.json"}, "but the manifest is for 40"),
    "a path": ({"data": "sub/w.raw"}, "names no file of numbers in its own folder"),
    "a path above": ({"data": "../w.raw"}, "names no file of numbers in its own folder"),
    "a whole path": ({"data": "/etc/hostname"}, "names no file of numbers in its own folder"),
    "a pending path": ({"pending": "../w.raw"}, "names no file of numbers in its own folder"),
    "the folder above": ({"pending": ".."}, "leads out of the folder"),
    "no text": ({"data": "\ud800"}, "which is not valid Unicode"),
    "a number": ({"data": 3}, "names no file of numbers in its own folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_manifest_that_does_not_fit_is_refused_in_one_line(name, tmp_path, capsys):
    changes, why = REFUSED[name]
    path = pair(tmp_path, **changes)
    with pytest.raises(FormatError) as caught:
        steelyard.weights(path)
    assert why in str(caught.value)
    assert main(["ls", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_links_out_of_the_folder_and_bombs_of_json_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    path = pair(tmp_path / "in")
    (tmp_path / "secret").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
        steelyard.weights(tmp_path / "in" / "w.raw.json")
    for text in ('{"format": "steelyard raw", "x": ' + "[" * 100_000, '{"format": "steelyard raw", "x": [' + "[]," * 2_000_000):
        (pair(tmp_path).parent / "w.raw.json").write_text(text)
        with pytest.raises(FormatError):
            steelyard.weights(tmp_path / "w.raw")


def test_numbers_without_their_manifest_say_what_they_lack(tmp_path):
    NUMBERS.tofile(tmp_path / "w.raw")
    with pytest.raises(FormatError, match=r"numbers without their manifest, w\.raw\.json"):
        steelyard.weights(tmp_path / "w.raw")


def test_a_check_finds_numbers_that_do_not_have_the_digest(tmp_path):
    path = pair(tmp_path)
    assert steelyard.check(path).ok
    (NUMBERS + 1).tofile(path)
    found = steelyard.check(path)
    assert not found.ok
    assert [finding.kind for finding in found.findings] == ["damaged"]
    assert "but the manifest says" in found.findings[0].what


def test_a_save_that_was_cut_off_is_read_and_finished(tmp_path):
    """Once the new manifest is in place, its numbers are read under their hidden name until they have their own."""
    path = pair(tmp_path, pending=".w.raw-0123456789abcdef.tmp")
    (tmp_path / ".w.raw-0123456789abcdef.tmp").write_bytes((NUMBERS + 1).tobytes())
    (tmp_path / ".w.raw-fedcba9876543210.tmp").write_bytes(b"left behind")
    assert steelyard.weights(path).to_vector().tolist() == (NUMBERS + 1).tolist()
    steelyard.save({"c": np.ones(2)}, path)
    assert sorted(os.listdir(tmp_path)) == ["w.raw", "w.raw.json"]
    assert steelyard.weights(path)["c"].numpy().tolist() == [1, 1]


def test_types_that_other_machines_read_otherwise_are_not_written(tmp_path):
    with pytest.raises(FormatError, match="a is float128"):
        steelyard.save({"a": np.ones(2, np.longdouble)}, tmp_path / "w.raw")
    assert not os.listdir(tmp_path)
