"""Writing files that belong together, which another file names: the old set or the new one is whole at any moment.

The new files are made in a hidden folder beside the others. A journal in it lists the old and the new ones before
the first of these gets its name; whatever nobody names is removed by it in the end, or by the next that writes
there if this process is killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from steelyard.storage.atomic import RANDOM, alone_in, replacing, sync_folder

_JOURNAL = "journal.json"
_SUFFIX = ".tmp"
LIMIT = 100_000_000
"""Bytes that a journal may take."""

Stamp = tuple[int, int, int]
"""What tells a file from another of its name: number of the file, size, time of the last change."""


def replace_set(
    target: Path,
    plan: Callable[[], tuple[Sequence[str], Iterable[str]]],
    fill: Callable[[Path, Sequence[str]], None],
    finish: Callable[[], None],
    named: Callable[[], set[str] | None],
) -> None:
    """Put new files beside `target`, which names them, and remove the old ones.

    `plan` returns the names of the new files, which no file has yet, and of the old ones; `fill` writes the new ones
    into the folder that it is given, and `finish` replaces `target`. `named` returns the names that are in use, or
    None where that cannot be told: then nothing is removed. One process at a time writes sets into a folder.
    """
    folder = target.parent
    prefix = f".{target.name[:60]}-"
    with alone_in(str(folder)) as alone:
        if alone:  # else another process may be at work there
            for name in _abandoned(folder, prefix):
                _settle(folder, folder / name, named)
        new, old = plan()
        aside = folder / f"{prefix}{os.urandom(RANDOM).hex()}{_SUFFIX}"
        aside.mkdir()
        try:
            fill(aside, new)
            _begin(folder, aside, new, old)
            finish()
        finally:
            _settle(folder, aside, named)


def _begin(folder: Path, aside: Path, new: Sequence[str], old: Iterable[str]) -> None:
    """Write the journal, then give the new files their names; one that is taken meanwhile is never replaced."""
    stamps = {name: _stamp(folder / name) for name in old} | {name: _stamp(aside / name) for name in new}
    with replacing(aside / _JOURNAL) as file:
        file.write(json.dumps(stamps).encode())
    sync_folder(str(folder))
    for name in new:
        try:
            os.link(aside / name, folder / name)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.rename(aside / name, folder / name)
    sync_folder(str(folder))


def _settle(folder: Path, aside: Path, named: Callable[[], set[str] | None]) -> None:
    """Remove what the journal lists and nobody names, and the folder aside."""
    from shutil import rmtree

    stamps = _journal(aside / _JOURNAL)
    used = named() if stamps else None
    for name, stamp in stamps.items():
        if used is not None and name not in used and stamp is not None and _stamp(folder / name) == stamp:
            with suppress(OSError):
                os.unlink(folder / name)
    rmtree(aside, ignore_errors=True)


def _journal(path: Path) -> dict[str, Stamp | None]:
    """Return the files of a journal; nothing of one that is not complete, or that lists anything but files beside it."""
    try:
        if path.is_symlink() or path.stat().st_size > LIMIT:
            return {}
        stamps = json.loads(path.read_bytes())
        found = {name: tuple(stamp) for name, stamp in stamps.items() if stamp is not None}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return {}
    return {name: stamp for name, stamp in found.items() if os.path.basename(name) == name and len(stamp) == 3}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _abandoned(folder: Path, prefix: str) -> list[str]:
    """Return the folders aside that killed processes left behind."""
    found = []
    with suppress(OSError):
        found = [name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(_SUFFIX)]
    marks = [(name, name[len(prefix) : -len(_SUFFIX)]) for name in found]
    ours = [name for name, mark in marks if len(mark) == 2 * RANDOM and not mark.strip("0123456789abcdef")]
    return [name for name in ours if (folder / name).is_dir() and not (folder / name).is_symlink()]
