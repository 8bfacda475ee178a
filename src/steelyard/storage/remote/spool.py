"""The bytes of a file that was fetched whole, in a temporary file without a name, which ends with its last reader."""

from __future__ import annotations

import os

from steelyard.errors import FormatError


class Spool:
    """Bytes that are written once, one after another, and then read from any place by any thread; `size` is their number."""

    __slots__ = ("_file", "name", "size")

    def __init__(self, name: str) -> None:
        from tempfile import TemporaryFile

        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - it is open as long as this
        self.name = name
        self.size = 0

    def __del__(self) -> None:
        self._file.close()

    def add(self, piece: bytes | memoryview) -> None:
        """Append bytes."""
        view = memoryview(piece)
        while view:
            done = self._file.write(view)
            view = view[done:]
            self.size += done

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from `offset`."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._file.fileno(), [buffer[done:]], offset + done)
            if not count:
                raise FormatError(self.name, "ends before the bytes that are needed", offset + done)
            done += count
