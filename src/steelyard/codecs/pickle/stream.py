"""The bytes of a pickle: a cursor that takes the arguments of opcodes, and the window of the source around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.values import NESTED_THRESHOLD, Blob
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

BLOB_THRESHOLD = 1024
"""Byte strings at least this long are not loaded until they are read."""
LONG_TEXT = 1 << 12
"""Texts longer than this are charged to the budget; shorter ones take less than their opcodes are charged."""
WINDOW = 1 << 17
"""Bytes of the pickle that are held at a time."""
MARGIN = 4096
"""The next window is read when fewer bytes than this are left, so that `fast_tensors` rarely sees a cut tensor."""
PADDING = bytes(16)


# `data` holds a window of the source, padded with zeros; all other numbers count its bytes:
#   base          the place of data[0] in the source
#   at            the next byte; opcodes with short arguments read `data` here, and advance it themselves
#   edge          where the next window is due
#   filled        the end of the window, where the padding begins
class PickleStream:
    """A cursor in a source, which takes the next bytes of a pickle; `offset` is their place.

    `has_bytes` is whether byte strings that may hold something were among them.
    """

    __slots__ = ("at", "base", "budget", "data", "edge", "filled", "has_bytes", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self.data = b""
        self.has_bytes = False
        self.base = self.at = self.edge = self.filled = 0

    @property
    def offset(self) -> int:
        """The place of the next opcode in the source."""
        return self.base + self.at

    def window(self, offset: int) -> None:
        """Hold the bytes that begin at `offset`, padded with zeros so that every opcode may look ahead."""
        size = self.source.size
        if offset >= size:
            raise FormatError(self.source.name, f"the pickle ends at byte {size:,} without its STOP opcode (partial download?)")
        length = min(WINDOW, size - offset)
        self.data = self.source.read(offset, length) + PADDING
        self.base, self.at, self.filled = offset, 0, length
        self.edge = length if offset + length == size else length - MARGIN

    def go_to(self, offset: int) -> None:
        """Continue at `offset`, in the same window if it is there: a file may be thousands of short pickles."""
        if self.base <= offset < self.base + self.edge:
            self.at = offset - self.base
        else:
            self.window(offset)

    def leave(self, offset: int) -> None:
        """Continue at `offset`, and hold nothing until then."""
        self.data, self.base = PADDING, offset
        self.at = self.edge = self.filled = 0

    def skip_to(self, offset: int) -> None:
        """Continue at another place in the source."""
        self.at = offset - self.base

    def error(self, what: str) -> FormatError:
        """Return an error that names the place of the next opcode."""
        return FormatError(self.source.name, what, self.offset)

    def take(self, length: int) -> bytes:
        """Return the next bytes of the stream."""
        at = self.at
        end = at + length
        block = self.data[at:end] if end <= self.filled else self.source.read(self.base + at, length)
        self.at = end
        return block

    def number(self, length: int) -> int:
        """Return the next bytes as a length or an index."""
        return int.from_bytes(self.take(length), "little")

    def text(self, length: int) -> str:
        """Return the next bytes as text."""
        if length > LONG_TEXT:
            left = self.source.size - self.offset
            if length > left:
                raise self.error(f"a text claims {length:,} bytes, but {left:,} are left (partial download?)")
            self.budget.spend(2 * length, self.offset)  # it is read, and then decoded
        return self.take(length).decode("utf-8", "surrogatepass")

    def blob(self, length: int) -> bytes | Blob:
        """Return the next bytes; a long run of them as a reference to the file."""
        self.has_bytes |= length >= NESTED_THRESHOLD
        if length < BLOB_THRESHOLD:
            return self.take(length)
        offset = self.offset
        if offset + length > self.source.size:
            raise self.error(f"{length:,} bytes are announced, but {self.source.size - offset:,} are left (partial download?)")
        self.at += length
        return Blob(self.source, offset, length)

    def line(self) -> bytes:
        """Return the bytes up to the next line end."""
        at = self.at
        end = self.data.find(b"\n", at, self.filled)
        if end < 0:
            return self._long_line()
        self.at = end + 1
        return self.data[at:end]

    def _long_line(self) -> bytes:
        """Search for the end of a line beyond the window; protocol 0 writes the numbers of an array as one line."""
        left = self.source.size - self.offset
        length = min(WINDOW, left)
        while True:
            self.budget.spend(2 * length, self.offset)
            rest = self.source.read(self.offset, length)
            end = rest.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return rest[:end]
            if length >= left:
                raise self.error("a line of the pickle does not end")
            length = min(8 * length, left)
