"""Appending to a run's folder: what was being written when a process was killed is cut off, and what is committed stays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import IO, TYPE_CHECKING

from steelyard.errors import ShapeError, printable
from steelyard.runs.layout import (
    HISTOGRAMS,
    JOURNAL,
    LOCK,
    RUN,
    SKETCH_BASE_BYTES,
    SKETCH_BYTES,
    SKETCHES,
    SNAPSHOT_NAME,
    SNAPSHOTS,
    STATS,
    Layout,
)
from steelyard.runs.store import Row, complete, open_run, read_journal, read_layout, require_own
from steelyard.storage.atomic import require_local

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.runs.measuring import Record


class Appender:
    """The open files of a run, of which only one recorder at a time has the lock.

    `path` is the folder, `rows` are the committed rows, `layout` is None until the first weights are known. Raises `ShapeError`
    if another process records into the folder, and the errors of `open_run`.
    """

    __slots__ = ("_files", "_lock", "layout", "path", "rows")

    def __init__(self, path: str) -> None:
        self.path = path
        self.layout: Layout | None = None
        self.rows: list[Row] = []
        self._files: dict[str, IO[bytes]] = {}
        require_local(path)
        os.makedirs(path, exist_ok=True)
        require_own(path)
        self._lock = _locked(path)
        os.makedirs(os.path.join(path, SNAPSHOTS), exist_ok=True)
        try:
            if os.path.exists(self._file(RUN)):
                self.layout = read_layout(path)
                self.rows = list(read_journal(path))
                self.cut(complete(path, self.layout, len(self.rows)))
        except BaseException:
            self.close()
            raise

    def begin(self, layout: Layout) -> None:
        """Write the layout of a new run, which has no records."""
        from steelyard.storage.atomic import replacing

        self.layout = layout
        with replacing(self._file(RUN)) as file:
            file.write(json.dumps(layout.to_dict(), indent=1).encode())

    def last_sketch(self) -> Array | None:
        """Return the sketch of the last record, None without records."""
        return open_run(self.path).sketches()[-1] if self.rows else None

    def append(self, record: Record, row: Row) -> None:
        """Write a record and then its line in the journal; on an error the files are as before."""
        parts = {STATS: record.stats, SKETCHES: (record.base or b"") + record.sketch}
        parts |= {HISTOGRAMS: record.histograms} if record.histograms is not None else {}
        try:
            for name, content in parts.items():
                _write(self._opened(name), content)
            _write(self._opened(JOURNAL), _line(row, len(self.rows)))
        except BaseException:
            with suppress(OSError):
                self.cut(len(self.rows))
            raise
        self.rows.append(row)

    def cut(self, rows: int) -> None:
        """Cut everything after so many rows, and remove the snapshots of no row."""
        assert self.layout is not None
        sketches = SKETCH_BASE_BYTES + rows * SKETCH_BYTES if rows else 0
        sizes = {
            STATS: rows * self.layout.stats_bytes,
            HISTOGRAMS: self.layout.histograms_of(rows) * self.layout.histogram_bytes,
            SKETCHES: sketches,
        }
        self._cut_journal(rows)  # first, so that no line is without its records
        del self.rows[rows:]
        for name, size in sizes.items():
            file = self._opened(name)
            if file.seek(0, os.SEEK_END) > size:
                file.truncate(size)
        self._remove_snapshots()

    def _cut_journal(self, rows: int) -> None:
        file = self._opened(JOURNAL)
        with open(self._file(JOURNAL), "rb") as reader:
            size = sum(len(line) for line in reader.readlines()[:rows])
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(size)

    def _remove_snapshots(self) -> None:
        """Remove the snapshots that a killed process had written before their line in the journal."""
        named = {row.snapshot for row in self.rows}
        for name in os.listdir(self._file(SNAPSHOTS)):
            if SNAPSHOT_NAME.fullmatch(f"{SNAPSHOTS}/{name}") and f"{SNAPSHOTS}/{name}" not in named:
                os.unlink(os.path.join(self._file(SNAPSHOTS), name))

    def remove(self, snapshot: str) -> None:
        """Remove a snapshot; its row stays."""
        with suppress(FileNotFoundError):
            os.unlink(self._file(snapshot))

    def close(self) -> None:
        """Close the files, and let others record."""
        for file in self._files.values():
            with suppress(OSError):  # what a full disk did not take was cut off
                file.close()
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _opened(self, name: str) -> IO[bytes]:
        if name not in self._files:
            # without a buffer: a line is in the journal, or it is not
            self._files[name] = open(self._file(name), "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        return self._files[name]

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)


def _write(file: IO[bytes], content: bytes) -> None:
    """Write all bytes: without a buffer, a system may take only some at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _line(row: Row, number: int) -> bytes:
    metrics: Mapping[str, object] = {key: value if isfinite(value) else str(value) for key, value in row.metrics.items()}
    found = {"i": number, **row._asdict(), "metrics": metrics}
    return json.dumps(found, ensure_ascii=True).encode() + b"\n"


def _locked(path: str) -> int | None:
    """Lock a run's folder for this process; the lock of a killed process is released. None where there are no locks."""
    if os.name != "posix":
        return None
    from fcntl import LOCK_EX, LOCK_NB, flock

    handle = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ShapeError(
            f"{printable(path)} is being recorded by another recorder; close it first, or record into another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    return handle
