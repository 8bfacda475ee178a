"""Packing a run into an archive, and unpacking it; `packing` has the layout."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.errors import FileMissingError, FormatError, ShapeError, printable
from steelyard.runs.layout import HISTOGRAMS, JOURNAL, RUN, SKETCHES, SNAPSHOT_NAME, SNAPSHOTS, STATS
from steelyard.runs.packing import (
    KEYFRAME,
    MANIFEST,
    VERSION,
    Snapshot,
    opened,
    read_snapshot,
    require_small,
    sizes_of,
    write_snapshot,
)
from steelyard.runs.store import open_run, own
from steelyard.storage.atomic import creating, replacing, require_local, sync_folder

RECORDS = (RUN, STATS, HISTOGRAMS, SKETCHES, JOURNAL)
_PIECE = 1 << 20
_DAMAGED = (
    FormatError, FileMissingError, zipfile.BadZipFile, struct.error, FileExistsError, EOFError, ArithmeticError, AttributeError,
    LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_ENCRYPTED = 1
_TIME = (1980, 1, 1, 0, 0, 0)  # equal runs make equal archives


class PackedRun(NamedTuple):
    """What was packed or unpacked: the paths, the number of snapshots, and the bytes of the run and of the archive."""

    source: str
    out: str
    snapshots: int
    run_bytes: int
    archive_bytes: int


def pack_run(path: str, out: str) -> PackedRun:
    """Pack the run in a folder into the archive `out`, as it was when it was opened.

    Raises the errors of `open_run`, `FormatError` for a damaged snapshot, and `MissingExtraError` without Zstandard.
    """
    if not os.path.isdir(path):
        raise FormatError(path, "is no folder of a run; --back unpacks an archive")
    if os.path.realpath(out).startswith(os.path.join(os.path.realpath(path), "")):
        raise ShapeError(f"{printable(out)} is inside the run; write the archive next to it")
    run = open_run(path)
    names = [row.snapshot for row in run.rows if row.snapshot and os.path.isfile(own(path, row.snapshot))]
    total, listed = 0, list[dict[str, Any]]()
    with replacing(out) as target:
        with zipfile.ZipFile(target, "w") as archive:
            for name, size in sizes_of(run).items():
                total += _copy_record(archive, os.path.join(path, name), name, size)
            before: list[Snapshot] = []
            for nth, name in enumerate(names):
                now = opened(os.path.join(path, name))
                before = before if nth % KEYFRAME else []
                with archive.open(_entry(f"{name}.packed"), "w", force_zip64=True) as file:
                    write_snapshot(file, now, before)
                listed.append({"name": name, "bytes": len(now.content), "crc32": _checksum(now)})
                before = [now, *before][:2]
            archive.writestr(_entry(MANIFEST), json.dumps({"steelyard pack": VERSION, "snapshots": listed}, indent=1))
        size = target.tell()
    total += sum(entry["bytes"] for entry in listed)
    return PackedRun(path, out, len(names), total, size)


def _entry(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name, _TIME)
    made.external_attr = 0o644 << 16
    return made


def _copy_record(archive: zipfile.ZipFile, path: str, name: str, size: int | None) -> int:
    """Copy the first bytes of a file, and return how many these are."""
    if not os.path.exists(path):
        return 0
    rest = os.path.getsize(path) if size is None else size
    copied = 0
    with open(path, "rb") as source, archive.open(_entry(name), "w", force_zip64=True) as file:
        while copied < rest and (piece := source.read(min(_PIECE, rest - copied))):
            file.write(piece)
            copied += len(piece)
    return copied


def _checksum(snapshot: Snapshot) -> int:
    made = 0
    for start in range(0, len(snapshot.content), _PIECE):
        made = zlib.crc32(snapshot.content[start : start + _PIECE].tobytes(), made)
    return made


def unpack_run(path: str, out: str) -> PackedRun:
    """Unpack an archive into the new folder `out`, where every file is as it was, bit for bit.

    The folder is there when all files are complete. Raises `ShapeError` if there is something at `out`, and `FormatError` for
    anything but a sound archive.
    """
    require_local(out)
    if os.path.lexists(out):
        raise ShapeError(f"{printable(out)} exists; unpack into a new folder")
    if not os.path.isfile(path):
        raise FormatError(path, "is no file; --back takes an archive that steelyard pack wrote")
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive, _new_folder(out) as folder:
            count, total = _unpack(archive, folder)
    except ShapeError:  # the disk is too small
        raise
    except _DAMAGED as error:
        raise FormatError(path, f"is no packed run, or is damaged ({printable(error, 200)})") from None
    return PackedRun(path, out, count, total, size)


def _unpack(archive: zipfile.ZipFile, folder: str) -> tuple[int, int]:
    found = json.loads(_manifest(archive))
    if found["steelyard pack"] != VERSION:
        raise ValueError("it is of another version")
    _require_room(archive, folder, found["snapshots"])
    total = sum(_unpack_record(archive, folder, name) for name in RECORDS if name in archive.NameToInfo)
    os.mkdir(os.path.join(folder, SNAPSHOTS))
    before: list[Snapshot] = []
    for nth, facts in enumerate(found["snapshots"]):
        before = before if nth % KEYFRAME else []
        before = [_unpack_snapshot(archive, folder, facts, before), *before][:2]
        total += len(before[0].content)
    open_run(folder)
    return len(found["snapshots"]), total


def _manifest(archive: zipfile.ZipFile) -> bytes:
    with _stored(archive, MANIFEST) as file:
        content = file.read(limits.JSON + 1)
    require_small(content, archive.fp.seek(0, os.SEEK_END) if archive.fp else 0)
    return content


def _require_room(archive: zipfile.ZipFile, folder: str, snapshots: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ValueError` for a run that is too large for its archive, or for the disk, before anything is unpacked."""
    stored = archive.fp.seek(0, os.SEEK_END) if archive.fp else 0
    total = sum(int(facts["bytes"]) for facts in snapshots)
    total += sum(archive.NameToInfo[name].file_size for name in RECORDS if name in archive.NameToInfo)
    if limits.is_bomb(total, stored):
        raise ValueError(f"it takes {total:,} bytes, too many for an archive of {stored:,}; see steelyard.limits")
    if total > (free := shutil.disk_usage(folder).free):
        raise ShapeError(f"{printable(archive.filename)} takes {total:,} bytes, and the disk has {free:,}")


