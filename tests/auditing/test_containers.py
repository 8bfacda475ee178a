"""The audit of containers: whatever a loader may open is looked into, whatever its suffix, and however damaged it is."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

import steelyard
from steelyard.auditing import audit
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes

EVIL = b"\x80\x02cos\nsystem\nX\2\0\0\0ls\x85R."
RAN = "would have run os.system('ls')"


def zipped(method=zipfile.ZIP_STORED, name="archive/data.pkl", content=EVIL):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/first", b"x" * 40)
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content=EVIL, name="weights.ckpt"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def npy_of(numbers):
    np.save(file := io.BytesIO(), np.array(numbers))
    return file.getvalue()


def npy(content=EVIL):
    file = io.BytesIO()
    np.save(file, np.zeros(2))
    return file.getvalue().replace(b"'<f8'", b"'|O' ")[:-16] + content


CONTAINERS = {
    "zip": zipped(),
    "deflated": zipped(zipfile.ZIP_DEFLATED),
    "any member": zipped(name="archive/version"),
    "a storage": zipped(name="archive/data/0"),
    "a long text first": zipped(name="x.dat", content=b"X" + struct.pack("<L", 1 << 15) + bytes(1 << 15) + b"0" + EVIL[2:]),
    "a long byte string first": zipped(
        name="x.dat", content=b"B" + struct.pack("<L", 1 << 15) + bytes(1 << 15) + b"0" + EVIL[2:]
    ),
    "a zip in a zip": zipped(content=zipped()),
    "tar": tarred(),
    "nemo": gzip.compress(tarred(zipped())),
    "gzip": gzip.compress(EVIL),
    "bz2": bz2.compress(EVIL),
    "xz": lzma.compress(EVIL),
    "lzma": lzma.compress(EVIL, lzma.FORMAT_ALONE),
    "zlib": zlib.compress(EVIL),
    "joblib before 0.10": b"ZF" + hex(len(EVIL)).encode().ljust(19) + zlib.compress(EVIL),
    "npy": npy(),
    "npz": zipped(name="w.npy", content=npy()),
    "bytes before a zip": b"#!/bin/sh\n" + zipped(),
    "bytes after a zip": zipped() + b"more bytes",
    "two zips": zipped(name="a", content=b"hello") + zipped(),
    "a cut zip": zipped()[:-30],
    "a wrong checksum": zipped().replace(struct.pack("<L", zlib.crc32(EVIL)), b"\1\2\3\4"),
    "a wrong checksum in the directory": b"\1\2\3\4".join(zipped().rsplit(struct.pack("<L", zlib.crc32(EVIL)), 1)),
    "a cut gzip": gzip.compress(EVIL + bytes(100))[:-8],
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("suffix", [".dat", ".pt", ".safetensors"])
def test_a_call_is_found_in_every_container_of_any_suffix(tmp_path, kind, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(CONTAINERS[kind])
    assert RAN in [each.what for each in audit(path).findings]


def encrypted():
    data = bytearray(zipped(name="w.npy", content=b"no pickle at all"))
    data[data.index(b"PK\1\2", data.index(b"PK\1\2") + 1) + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (zipped(name="../../x", content=b"hello"), "path-traversal"),
        (tarred(b"hello", "/etc/x"), "path-traversal"),
        (zipped(zipfile.ZIP_BZIP2, content=b"hello"), "not-looked-into"),
        (encrypted(), "zip-ambiguous"),
        (zipped(name="model/x.so", content=b"\x7fELF" + bytes(60)), "native-code"),
        (zipped(name="w.npy", content=b"\x93NUMPY\1\0\5\0oh no"), "damaged"),
        (gzip.compress(bytes(100), mtime=0)[:20], "damaged"),
    ],
)
def test_what_is_dangerous_or_cannot_be_looked_into_is_a_finding(content, rule):
    assert rule in {each.rule for each in audit(from_bytes(content, "a.bin")).findings}


def test_the_arrays_of_equinox_follow_one_another_and_only_what_is_no_array_is_a_finding():
    arrays = b"".join(map(npy_of, ([1.0, 2.0], [], [3])))
    assert not audit(from_bytes(arrays, "a.eqx")).findings
    assert {each.rule for each in audit(from_bytes(arrays, "a.npy")).findings} == {"trailing-bytes"}
    found = audit(from_bytes(arrays + EVIL, "a.eqx")).findings
    assert RAN in [each.what for each in found]
    assert f"byte {len(arrays):,}" in next(each.place for each in found if each.rule == "trailing-bytes")


def test_nesting_and_bombs_end_with_a_finding():
    nested = EVIL
    for _ in range(40):
        nested = gzip.compress(nested)
    found = audit(from_bytes(nested, "a.gz"))
    assert [each.rule for each in found.not_looked_into] == ["not-looked-into"]
    for name in ("a.pkl.gz", "a.gz"):
        with steelyard.limits.allow(MEMORY=1 << 20):
            assert audit(from_bytes(gzip.compress(b"N0" * 1_000_000), name)).not_looked_into


def test_a_folder_is_audited_file_by_file(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".metadata").write_bytes(EVIL)
    (tmp_path / "readme.txt").write_text("cython\nnumpy\npandas\n")
    found = audit(tmp_path)
    assert [each.place for each in found.findings] == [f"inner/.metadata in {tmp_path.name}, byte 21"]


def test_a_folder_that_is_not_one_model_is_refused_without_a_look_into_its_files(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "evil.pkl").write_bytes(EVIL)
    with pytest.raises(FormatError, match="a folder without weight files") as refused:
        steelyard.weights(tmp_path)
    assert refused.value.audit is None
    assert audit(tmp_path).would_run  # which is asked for its files


def test_the_weights_of_a_file_know_its_audit(tmp_path):
    steelyard.save({"w": np.ones(2)}, tmp_path / "a.pt")
    weights = steelyard.weights(tmp_path / "a.pt")
    assert weights.select("w").audit is weights.audit
    assert repr(weights.audit).startswith("nothing would run: looked into ")
    assert steelyard.weights({"w": np.ones(2)}).audit is None
    assert steelyard.audit(weights).to_dict() == {**weights.audit.to_dict(), "would_run": False, "findings": []}


def test_a_refusal_names_the_code(tmp_path):
    (tmp_path / "a.pkl").write_bytes(EVIL[:-1] + b"0\xff")
    with pytest.raises(steelyard.errors.UnsafeFileError, match=r"would have run os\.system\('ls'\)"):
        steelyard.weights(tmp_path / "a.pkl")
    checked = steelyard.check(tmp_path / "a.pkl")
    assert [each.kind for each in checked.findings] == ["code", "damaged", "damaged"]


def test_an_audit_is_shown_as_a_table_in_a_notebook():
    assert "pickle-call" in audit(from_bytes(EVIL, "<b>.pkl"))._repr_html_()
    assert "<b>" not in audit(from_bytes(EVIL, "<b>.pkl"))._repr_html_()
