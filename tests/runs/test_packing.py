"""Packed runs: about half the bytes, and back bit for bit; what was not packed so is refused."""

import json
import shutil
import struct
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard
from runs.trained import train
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ShapeError
from steelyard.runs.archives import pack_run, unpack_run
from steelyard.runs.layout import LOCK
from steelyard.runs.packing import parts_of


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK
    }


def test_a_run_with_a_snapshot_each_step_takes_much_less_and_comes_back_bit_for_bit(tmp_path, capsys):
    train(tmp_path / "a", snapshot=1, steps=70)
    assert main(["pack", str(tmp_path / "a")]) == 0
    assert main(["pack", "--back", str(tmp_path / "a.zip"), "-o", str(tmp_path / "b")]) == 0
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.zip'}: 70 snapshots, ")
    raw = sum(path.stat().st_size for path in (tmp_path / "a" / "w").iterdir())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert raw > 1.8 * sum(facts.file_size for facts in archive.infolist() if facts.filename.startswith("w/"))
    with steelyard.record(tmp_path / "b", snapshot=1) as rec:
        assert rec.next_step == 70
    assert steelyard.history(tmp_path / "b").steps == list(range(70))


@pytest.mark.parametrize("dtype", ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "u1", "?", "<c8", "bfloat16"])
def test_numbers_of_every_type_come_back_bit_for_bit(tmp_path, dtype):
    import ml_dtypes

    rng = np.random.default_rng(0)
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    with steelyard.record(tmp_path / "a", snapshot=1) as rec:
        for step in range(4):
            numbers = rng.integers(0, 256, 333 * kind.itemsize, dtype=np.uint8)  # NaN, Inf and subnormal numbers too
            rec(step, {"w": numbers.view(kind) if dtype != "?" else numbers > 99, "none": np.zeros((0, 2), kind)})
    pack_run(str(tmp_path / "a"), str(tmp_path / "a.zip"))
    unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "b"))
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")


def test_a_snapshot_with_other_weights_and_one_of_odd_layout_come_back(tmp_path):
    train(tmp_path / "a", snapshot=1, steps=4)
    save_file({"x": np.arange(5.0)}, tmp_path / "a" / "w" / "00000001.safetensors")
    other = tmp_path / "a" / "w" / "00000002.safetensors"
    other.write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(range(77)))
    (tmp_path / "a" / "w" / "00000003.safetensors").unlink()
    assert pack_run(str(tmp_path / "a"), str(tmp_path / "a.zip")).snapshots == 3
    unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "b"))
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")


def test_a_run_that_is_being_recorded_is_packed_up_to_its_last_record(tmp_path):
    train(tmp_path / "a", snapshot=1, steps=3)
    whole = files_of(tmp_path / "a")
    for name in ("journal.jsonl", "stats.f64"):
        with open(tmp_path / "a" / name, "ab") as file:
            file.write(b'{"i": 3, "st')
    pack_run(str(tmp_path / "a"), str(tmp_path / "a.zip"))
    unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "b"))
    assert files_of(tmp_path / "b") == whole


def test_the_history_of_an_archive_and_a_run_without_snapshots_are_told_what_to_do(tmp_path, capsys):
    train(tmp_path / "a", steps=3)
    assert main(["pack", str(tmp_path / "a")]) == 0
    assert "a.zip: the run has no snapshots to pack; its records are stored as they are, " in capsys.readouterr().out
    for read in (steelyard.history, steelyard.weights):
        with pytest.raises(FormatError, match=r"a\.zip: is a packed run; steelyard pack --back unpacks it"):
            read(tmp_path / "a.zip")
    unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "b"))
    assert steelyard.history(tmp_path / "b").steps == [0, 1, 2]


def header_of(*places):
    return bytes(8) + json.dumps({str(n): {"dtype": "F32", "data_offsets": place} for n, place in enumerate(places)}).encode()


def test_parts_that_do_not_cover_a_file_are_taken_as_bytes():
    overlapping = (header_of([0, 4], [8, 12]), header_of([0, 8], [4, 12]), header_of([-4, 12]), header_of([0, "4"]))
    for odd in (*overlapping, b"12345678{", header_of()):
        assert [part.width for part in parts_of(odd, len(odd) + 12)] == [1]
    good = header_of([4, 12], [0, 4])
    assert [part[:3] for part in parts_of(good, len(good) + 12)] == [(len(good), len(good) + 12, 4)]


