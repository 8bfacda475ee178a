"""An inert pickle machine: it decodes a pickle without importing or calling anything.

It knows every opcode of protocols 0 to 5, and refuses those that reach outside the stream. A class or function becomes
a `Global`, a call a `Record` of its target and arguments, a persistent id a `Persistent`. Other modules interpret the
records, by name. Work and memory are bounded by the size of the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.fast_values import run_plain_values
from steelyard.codecs.pickle.opcodes import HANDLERS
from steelyard.codecs.pickle.stream import PickleStream
from steelyard.codecs.pickle.values import Blob, Global, Persistent, Record, copy_cost, plain_data
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.storage.source import Source

    AfterBuild = Callable[["Machine", Record], Pickled]

OPCODES = 1000
"""The opcodes that run between two charges to the budget."""
OPCODE_COST = 48
"""bytes of memory that an opcode takes: few make a list or a dict of 90, or a place in the memo of 100; and the time to run it"""
ARGUMENT_COST = 40
"""bytes of memory that an argument of a call, or a key of a state, is charged as, for an audit's time to look at it"""
NAMING_COST = 200
"""bytes of memory that each use of a name is charged as, for an audit's time to count it"""
OUTLINES = 8
"""Pickles of a source, shorter than an outline pays off for, after which none is outlined: for each a megabyte is read."""
FAST_THRESHOLD = 1 << 13
"""Bytes of a pickle above which compiling the pattern of a tensor pays off."""