def _unpack_record(archive: zipfile.ZipFile, folder: str, name: str) -> int:
    with _stored(archive, name) as file, creating(os.path.join(folder, name)) as made:
        shutil.copyfileobj(file, made, _PIECE)
        return made.tell()


def _unpack_snapshot(archive: zipfile.ZipFile, folder: str, facts: Mapping[str, Any], before: Sequence[Snapshot]) -> Snapshot:
    name, size, checksum = facts["name"], facts["bytes"], facts["crc32"]
    if not isinstance(name, str) or not SNAPSHOT_NAME.fullmatch(name) or not isinstance(size, int):
        raise ValueError("a snapshot has no name or no size")
    path = os.path.join(folder, name)
    with _stored(archive, f"{name}.packed") as file, creating(path) as made:
        read_snapshot(file, made, size, before, archive.getinfo(f"{name}.packed").file_size)
    snapshot = opened(path)
    if _checksum(snapshot) != checksum:
        raise ValueError(f"{name} has another checksum than when it was packed")
    return snapshot


def _stored(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open an entry; one that is compressed is not of this kind, and might be of any size."""
    facts = archive.getinfo(name)
    if facts.flag_bits & _ENCRYPTED:
        raise ValueError(f"{name} is encrypted")
    if facts.compress_type != zipfile.ZIP_STORED or facts.file_size != facts.compress_size:
        raise ValueError(f"{name} is compressed")
    return archive.open(facts)


@contextmanager
def _new_folder(out: str) -> Iterator[str]:
    """Make a folder next to `out`, which is renamed to it when the block ends without an error."""
    parent, name = os.path.split(os.path.abspath(out))
    temporary = os.path.join(parent, f".{name[:60]}.{os.urandom(8).hex()}")
    os.mkdir(temporary)
    try:
        yield temporary
        os.rename(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(parent)