def rewritten(path, out, changes):
    """Copy an archive with other entries; None leaves one out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as made:
        for name in archive.namelist():
            content = changes.get(name, archive.read(name))
            if content is not None:
                made.writestr(name, content)
        for name in changes.keys() - set(archive.namelist()):
            made.writestr(name, changes[name])


def bomb(name):
    """Return an entry of a thousand bytes with a header of three million lists."""
    header = (9_000_003).to_bytes(8, "little") + b"[" + b"[]," * 3_000_000 + b"0]"
    packed = zstandard.compress(header)
    assert len(packed) < 2000
    return {f"{name}.packed": struct.pack("<II", len(header), len(packed)) + packed}


def test_an_archive_of_more_than_the_disk_takes_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch):
    train(tmp_path / "a", snapshot=1, steps=2)
    pack_run(str(tmp_path / "a"), str(tmp_path / "a.zip"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ShapeError, match=r"a\.zip takes [\d,]+ bytes, and the disk has 1,000"):
        unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()


def test_damaged_and_hostile_archives_are_refused_and_leave_nothing(tmp_path):
    train(tmp_path / "a", snapshot=1, steps=3)
    archive = tmp_path / "a.zip"
    pack_run(str(tmp_path / "a"), str(archive))
    with zipfile.ZipFile(archive) as file:
        manifest, entry = json.loads(file.read("packed.json")), file.read("w/00000001.safetensors.packed")
    facts = manifest["snapshots"][0]
    cases = {
        "half": {"w/00000001.safetensors.packed": entry[: len(entry) // 2]},
        "flipped": {"w/00000001.safetensors.packed": entry[:-9] + bytes([entry[-9] ^ 1]) + entry[-8:]},
        "way": {"w/00000000.safetensors.packed": entry},
        "missing": {"w/00000002.safetensors.packed": None},
        "none": {"packed.json": None},
        "list": {"packed.json": "[]"},
        "outside": {"packed.json": json.dumps({**manifest, "snapshots": [{**facts, "name": "../../x.safetensors"}]})},
        "twice": {"packed.json": json.dumps({**manifest, "snapshots": [facts, facts]})},
        "larger": {"packed.json": json.dumps({**manifest, "snapshots": [{**facts, "bytes": 1 << 60}]})},
        "later": {"packed.json": json.dumps({**manifest, "steelyard pack": 3})},
        "layout": {"run.json": "{}"},
        "values": {"packed.json": json.dumps({**manifest, "snapshots": [{**facts, "bytes": 9_000_020}]}), **bomb(facts["name"])},
        "many": {"packed.json": f"[{'[],' * 1_200_000}[]]"},
        "deep": {"packed.json": "[" * 100_000},
    }
    for name, changes in cases.items():
        rewritten(archive, tmp_path / f"{name}.zip", changes)
        with pytest.raises(FormatError, match=rf"{name}\.zip"):
            unpack_run(str(tmp_path / f"{name}.zip"), str(tmp_path / "out"))
    encrypted = archive.read_bytes().replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")
    assert encrypted != archive.read_bytes()
    (tmp_path / "flags.zip").write_bytes(encrypted)
    with pytest.raises(FormatError, match="is encrypted"):
        unpack_run(str(tmp_path / "flags.zip"), str(tmp_path / "out"))
    (tmp_path / "text.zip").write_text("no archive")
    for odd in (tmp_path / "text.zip", tmp_path / "a"):
        with pytest.raises(FormatError):
            unpack_run(str(odd), str(tmp_path / "out"))
    left = {path.name for path in tmp_path.iterdir()} - {f"{name}.zip" for name in (*cases, "text", "flags", "a")}
    assert left == {"a"}


def test_nothing_that_exists_is_overwritten_and_nothing_is_written_into_the_run(tmp_path):
    train(tmp_path / "a", steps=2)
    pack_run(str(tmp_path / "a"), str(tmp_path / "a.zip"))
    before = files_of(tmp_path / "a")
    with pytest.raises(ShapeError, match="exists; unpack into a new folder"):
        unpack_run(str(tmp_path / "a.zip"), str(tmp_path / "a"))
    with pytest.raises(ShapeError, match="inside the run"):
        pack_run(str(tmp_path / "a"), str(tmp_path / "a" / "stats.f64"))
    with pytest.raises(FormatError, match="--back unpacks"):
        pack_run(str(tmp_path / "a.zip"), str(tmp_path / "b.zip"))
    assert files_of(tmp_path / "a") == before
