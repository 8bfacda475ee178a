"""An inert pickle machine: it reads all that a pickle says and does nothing of it.

Every opcode of protocols 0 to 5 is understood except those that reach outside the stream. A class or a
function becomes its name, a call becomes a `Record` of what would be called with which arguments, a
persistent id becomes a `Persistent`. Nothing is imported and nothing is called. What the records mean is for
others to say, by name. Work and memory are bounded by the size of the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.opcodes import HANDLERS
from steelyard.codecs.pickle.values import Blob, Global, Persistent, Record, cost, made
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    AfterBuild = Callable[["Machine", Record], Any]

KEPT = 1024
"""Bytes from which on a run of bytes is left in the file until it is asked for."""
WINDOW = 1 << 17
MARGIN = 4096
PADDING = bytes(16)


class Machine:
    """Runs the pickles of one source. `offset` is where the last one ended, `records` what it would have called.

    `after_build` is told each time that an object has got its state, and may give something else for it:
    joblib writes an array's bytes right behind the state of a wrapper. `steps` is what is left of the budget.
    """

    __slots__ = (
        "after_build",
        "at",
        "base",
        "copied",
        "data",
        "depth",
        "dims",
        "edge",
        "filled",
        "globals",
        "marks",
        "memo",
        "records",
        "references",
        "source",
        "stack",
        "steps",
    )

    def __init__(self, source: Source, after_build: AfterBuild | None = None, steps: int | None = None) -> None:
        self.source = source
        self.after_build = after_build
        self.steps = limits.PICKLE_STEPS if steps is None else steps
        self.globals: dict[tuple[str, str], Global] = {}
        self.records: list[Record] = []
        self.references: list[Persistent] = []
        self.dims: dict[bytes, tuple[int, ...]] = {}
        self.data = b""
        self.copied = self.depth = 0
        self.base = self.at = self.edge = self.filled = 0
        self._start()

    def _start(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    @property
    def offset(self) -> int:
        """Where in the source the next opcode is."""
        return self.base + self.at

    def load(self, offset: int = 0) -> Any:
        """Run one pickle from `offset` on, and return what it stands for. Raises `FormatError`."""
        self._start()
        self._window(offset)
        try:
            return self._run()
        except FormatError:
            raise
        except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
            what = "takes something from an empty stack or memo" if isinstance(error, LookupError) else printable(error)
            raise self.error(f"the pickle is damaged: it {what}") from None

    def _run(self) -> Any:
        handlers = HANDLERS
        for step in range(self.steps):
            at = self.at
            if at >= self.edge:
                self._window(self.base + at)
                at = self.at
            self.at = at + 1
            if handlers[self.data[at]](self):
                self.steps -= step + 1
                return self.stack.pop()
        raise self.error(f"the pickles take more than {limits.PICKLE_STEPS:,} steps; refused")

    def nested(self, offset: int) -> Machine:
        """Return a machine for a pickle inside this one, on the same budget; `joined` takes it back."""
        inner = Machine(self.source.part(offset, self.source.size - offset), self.after_build, self.steps)
        inner.depth = self.depth + 1
        return inner

    def joined(self, inner: Machine, offset: int) -> None:
        """Go on behind a nested pickle that began at `offset`."""
        self.steps = inner.steps
        self.records += inner.records
        self.references += inner.references
        self.globals |= inner.globals
        self.skip_to(offset + inner.offset)

    def skip_to(self, offset: int) -> None:
        """Go on at another place of the source."""
        self.at = offset - self.base

    def error(self, what: str) -> FormatError:
        """Make the error that says where the machine is."""
        return FormatError(self.source.name, what, self.offset)

    def _window(self, offset: int) -> None:
        """Hold the bytes from `offset` on; zeros behind the last ones let every opcode look ahead."""
        size = self.source.size
        if offset >= size:
            raise FormatError(self.source.name, f"the pickle ends at byte {size:,} without its last word (partial download?)")
        length = min(WINDOW, size - offset)
        self.data = self.source.read(offset, length) + PADDING
        self.base, self.at, self.filled = offset, 0, length
        self.edge = length if offset + length == size else length - MARGIN

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
        if length > limits.PICKLE_TEXT:
            raise self.error(f"a text claims {length:,} bytes, more than {limits.PICKLE_TEXT:,}")
        return self.take(length).decode("utf-8", "surrogatepass")

    def blob(self, length: int) -> bytes | Blob:
        """Return the next bytes, or where they lie if they are many."""
        if length < KEPT:
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
        """Look for a line's end beyond the window; protocol 0 writes the numbers of an array as one line."""
        left = min(self.source.size - self.offset, limits.PICKLE_TEXT)
        length = min(WINDOW, left)
        while True:
            rest = self.source.read(self.offset, length)
            end = rest.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return rest[:end]
            if length >= left:
                raise self.error("a line of the pickle does not end")
            length = min(8 * length, left)

    def since_mark(self) -> list[Any]:
        """Take what lies on the stack since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def named(self, module: str, name: str) -> Global:
        """Return the name of a class or function, one object for each."""
        key = (module, name)
        found = self.globals.get(key)
        if found is None:
            found = self.globals[key] = Global(module, name)
        return found

    def refer(self, key: Any) -> Persistent:
        """Note a reference to something outside the pickle."""
        reference = Persistent(key)
        self.references.append(reference)
        return reference

    def call(self, target: Any, args: Any) -> Any:
        """Note what would be called; the few calls that stand for plain data become it."""
        if target.__class__ is Global and target.plain:
            self.copied += cost(args)
            if self.copied > 4 * self.source.size:
                raise self.error("the pickle copies the same things again and again; refused")
            data = made(target, args)
            if data is not None:
                return data
        record = Record(target, args)
        self.records.append(record)
        return record