class Log:
    """What a machine meets, for an audit, each with its byte.

    With a log that `goes_on`, a machine goes on where a loader might, and charges what judging will take. The log of a reader
    does neither, so that it reads as without one; `owed` is what the audit is to charge.

    `calls` are the recorded calls with their opcodes, except those of tensors in the usual form and of plain data. `states`
    are the values that are given a state, and `fillings` those, other than lists and dicts, that are given items. `names` has
    the byte of the first use of each name, `uses` the number of uses, `held` all byte strings.
    """

    __slots__ = ("calls", "fillings", "goes_on", "held", "names", "owed", "states", "uses")

    def __init__(self, *, goes_on: bool = True) -> None:
        self.goes_on = goes_on
        self.owed = 0
        self.calls: list[tuple[Record, str, int]] = []
        self.states: list[tuple[Pickled, Pickled, int]] = []
        self.fillings: list[tuple[Pickled, int]] = []
        self.names: dict[tuple[str, str], int] = {}
        self.uses: dict[tuple[str, str], int] = {}
        self.held: list[tuple[bytes | Blob, int]] = []


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
    """Runs the pickles of one source, whose bytes are in `stream`. After `load`, `offset` is where the pickle ended.

    `records` are the calls that a loader would make, `references` the persistent ids, and `states` the attributes of dicts, all
    in order. `after_build` is called with each record that is given its state, and may replace it: joblib writes the bytes of
    an array right after the state of a wrapper. `is_fast` lets `fast_tensors` take many opcodes in a step; `left` is the number
    of opcodes that are paid for. With `outlines`, the root of a long pickle of plain values is enough, and comes from `outline`.
    `log` is None unless an audit asks for one; its bytes count from `origin`, the place of the source in the file of the log.
    """

    __slots__ = (
        "after_build",
        "depth",
        "dims",
        "globals",
        "is_fast",
        "left",
        "log",
        "marks",
        "memo",
        "origin",
        "outlines",
        "records",
        "references",
        "stack",
        "states",
        "stream",
    )

    def __init__(
        self, source: Source, after_build: AfterBuild | None = None, log: Log | None = None, *, outlines: bool = False
    ) -> None:
        self.stream: PickleStream = PickleStream(source)
        self.log = log
        self.origin = 0
        self.outlines = OUTLINES if outlines else 0
        self.after_build = after_build
        self.is_fast = source.size > FAST_THRESHOLD
        self.globals: dict[tuple[str, str], Global] = {}
        self.records: list[Record] = []
        self.references: list[Persistent] = []
        self.states: list[tuple[dict[Key, Pickled], Pickled]] = []
        self.dims: dict[bytes, tuple[int, ...]] = {}
        self.depth = 0
        self.left = 0
        self._start()

    def _start(self) -> None:
        self.stack: list[Pickled] = []
        self.marks: list[int] = []
        self.memo: dict[int, Pickled] = {}

    def begin_log(self) -> Log:
        """Note what is met from here on, and read as without a log."""
        self.log = Log(goes_on=False)
        return self.log

    @property
    def offset(self) -> int:
        """The place in the source where the next pickle begins."""
        return self.stream.offset

    def load(self, offset: int = 0) -> Pickled:
        """Run the pickle that begins at `offset`, and return its root. Raises `FormatError`."""
        self._start()
        if self.outlines:
            from steelyard.codecs.pickle.outline import THRESHOLD, outline

            found = outline(self.stream.source, offset, self.stream.budget)
            self.outlines -= found is None or found[1] - offset < THRESHOLD
            if found is not None:
                self.stream.leave(found[1])
                return found[0]
        self.stream.go_to(offset)
        try:
            return self._run()
        except FormatError:
            raise
        except (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error) as error:
            what = "takes a value from an empty stack or memo" if isinstance(error, LookupError) else printable(error)
            raise self.stream.error(f"the pickle is damaged: it {what}") from None

    def _run(self) -> Pickled:
        handlers, stream = HANDLERS, self.stream
        self.left = 0
        try:
            while True:
                stream.budget.spend(OPCODES * OPCODE_COST, stream.offset)
                self.left = OPCODES
                while self.left > 0:
                    run_plain_values(self, handlers)
                    at = stream.at
                    if at >= stream.edge:
                        stream.window(stream.base + at)
                    elif self.left > 0:
                        self.left -= 1
                        stream.at = at + 1
                        if handlers[stream.data[at]](self):
                            return self.stack.pop()
        finally:
            stream.budget.owe(-self.left * OPCODE_COST)  # only those that ran are charged

    @property
    def is_plain(self) -> bool:
        """Whether numbers, texts, a few bytes and containers are all that was loaded, so that nothing can be an array."""
        return not (self.records or self.references or self.globals or self.stream.has_bytes)

    def nested(self, offset: int) -> Machine:
        """Return a machine for a pickle inside this one; `resume` continues after it."""
        source = self.stream.source
        inner = Machine(source.part(offset, source.size - offset), self.after_build)
        inner.depth = self.depth + 1
        inner.log, inner.origin = self.log, self.origin + offset
        inner.records, inner.references, inner.globals = self.records, self.references, self.globals
        return inner

    def resume(self, inner: Machine, offset: int) -> None:
        """Continue after a nested pickle that began at `offset`."""
        self.stream.skip_to(offset + inner.offset)

    def since_mark(self) -> list[Pickled]:
        """Pop the values above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def named(self, module: str, name: str) -> Global:
        """Return the one `Global` of a class or function."""
        key = (module, name)
        known = self.globals.get(key)
        if known is None:
            self.stream.budget.spend(2 * (len(module) + len(name)), self.stream.offset)
            known = self.globals[key] = Global(module, name)
            if self.log is not None:
                self.log.names[key] = self.place
        if self.log is not None:
            self._charge(NAMING_COST, self.log)
            self.log.uses[key] = self.log.uses.get(key, 0) + 1
        return known

    def _charge(self, cost: int, log: Log) -> None:
        """Charge what judging an entry of the log takes, now or to the audit that asks for the log."""
        if log.goes_on:
            self.stream.budget.spend(cost, self.stream.offset)
        else:
            log.owed += cost

    @property
    def place(self) -> int:
        """The byte of the opcode, or of the last byte of its arguments, in the file of the log."""
        return self.origin + self.stream.offset - 1

    def hold(self, data: bytes | Blob) -> bytes | Blob:
        """Return a byte string, after noting it in the log."""
        if self.log is not None:
            self.log.held.append((data, self.place - len(data) + 1))
        return data

    def note_state(self, target: Pickled, state: Pickled) -> None:
        """Note a state in the log of an audit, which looks at its keys."""
        if self.log is not None:
            parts = state if type(state) is tuple else (state,)
            keys = sum(len(part) for part in parts if type(part) is dict)
            self._charge(ARGUMENT_COST * (len(parts) + keys), self.log)
            self.log.states.append((target, state, self.place))

    def refer(self, key: Pickled) -> Persistent:
        """Record a reference to something outside the pickle."""
        reference = Persistent(key)
        self.references.append(reference)
        return reference

    def call(self, target: Pickled, args: Pickled, how: str = "REDUCE") -> Pickled:
        """Record a call; a call that makes plain data becomes the data."""
        if target.__class__ is Global and target.plain:
            self.stream.budget.spend(copy_cost(args), self.stream.offset)
            data = plain_data(target, args)
            if data is not None:
                return self.hold(data) if self.log is not None and isinstance(data, (bytes, Blob)) else data
        record = Record(target, args)
        self.records.append(record)
        if self.log is not None:
            if type(args) is tuple:
                self._charge(ARGUMENT_COST * len(args), self.log)
            self.log.calls.append((record, how, self.place))
        return record
