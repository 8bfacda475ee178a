"""An inert pickle machine: it decodes a pickle without importing or calling anything.

It knows every opcode of protocols 0 to 5, and refuses those that reach outside the stream. A class or function becomes
a `Global`, a call a `Record` of its target and arguments, a persistent id a `Persistent`. Other modules interpret the
records, by name. Work and memory are bounded by the size of the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.opcodes import HANDLERS
from steelyard.codecs.pickle.values import Blob, Global, Persistent, Record, copy_cost, plain_data
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.storage.source import Source

    AfterBuild = Callable[["Machine", Record], Pickled]

BLOB_THRESHOLD = 1024
"""Byte strings at least this long are not loaded until they are read."""
FAST_THRESHOLD = 1 << 13
"""Bytes of a pickle above which compiling the pattern of a tensor pays off."""
WINDOW = 1 << 17
"""Bytes of the pickle that are held at a time."""
MARGIN = 4096
"""The next window is read when fewer bytes than this are left, so that `fast_tensors` rarely sees a cut tensor."""
PADDING = bytes(16)


# A pickle is a sequence of opcodes of one byte, each with its arguments:
#   80 p          PROTO: the protocol p, 2 or later
#   95 n(8)       FRAME, since protocol 4: the next n bytes are one frame; readers may ignore it
#   ...           opcodes that push values, build containers, store values in the memo (PUT) and fetch them (GET)
#   63, 93        GLOBAL, STACK_GLOBAL: push a class or function by name
#   52, 81        REDUCE, NEWOBJ: pop arguments and a function, push the result of the call
#   62            BUILD: pop a state, give it to the object on the stack
#   51            BINPERSID: pop a persistent id, push what it refers to
#   2e            STOP: the top of the stack is the root
class Machine:
    """Runs the pickles of one source. After `load`, `offset` is where the pickle ended.

    `records` are the calls that a loader would make and `references` the persistent ids, both in order. `after_build` is
    called with each record that is given its state, and may replace it: joblib writes the bytes of an array right after
    the state of a wrapper. `steps` is the rest of the budget. `is_fast` lets `fast_tensors` take many opcodes in a step.
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
        "is_fast",
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
        self.is_fast = source.size > FAST_THRESHOLD
        self.globals: dict[tuple[str, str], Global] = {}
        self.records: list[Record] = []
        self.references: list[Persistent] = []
        self.dims: dict[bytes, tuple[int, ...]] = {}
        self.data = b""
        self.copied = self.depth = 0
        self.base = self.at = self.edge = self.filled = 0
        self._start()

    def _start(self) -> None:
        self.stack: list[Pickled] = []
        self.marks: list[int] = []
        self.memo: dict[int, Pickled] = {}

    @property
    def offset(self) -> int:
        """The place of the next opcode in the source."""
        return self.base + self.at

    def load(self, offset: int = 0) -> Pickled:
        """Run the pickle that begins at `offset`, and return its root. Raises `FormatError`."""
        self._start()
        self._window(offset)
        try:
            return self._run()
        except FormatError:
            raise
        except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
            what = "takes a value from an empty stack or memo" if isinstance(error, LookupError) else printable(error)
            raise self.error(f"the pickle is damaged: it {what}") from None

    def _run(self) -> Pickled:
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
        """Return a machine for a pickle inside this one, on the same budget; `resume` continues after it."""
        inner = Machine(self.source.part(offset, self.source.size - offset), self.after_build, self.steps)
        inner.depth = self.depth + 1
        return inner

    def resume(self, inner: Machine, offset: int) -> None:
        """Continue after a nested pickle that began at `offset`."""
        self.steps = inner.steps
        self.records += inner.records
        self.references += inner.references
        self.globals |= inner.globals
        self.skip_to(offset + inner.offset)

    def skip_to(self, offset: int) -> None:
        """Continue at another place in the source."""
        self.at = offset - self.base

    def error(self, what: str) -> FormatError:
        """Return an error that names the place of the next opcode."""
        return FormatError(self.source.name, what, self.offset)

    def _window(self, offset: int) -> None:
        """Hold the bytes that begin at `offset`, padded with zeros so that every opcode may look ahead."""
        size = self.source.size
        if offset >= size:
            raise FormatError(self.source.name, f"the pickle ends at byte {size:,} without its STOP opcode (partial download?)")
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
        """Return the next bytes; a long run of them as a reference to the file."""
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

    def since_mark(self) -> list[Pickled]:
        """Pop the values above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def named(self, module: str, name: str) -> Global:
        """Return the one `Global` of a class or function."""
        key = (module, name)
        found = self.globals.get(key)
        if found is None:
            found = self.globals[key] = Global(module, name)
        return found

    def refer(self, key: Pickled) -> Persistent:
        """Record a reference to something outside the pickle."""
        reference = Persistent(key)
        self.references.append(reference)
        return reference

    def call(self, target: Pickled, args: Pickled) -> Pickled:
        """Record a call; a call that makes plain data becomes the data."""
        if target.__class__ is Global and target.plain:
            self.copied += copy_cost(args)
            if self.copied > 4 * self.source.size:
                raise self.error("the pickle copies the same items again and again; refused")
            data = plain_data(target, args)
            if data is not None:
                return data
        record = Record(target, args)
        self.records.append(record)
        return record
