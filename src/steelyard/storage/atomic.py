"""Atomic writes: a reader finds the old file or the complete new one, even after a crash."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import BinaryIO

from steelyard.errors import FileMissingError, FormatError, printable

RANDOM = 8  # random bytes in the name of a temporary file
_SYNCED: ContextVar[bool] = ContextVar("synced", default=True)


@contextmanager
def synced(to_disk: bool) -> Iterator[None]:
    """Wait in this block until each written file is on the disk, or do not.

    Without waiting, a file is replaced by a complete one all the same, and a killed process loses nothing; after a loss of power
    the file may be cut off.
    """
    before = _SYNCED.set(to_disk)
    try:
        yield
    finally:
        _SYNCED.reset(before)


def _sync(handle: int) -> None:
    if _SYNCED.get():
        os.fsync(handle)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`, and rename it to `path` when the block ends without an error.

    The bytes are synced to disk before the rename; the mode of an old file is kept, and symbolic links are followed. On an
    error the temporary file is removed and `path` is unchanged. The next write to the same path removes a temporary file
    that a killed process left.
    """
    require_local(path)
    target = os.path.realpath(path)
    _refuse_special(target, path)
    folder, name = os.path.split(target)
    prefix = f".{name[:60]}."
    remove_abandoned(folder, prefix)
    try:
        temporary, handle = _temporary(folder, prefix)
    except FileNotFoundError:
        raise without_folder(folder) from None
    except OSError as error:
        error.filename = os.fspath(path)  # the path as the user wrote it
        raise
    try:
        with open(handle, "w+b") as file:
            with suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            yield file
            file.flush()
            _sync(file.fileno())
            _rename(temporary, target, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def without_folder(folder: str) -> FileMissingError:
    """Return the error for a file that is to be written into a folder that does not exist."""
    return FileMissingError(f"{printable(folder)}: no such folder to write into; make it first")


@contextmanager
def creating(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file, and sync it to disk when the block ends; on an error it is removed."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(handle, "w+b") as file:
            yield file
            file.flush()
            _sync(file.fileno())
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def require_local(path: str | os.PathLike[str]) -> None:
    """Raise `FormatError` for a URL, to which nothing is written; a path that has lost one of its two slashes is one too."""
    text = os.fspath(path)
    scheme, colon, rest = text.partition(":/")
    if colon and len(scheme) > 1 and scheme.isascii() and scheme.replace("+", "").isalnum() and not os.path.isdir(f"{scheme}:"):
        from steelyard.storage.remote.addresses import shown

        url = shown(f"{scheme}://{rest.removeprefix('/')}")
        raise FormatError(url, "is a URL, and files are written on this machine only; write to a path, then upload the file")


def _refuse_special(target: str, path: str | os.PathLike[str]) -> None:
    """Raise `OSError` for a device, a pipe or a socket: the superuser could replace even /dev/null by a file."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "is a device, a pipe or a socket, which no file replaces; name a file", os.fspath(path))


def _rename(temporary: str, target: str, path: str | os.PathLike[str]) -> None:
    try:
        os.replace(temporary, target)
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path) or os.curdir, None  # the path as the user wrote it
        raise


@contextmanager
def alone_in(folder: str) -> Iterator[bool]:
    """Lock a folder so that only one process writes a set of related files at a time; others wait.

    Yields False, without waiting, if folders cannot be locked. The lock of a killed process is released.
    """
    if not os.path.lexists(folder):
        raise without_folder(folder)
    if os.name != "posix":
        yield False
        return
    from fcntl import LOCK_EX, flock

    handle = os.open(folder, os.O_RDONLY)
    alone = False
    try:
        with suppress(OSError):  # a file system without locks
            flock(handle, LOCK_EX)
            alone = True
        yield alone
    finally:
        os.close(handle)


def _temporary(folder: str, prefix: str) -> tuple[str, int]:
    """Create a file that only this process uses, locked while it is open."""
    while True:
        path = os.path.join(folder, f"{prefix}{os.urandom(RANDOM).hex()}.tmp")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if lock(handle, unsupported=True) and os.fstat(handle).st_nlink:
            return path, handle
        os.close(handle)  # another process found it before it was locked, and removes it as abandoned


def remove_abandoned(folder: str, prefix: str) -> None:
    """Remove the temporary files that killed processes left: those with this prefix that are not locked."""
    abandoned: list[str] = []
    with suppress(OSError):  # a folder that cannot be listed may still be writable
        abandoned = [name for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(".tmp")]
    for name in abandoned:
        mark = name[: -len(".tmp")].rpartition(".")[2]
        if len(mark) == 2 * RANDOM and not mark.strip("0123456789abcdef"):
            with suppress(OSError):
                _remove_unlocked(os.path.join(folder, name))


def _remove_unlocked(path: str) -> None:
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if lock(handle, unsupported=False):
            os.unlink(path)
    finally:
        os.close(handle)


def lock(handle: int, *, unsupported: bool) -> bool:
    """Lock an open file exclusively until it is closed; False if another process has locked it.

    `unsupported` is returned if the file system has no locks, so that no file in use is removed there.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return unsupported
    return True


def sync_folder(folder: str) -> None:
    """Sync a folder to disk, so that a rename in it survives a crash."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            _sync(handle)
        finally:
            os.close(handle)
