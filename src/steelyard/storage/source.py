"""Sources: named runs of bytes in a file, in a part of a file, or in memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from functools import cache
from time import monotonic_ns
from typing import TYPE_CHECKING

from steelyard import sizes
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError, printable, quoted

if TYPE_CHECKING:
    from io import BufferedReader

    from steelyard.core.weight import Array

    Fill = Callable[[int, memoryview], None]
    Copy = Callable[[int, int, int, int], bool]


class Remote:
    """What a file or folder on another machine has besides: `ahead` fetches ranges that will be read, `names` lists a folder.

    `is_here` is true where all bytes have been fetched to this machine.
    """

    __slots__ = ("ahead", "is_here", "names")

    def __init__(
        self,
        ahead: Callable[[Iterable[tuple[int, int]]], None] | None = None,
        names: Callable[[], list[str]] | None = None,
        *,
        is_here: bool = False,
    ) -> None:
        self.ahead = ahead
        self.names = names
        self.is_here = is_here


class Source:
    """A run of `size` bytes, read on demand.

    `name` is for messages. `fill(offset, buffer)` fills a writable buffer with the bytes at `offset`. `beside(name)` opens
    another file of the same folder, and refuses a name outside it. `path` is the path of a local file or folder, else None.
    `whole` is the file that the bytes are a part or the content of, and the source itself if that is the file; `spent` is what
    readers have spent of its budget so far (`codecs.budget`). `copy(offset, length, handle, place)` lets the system copy bytes to
    another open file, and returns False where it cannot; None if they must be read, as to check or to count them.
    """

    __slots__ = ("_head", "_within", "beside", "copy", "fill", "name", "path", "remote", "size", "spent")

    def __init__(
        self,
        name: str,
        size: int,
        fill: Fill,
        beside: Callable[[str], Source],
        path: str | None = None,
        within: Source | None = None,
        remote: Remote | None = None,
        copy: Copy | None = None,
    ) -> None:
        self.copy = copy
        self._head = b""
        self._within = None if within is None else within.whole
        self.spent = 0
        self.name = name
        self.size = size
        self.fill = fill
        self.beside = beside
        self.path = path
        self.remote = remote

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder, which has files but no bytes of its own."""
        if self.remote is not None:
            return self.remote.names is not None
        return self.path is not None and os.path.isdir(self.path)

    @property
    def is_file(self) -> bool:
        """Whether this is a file or folder of its own, on this machine or another, and not a part of one or bytes in memory."""
        return self.path is not None or self.remote is not None

    @property
    def is_far(self) -> bool:
        """Whether bytes are fetched from another machine when they are read."""
        return self.remote is not None and not self.remote.is_here

    def names(self) -> list[str]:
        """Return the names of the files and folders in a folder."""
        if self.remote is not None and self.remote.names is not None:
            return self.remote.names()
        return os.listdir(self.path or os.curdir)

    def ahead(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Begin to fetch many ranges, each given by its offset and length, which are read next; local files need none."""
        if self.remote is not None and self.remote.ahead is not None:
            self.remote.ahead(ranges)

    @property
    def whole(self) -> Source:
        """The file of which this is a part."""
        return self._within or self

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; raises `FormatError` if the source ends before that."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FormatError(
                self.name,
                f"the file ends at byte {self.size:,}, but {length:,} bytes are needed from byte {offset:,} (partial download?)",
            )
        block = bytearray(length)
        self.fill(offset, memoryview(block))
        return bytes(block)

    def head(self, length: int) -> bytes:
        """Return the first `length` bytes, or all if there are fewer."""
        length = min(length, self.size)
        return self._head[:length] if length <= len(self._head) else self.read(0, length)

    def keep_head(self, length: int) -> None:
        """Read the first `length` bytes, or all if there are fewer, and keep them for `head`."""
        self._head = self.head(length)

    def part(self, offset: int, length: int, name: str = "") -> Source:
        """Return the run of `length` bytes from `offset` as a source of its own."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FormatError(self.name, f"a part of {length:,} bytes reaches past the end of the file, {self.size:,}", offset)
        shown = f"{self.name}:{name}" if name else self.name
        return Source(shown, length, lambda start, buffer: self.fill(offset + start, buffer), self.beside, within=self)

    def numbers(self, offset: int, dtype: str, byteorder: str = "<") -> Stored:
        """Return a reader of the elements that are stored at `offset` in row-major order."""
        return Stored(self, offset, dtype, byteorder)


class Stored:
    """A reader of numbers that are stored uncompressed, in a dtype of NumPy; `fill` reads their bytes without NumPy."""

    __slots__ = ("byteorder", "dtype", "offset", "source")

    def __init__(self, source: Source, offset: int, dtype: str, byteorder: str = "<") -> None:
        self.source = source
        self.offset = offset
        self.dtype = dtype
        self.byteorder = byteorder

    def __call__(self, start: int, stop: int) -> Array:
        import numpy as np

        block = np.empty(stop - start, numpy_dtype(self.dtype))
        self.fill(start, block.view(np.uint8).data)
        return block.byteswap() if self.byteorder == ">" and block.itemsize > 1 else block

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the stored bytes of the elements from `start`."""
        if buffer:
            end = self.offset + start * itemsize(self.dtype) + len(buffer)
            if end > self.source.size:
                raise FormatError(
                    self.source.name, f"the numbers end at byte {end:,}, past the end of the file, {self.source.size:,}"
                )
            self.source.fill(self.offset + start * itemsize(self.dtype), buffer)


def open_path(path: str | os.PathLike[str]) -> Source:
    """Open a local file or folder. Raises `FileMissingError` for a missing file, or one that is not regular.

    One that may be there and cannot be opened, as without permission, is a `FormatError`: readers do without some missing ones.
    The file stays open while its source is in use; beyond `sizes.OPEN_FILES` files, it is opened again for each read.
    A FIFO or a device is refused without waiting for it. The prefix of a TensorFlow checkpoint opens its index.
    """
    path = os.fspath(path)
    if isinstance(path, str) and not os.path.lexists(path) and os.path.isfile(f"{path}.index"):
        path = f"{path}.index"
    try:
        file = _File(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and error.errno in _NOT_MISSING:
            remedy = "; close some, or raise the limit (ulimit -n)" * (error.errno in (errno.EMFILE, errno.ENFILE))
            raise FormatError(path, f"cannot be opened: {reason}{remedy}") from None
        raise FileMissingError(
            f"{printable(path) or quoted(path)}: {reason}; pass the path of a weight file, or a model"
        ) from None
    if stat.S_ISDIR(file.kind):
        return Source(path, 0, file.fill, lambda name: _beside(path, name), path)
    if not stat.S_ISREG(file.kind):
        raise FileMissingError(f"{printable(path)}: this is a pipe, a socket or a device, not a regular file; pass a weight file")
    folder = os.path.dirname(path) or "."
    copy = file.copy if hasattr(os, "copy_file_range") else None
    return Source(path, file.stamp[0], file.fill, lambda name: _beside(folder, name), path, copy=copy)


def from_bytes(
    data: bytes, name: str = "bytes", beside: Callable[[str], Source] | None = None, within: Source | None = None
) -> Source:
    """Make a source of bytes in memory, which were read from `within`; without `beside` it has no sibling files."""

    def fill(offset: int, buffer: memoryview) -> None:
        buffer[:] = data[offset : offset + len(buffer)]

    def nothing(other: str) -> Source:
        raise FormatError(name, f"needs the file {quoted(other)} of the same folder, but bytes in memory have no folder")

    return Source(name, len(data), fill, beside or nothing, within=within)


_UNCHECKED_NS = 100_000  # reads this soon after a check are not checked again: a small read takes less than a check
_HELD: set[int] = set()
"""The descriptors that files hold. A model may have more shards than a process may have open files."""

_FEW = 8  # so many files may be held under any limit
_NOT_MISSING = frozenset((errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM))
"""What prevents that a file is opened which may well be there."""

_NOT_COPIED = frozenset((errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY))
"""What says that the system does not copy between two files, which may be read and written all the same."""

_Stamp = tuple[int, int, int, int]


def _may_hold() -> bool:
    """Whether one more file may be held open; others must be able to open files too, up to the limit of this process."""
    return len(_HELD) < _FEW <= sizes.OPEN_FILES or len(_HELD) < min(sizes.OPEN_FILES, _allowed())


@cache
def _allowed() -> int:
    """Return a quarter of the files that this process may open."""
    try:
        import resource
    except ImportError:  # not on Windows, which allows 512 or more
        return sizes.OPEN_FILES
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sizes.OPEN_FILES if most == resource.RLIM_INFINITY else most // 4


class _File:
    """A file that is read in one version only. It is open as long as a source reads from it, if few others are."""

    __slots__ = ("checked", "handle", "kind", "name", "path", "stamp")

    def __init__(self, path: str) -> None:
        self.handle: int | None = None
        self.name = path if isinstance(path, str) else os.fsdecode(path)
        self.path = os.path.abspath(path)  # another read must find it from another working directory too
        handle = _opened(path)
        self.kind, self.stamp = _version(handle)
        self.checked = monotonic_ns()
        if stat.S_ISREG(self.kind) and _may_hold():
            self.handle = handle
            _HELD.add(handle)
        else:
            os.close(handle)

    # bound here, since a file that a global holds until the interpreter exits may outlive the names of this module
    def __del__(self, held: set[int] = _HELD, close: Callable[[int], None] = os.close) -> None:
        if self.handle is not None:
            held.discard(self.handle)
            close(self.handle)

    def fill(self, offset: int, buffer: memoryview) -> None:
        if self.handle is None:
            self._fill_opened(offset, buffer)
            return
        self._fill_from(self.handle, offset, buffer)
        now = monotonic_ns()
        if now - self.checked > _UNCHECKED_NS:
            self._require_unchanged(self.handle)  # afterwards, so that a change during the read is noticed too
            self.checked = now

    def copy(self, offset: int, length: int, target: int, place: int) -> bool:
        """Copy bytes into another open file without reading them; False where they must be read, as between file systems.

        What was copied until then is worth nothing. Raises `FormatError` if this file has changed, and `OSError` if the other
        cannot be written, as on a full disk.
        """
        if self.handle is None:
            return False
        done = 0
        while done < length:
            piece = min(length - done, sizes.COPY_BYTES)
            try:
                count = os.copy_file_range(self.handle, target, piece, offset + done, place + done)
            except OSError as error:
                if error.errno in _NOT_COPIED:
                    return False
                raise
            if not count:  # the file ends here, which reading tells in words
                return False
            self._require_unchanged(self.handle)
            done += count
        return True

    def _fill_from(self, handle: int, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            # with an offset of its own each thread reads independently of the others
            count = os.preadv(handle, [buffer[done:]], offset + done)
            if not count:
                raise FormatError(self.name, "it became shorter while it was read", offset + done)
            done += count

    def _fill_opened(self, offset: int, buffer: memoryview) -> None:
        """Open the file for this read; the path may lead to another file by now."""
        try:
            handle = _opened(self.path)
        except OSError as error:
            raise FormatError(self.name, f"cannot be opened again: {error.strerror}") from None
        try:
            self._require_unchanged(handle)
            self._fill_from(handle, offset, buffer)
            self._require_unchanged(handle)
        finally:
            os.close(handle)

    def _require_unchanged(self, handle: int) -> None:
        if _version(handle)[1] != self.stamp:
            raise FormatError(self.name, "has changed since it was opened; open it again")


def _opened(path: str) -> int:
    """Return a descriptor; without O_NONBLOCK, opening a FIFO would wait for its writer."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def _version(handle: int) -> tuple[int, _Stamp]:
    """Return the kind of a file and its version: size, time of the last change in ns, and identity.

    A file that is written in place has another time, and one that took its name another identity.
    """
    status = os.fstat(handle)
    return status.st_mode, (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def checked_name(folder: str, name: str) -> str:
    """Return the name by which a file refers to a sibling.

    Raises `UnsafeFileError` if it leads out of the folder, and `FormatError` for one that no file can have.
    """
    outside = ".." in name.split("/") or any(mark in name for mark in "\\\0:") or os.path.isabs(name)
    if not name.strip() or outside:
        raise UnsafeFileError(folder, f"names the file {name!r}, which leads out of the folder")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise FormatError(folder, f"names the file {quoted(name)}, which is not valid Unicode") from None
    return name


def _beside(folder: str, name: str) -> Source:
    """Open a sibling file by name; links may lead only to the blobs of the Hub's cache."""
    home = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(folder, checked_name(folder, name)))
    snapshots, revision = os.path.split(home)
    blobs = os.path.join(os.path.dirname(snapshots), "blobs")  # models--x/snapshots/<revision>/file -> ../../blobs/<hash>
    cached = os.path.basename(snapshots) == "snapshots" and revision and os.path.dirname(real) == blobs
    if not real.startswith(home + os.sep) and not cached:
        raise UnsafeFileError(folder, f"names the file {name!r}, which is a link that leads out of the folder")
    return open_path(os.path.join(folder, name))


def open_regular(path: str) -> BufferedReader:
    """Open a file that a folder holds beside weights. Raises `OSError` for a pipe or a device, which may never end."""
    handle = _opened(path)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is a pipe, a socket or a device, not a regular file", path)
    return os.fdopen(handle, "rb")
