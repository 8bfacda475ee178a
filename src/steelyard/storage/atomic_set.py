"""Atomic replacement of a set of files that an index names, or of a file and its manifest: the old or the new set is complete.

The new files are written into a hidden folder next to the others. A journal in it lists the old and the new files before the
first new one gets its name. At the end the files that the index does not name are removed; if this process is killed, the next
process that writes there removes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from steelyard.storage.atomic import RANDOM, alone_in, creating, replacing, sync_folder

_JOURNAL = "journal.json"
_SUFFIX = ".tmp"
LIMIT = 100_000_000  # maximum bytes of a journal; a larger one is ignored

Stamp = tuple[int, int, int]
"""Identifies a file version: inode, size, modification time."""


def replace_set(
    target: Path,
    plan: Callable[[], tuple[Sequence[str], Iterable[str]]],
    fill: Callable[[Path, Sequence[str]], None],
    finish: Callable[[], None],
    named: Callable[[], set[str] | None],
) -> None:
    """Write new files into the folder of `target`, the index that names them, and remove the old ones.

    `plan` returns the names of the new files, which must be unused, and of the old ones; `fill` writes the new files into the
    folder it is given, and `finish` replaces `target`. `named` returns the names in use, or None if they are unknown: then
    nothing is removed. One process at a time writes sets into a folder.
    """
    folder = target.parent
    prefix = f".{target.name[:60]}-"
    with alone_in(str(folder)) as alone:
        if alone:  # otherwise another process may be writing there
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
    """Write the journal, then give the new files their names; an existing file is never replaced."""
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
    """Remove the listed files that the index does not name, and the hidden folder."""
    from shutil import rmtree

    stamps = _journal(aside / _JOURNAL)
    used = named() if stamps else None
    for name, stamp in stamps.items():
        if used is not None and name not in used and stamp is not None and _stamp(folder / name) == stamp:
            with suppress(OSError):
                os.unlink(folder / name)
    rmtree(aside, ignore_errors=True)


def _journal(path: Path) -> dict[str, Stamp | None]:
    """Return the files of a journal; none if it is incomplete, or lists a file of another folder."""
    try:
        if path.is_symlink() or path.stat().st_size > LIMIT:
            return {}
        stamps = json.loads(path.read_bytes())
        kept = {name: tuple(stamp) for name, stamp in stamps.items() if stamp is not None}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return {}
    return {name: stamp for name, stamp in kept.items() if os.path.basename(name) == name and len(stamp) == 3}


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _abandoned(folder: Path, prefix: str) -> list[str]:
    """Return the hidden folders that killed processes left."""
    ours = _hidden(folder, prefix)
    return [name for name in ours if (folder / name).is_dir() and not (folder / name).is_symlink()]


def _hidden(folder: Path, prefix: str) -> list[str]:
    """Return the names of hidden files and folders that were made here under this prefix."""
    left = []
    with suppress(OSError):
        left = [name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(_SUFFIX)]
    marks = [(name, name[len(prefix) : -len(_SUFFIX)]) for name in left]
    return [name for name, mark in marks if len(mark) == 2 * RANDOM and not mark.strip("0123456789abcdef")]


# A file and its manifest: the new file is written under a hidden name, which the new manifest has as "pending". Once that
# manifest is in place the pair is the new one, since readers take the pending file if it exists; then it gets its own name.


def replace_pair(path: Path, manifest: Path, fill: Callable[[BinaryIO], None], describe: Callable[[str], bytes]) -> None:
    """Write a file and the manifest that describes it, so that at any moment a reader finds the old or the new pair.

    `fill` writes the file; `describe` then returns the manifest, in which "pending" is the name that it is given. One process
    at a time writes a pair.
    """
    path, manifest = Path(os.path.realpath(path)), Path(os.path.realpath(manifest))
    prefix = f".{path.name[:60]}-"
    with alone_in(str(path.parent)) as alone:
        _finish_pair(path, manifest, prefix, alone=alone)
        pending = path.with_name(f"{prefix}{os.urandom(RANDOM).hex()}{_SUFFIX}")
        with creating(pending) as file:
            fill(file)
        try:
            with suppress(FileNotFoundError):
                os.chmod(pending, os.stat(path).st_mode & 0o7777)
            with replacing(manifest) as described:
                described.write(describe(pending.name))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(pending)
            raise
        os.replace(pending, path)
        sync_folder(str(path.parent))


def _finish_pair(path: Path, manifest: Path, prefix: str, *, alone: bool) -> None:
    """Give the pending file of an earlier manifest its name, and remove those that no manifest names, if no process writes."""
    try:
        named = json.loads(manifest.read_bytes()).get("pending")
    except (OSError, ValueError, RecursionError, AttributeError):
        named = None
    for name in _hidden(path.parent, prefix) if alone else ():
        with suppress(OSError):
            if name == named:
                os.replace(path.with_name(name), path)
            else:
                os.unlink(path.with_name(name))
