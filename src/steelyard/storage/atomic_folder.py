"""Atomic replacement of a folder: the old or the complete new one has the name, on Linux by an exchange of two names."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steelyard.errors import FormatError
from steelyard.storage.atomic import RANDOM, lock, sync_folder, without_folder

_SUFFIX = ".tmp"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Make a hidden folder next to `path`, and give it that name when the block ends without an error.

    On an error the hidden folder is removed and `path` is unchanged. The next write to the same path removes what a killed
    process left. Raises `FormatError` for a folder that is there where the system cannot exchange two names.
    """
    path = Path(os.path.realpath(path))
    prefix = f".{path.name[:60]}-"
    _remove_abandoned(path.parent, prefix)
    try:
        aside, handle = _new(path.parent, prefix)
    except FileNotFoundError:
        raise without_folder(str(path.parent)) from None
    except OSError as error:
        error.filename = os.fspath(path.parent)  # not the hidden folder in it
        raise
    try:
        with suppress(FileNotFoundError):
            os.chmod(aside, os.stat(path).st_mode & 0o7777)
        yield aside
        sync_folder(str(aside))
        _take_place(aside, path)
        sync_folder(str(path.parent))
    finally:
        _remove(aside)  # after an exchange, the old folder
        os.close(handle)


def _new(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder that only this process uses, locked while it is open."""
    while True:
        aside = parent / f"{prefix}{os.urandom(RANDOM).hex()}{_SUFFIX}"
        aside.mkdir()
        handle = os.open(aside, os.O_RDONLY)  # where a folder cannot be opened, none is written
        if lock(handle, unsupported=True) and aside.exists():
            return aside, handle
        os.close(handle)  # another process found it before it was locked, and removes it as abandoned


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the hidden folders that killed processes left: those with this prefix that are not locked."""
    names: list[str] = []
    with suppress(OSError):
        names = [name for name in os.listdir(parent) if name.startswith(prefix) and name.endswith(_SUFFIX)]
    for name in names:
        mark = name[len(prefix) : -len(_SUFFIX)]
        if len(mark) == 2 * RANDOM and not mark.strip("0123456789abcdef"):
            with suppress(OSError):
                _remove_unlocked(parent / name)


def _remove_unlocked(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if lock(handle, unsupported=False):
            _remove(folder)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


def _take_place(aside: Path, path: Path) -> None:
    if not os.path.lexists(path):
        try:
            os.rename(aside, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # then another process was faster
                raise
        else:
            return
    if not _exchanged(os.fsencode(aside), os.fsencode(path)):
        raise FormatError(str(path), "is a folder that is there, which this system cannot replace at once; choose another name")


def _exchanged(one: bytes, other: bytes) -> bool:
    """Exchange two names at once; False where the system cannot. Raises `OSError` if it can, and did not."""
    import ctypes

    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, one, _HERE, other, _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(other))
