"""An inert pickle machine: it reads all that a pickle says and does nothing of it.

Every opcode of protocols 0 to 5 is understood except those that reach outside the stream. A class or a
function becomes its name, a call becomes a `Record` of what would be called with which arguments, a
persistent id becomes a `Persistent`. Nothing is imported and nothing is called. What the records mean is for
others to say, by name. Work and memory are bounded by the size of the stream.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.codecs.inert import Blob, Global, Persistent, Record, added, as_key, cost, made
from steelyard.errors import FormatError, UnsafeFileError, printable

if TYPE_CHECKING:
    from steelyard.core.source import Source

    Handler = Callable[["Machine"], bool | None]
    AfterBuild = Callable[["Machine", Record], Any]

STEPS = 5_000_000
"""Opcodes that the pickles of one file may take together."""
MARKS = 10_000
"""How deep unfinished lists, tuples and dicts may lie in one another."""
TEXT = 1 << 28
"""Bytes that one text may take; protocol 2 writes the numbers of an array as one."""
DIGITS = 4300
"""Digits that a number written as text may take."""
LONG = 4096
"""Bytes that a number may take; longer ones stay bytes."""
KEPT = 1024
"""Bytes from which on a run of bytes is left in the file until it is asked for."""
WINDOW = 1 << 17
MARGIN = 4096
PADDING = bytes(16)
HIGHEST_PROTOCOL = 5


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

    def __init__(self, source: Source, after_build: AfterBuild | None = None, steps: int = STEPS) -> None:
        self.source = source
        self.after_build = after_build
        self.steps = steps
        self.globals: dict[tuple[str, str], Global] = {}
        self.records: list[Record] = []
        self.references: list[Persistent] = []
        self.dims: dict[bytes, tuple[int, ...]] = {}
        self.data = b""
        self.copied = 0
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
        for step in range(self.steps):  # noqa: B007 - counted when the pickle stops
            at = self.at
            if at >= self.edge:
                self._window(self.base + at)
                at = self.at
            self.at = at + 1
            if handlers[self.data[at]](self):
                self.steps -= step + 1
                return self.stack.pop()
        raise self.error(f"the pickles take more than {STEPS:,} steps; refused")

    def nested(self, offset: int) -> Machine:
        """Return a machine for a pickle inside this one, on the same budget; `joined` takes it back."""
        return Machine(self.source.part(offset, self.source.size - offset), self.after_build, self.steps)

    def joined(self, inner: Machine, offset: int) -> None:
        """Go on behind a nested pickle that began at `offset`."""
        self.steps = inner.steps
        self.records += inner.records
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
        if length > TEXT:
            raise self.error(f"a text claims {length:,} bytes, more than {TEXT:,}")
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
            rest = self.source.read(self.offset, min(WINDOW, self.source.size - self.offset))
            end = rest.find(b"\n")
            if end < 0:
                raise self.error("a line of the pickle does not end")
            self.at = at + end + 1
            return rest[:end]
        self.at = end + 1
        return self.data[at:end]

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


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _digits(machine: Machine) -> int:
    line = machine.line()
    if len(line) > DIGITS:
        raise machine.error(f"a number takes {len(line):,} digits")
    return int(line.removesuffix(b"L"))


def _int(machine: Machine) -> None:
    if machine.data[machine.at : machine.at + 3] in (b"00\n", b"01\n"):
        machine.stack.append(machine.line() == b"01")
    else:
        machine.stack.append(_digits(machine))


def _float(machine: Machine) -> None:
    line = machine.line()
    if len(line) > DIGITS:
        raise machine.error(f"a number takes {len(line):,} digits")
    machine.stack.append(float(line))


def _long(machine: Machine, length: int) -> None:
    if length > LONG:
        machine.stack.append(machine.blob(length))
    else:
        machine.stack.append(int.from_bytes(machine.take(length), "little", signed=True))


def _string(machine: Machine) -> None:
    import codecs  # the text protocol of Python 2 is rare

    line = machine.line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise machine.error("a text lacks its quotes")
    machine.stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))  # type: ignore[attr-defined]


def _python2_text(machine: Machine, length: int) -> None:
    """A Python 2 `str` is text or bytes; Latin-1 keeps both."""
    found = machine.blob(length)
    machine.stack.append(found.decode("latin-1") if isinstance(found, bytes) else found)


def _binint(machine: Machine) -> None:
    machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True))


def _binint1(machine: Machine) -> None:
    machine.stack.append(machine.data[machine.at])
    machine.at += 1


def _binput(machine: Machine) -> None:
    machine.memo[machine.data[machine.at]] = machine.stack[-1]
    machine.at += 1


def _long_binput(machine: Machine) -> None:
    at = machine.at
    machine.memo[int.from_bytes(machine.data[at : at + 4], "little")] = machine.stack[-1]
    machine.at = at + 4


def _binget(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.data[machine.at]])
    machine.at += 1


def _mark(machine: Machine) -> None:
    """Begin a list of items, or take as many tensors as follow one another in one step each."""
    if machine.data[machine.at] == 0x28:
        found = _TENSOR(machine.data, machine.at)
        if found and found[3][0] == len(found[4]):
            _tensors(machine, found)
            return
    if len(machine.marks) >= MARKS:
        raise machine.error(f"more than {MARKS:,} lists lie in one another")
    machine.marks.append(len(machine.stack))


_WORD, _NUMBER = rb"(h.|j....)", rb"(?:K.|M..|J...[\x00-\x7f])"
_DIMS = rb"((?:%b){1,3}[\x85-\x87]|\((?:%b){4,8}t)r(....)" % (_NUMBER, _NUMBER)
_ARGUMENTS = rb"\(%b%bX(.)\0\0\0(\d{1,18})r(....)%b(%b)tr(....)Q(%b)%b%b([\x88\x89])%b\)Rr(....)tr(....)Rr(....)" % (
    *(_WORD, _WORD, _WORD),
    *(_NUMBER, _NUMBER, _DIMS, _DIMS, _WORD),
)
_TENSOR = re.compile(_ARGUMENTS, re.DOTALL).match
"""The arguments of `torch._utils._rebuild_tensor_v2` as `torch.save` writes each but the first few: some 30 opcodes."""
_ITEM = re.compile(rb"X(....)([ -~]+)r(....)%b\(%b" % (_WORD, _ARGUMENTS), re.DOTALL).match
"""A name and a tensor, as they follow one another in a state_dict."""
_PUTS = struct.Struct("<7L").unpack


def _tensors(machine: Machine, found: re.Match[bytes]) -> None:
    """Do at once what the opcodes of `_TENSOR` and `_ITEM` do one by one: ten thousand tensors are listed in a blink."""
    stack, memo = machine.stack, machine.memo
    stack.append(_tensor(machine, stack.pop(), found.groups()))
    machine.at = found.end()
    while item := _ITEM(machine.data, machine.at):
        size, name, put, rebuild, *fields = item.groups()
        if int.from_bytes(size, "little") != len(name) or fields[2][0] != len(fields[3]):
            return
        text = memo[int.from_bytes(put, "little")] = name.decode()
        stack += (text, _tensor(machine, _get(memo, rebuild), fields))
        machine.at = item.end()


def _tensor(machine: Machine, target: Any, fields: Sequence[bytes]) -> Any:
    kind, place, _, key, put1, device, numel, put2, offset, shape, put3, stride, put4, flag, hooks, put5, put6, put7 = fields
    memo, dims = machine.memo, machine.dims
    into1, into2, into3, into4, into5, into6, into7 = _PUTS(put1 + put2 + put3 + put4 + put5 + put6 + put7)
    text = key.decode()
    (count,) = dims.get(numel) or _dims(dims, numel)
    identity = (_get(memo, kind), _get(memo, place), text, _get(memo, device), count)
    memo[into1] = text
    memo[into2] = identity
    size = memo[into3] = dims.get(shape) or _dims(dims, shape)
    step = memo[into4] = dims.get(stride) or _dims(dims, stride)
    nothing = memo[into5] = machine.call(_get(memo, hooks), ())
    (start,) = dims.get(offset) or _dims(dims, offset)
    args = memo[into6] = (machine.refer(identity), start, size, step, flag == b"\x88", nothing)
    record = memo[into7] = machine.call(target, args)
    return record


def _get(memo: dict[int, Any], word: bytes) -> Any:
    return memo[word[1] if len(word) == 2 else int.from_bytes(word[1:], "little")]


def _dims(known: dict[bytes, tuple[int, ...]], text: bytes) -> tuple[int, ...]:
    """Return the numbers of a run of number opcodes; shapes repeat, so each is read once."""
    found = known[text] = tuple(int.from_bytes(word[1:], "little") for word in _NUMBERS(text.removeprefix(b"(")))
    return found


_NUMBERS = re.compile(_NUMBER, re.DOTALL).findall


def _append(machine: Machine, items: list[Any]) -> None:
    added(machine.stack[-1], items)


def _setitems(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if len(items) % 2:
        raise machine.error("a dict gets a key without a value")
    pairs = target if type(target) is dict else target.entries if isinstance(target, Record) else None
    if pairs is None:
        raise machine.error(f"a {printable(type(target).__name__)} gets items as if it were a dict")
    for place in range(0, len(items), 2):
        pairs[as_key(items[place])] = items[place + 1]


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if isinstance(target, Record):
        target.built(state)
        if machine.after_build:
            machine.stack[-1] = machine.after_build(machine, target)
    elif type(target) is not dict:  # an OrderedDict may have attributes, of which none is a weight
        raise machine.error(f"a {printable(type(target).__name__)} gets a state as if it were an object")


def _reduce(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)


def _newobj_ex(machine: Machine) -> None:
    kwargs, args = machine.stack.pop(), machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], (*args, kwargs) if kwargs else args)


def _inst(machine: Machine) -> None:
    named = machine.named(machine.line().decode("utf-8", "replace"), machine.line().decode("utf-8", "replace"))
    machine.stack.append(machine.call(named, tuple(machine.since_mark())))


def _obj(machine: Machine) -> None:
    target, *args = machine.since_mark()
    machine.stack.append(machine.call(target, tuple(args)))


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.stack.append(machine.named(module.decode("utf-8", "replace"), name.decode("utf-8", "replace")))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise machine.error("the name of a class or function is no text")
    machine.stack.append(machine.named(module, name))


def _tuple(count: int) -> Handler:
    def handler(machine: Machine) -> None:
        stack = machine.stack
        if len(stack) < count:
            raise IndexError
        stack[-count:] = [tuple(stack[-count:])]

    return handler


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()  # as Python does: a mark may be popped like a value
    else:
        machine.stack.pop()


def _proto(machine: Machine) -> None:
    version = machine.number(1)
    if version > HIGHEST_PROTOCOL:
        raise machine.error(f"the pickle is of protocol {version}, which does not exist")


def _outside(machine: Machine) -> None:
    raise UnsafeFileError(machine.source.name, "the pickle takes objects from outside the file", machine.offset - 1)


def _unknown(machine: Machine) -> None:
    if machine.offset > machine.source.size:
        raise machine.error("the pickle is cut (partial download?)")
    raise machine.error(f"byte {machine.data[machine.at - 1]:#04x} is no opcode of a pickle")


def _table() -> list[Handler]:
    """One short function for each opcode; those that only push are written here."""

    def push(make: Callable[[Machine], Any]) -> Handler:
        return lambda m: m.stack.append(make(m))

    known: dict[bytes, Handler] = {
        b"(": _mark,
        b".": lambda m: True,
        b"0": _pop,
        b"1": lambda m: m.since_mark() and None,
        b"2": push(lambda m: m.stack[-1]),
        b"N": push(lambda m: None),
        b"\x88": push(lambda m: True),
        b"\x89": push(lambda m: False),
        b"I": _int,
        b"L": push(_digits),
        b"F": _float,
        b"J": _binint,
        b"K": _binint1,
        b"M": push(lambda m: m.number(2)),
        b"\x8a": lambda m: _long(m, m.number(1)),
        b"\x8b": lambda m: _long(m, m.number(4)),
        b"G": push(lambda m: struct.unpack(">d", m.take(8))[0]),
        b"S": _string,
        b"T": lambda m: _python2_text(m, m.number(4)),
        b"U": lambda m: _python2_text(m, m.number(1)),
        b"V": push(lambda m: m.line().decode("raw-unicode-escape")),
        b"X": push(lambda m: m.text(m.number(4))),
        b"\x8c": push(lambda m: m.text(m.number(1))),
        b"\x8d": push(lambda m: m.text(m.number(8))),
        b"B": push(lambda m: m.blob(m.number(4))),
        b"C": push(lambda m: m.blob(m.number(1))),
        b"\x8e": push(lambda m: m.blob(m.number(8))),
        b"\x96": push(lambda m: m.blob(m.number(8))),
        b"]": push(lambda m: []),
        b"}": push(lambda m: {}),
        b")": push(lambda m: ()),
        b"\x8f": push(lambda m: []),  # a set is a list here: nothing in it needs a hash
        b"l": push(lambda m: m.since_mark()),
        b"t": push(lambda m: tuple(m.since_mark())),
        b"\x91": push(lambda m: tuple(m.since_mark())),
        b"\x85": _tuple(1),
        b"\x86": _tuple(2),
        b"\x87": _tuple(3),
        b"a": lambda m: _append(m, [m.stack.pop()]),
        b"e": lambda m: _append(m, m.since_mark()),
        b"\x90": lambda m: _append(m, m.since_mark()),
        b"s": lambda m: _setitems(m, [m.stack.pop(-2), m.stack.pop()]),
        b"u": lambda m: _setitems(m, m.since_mark()),
        b"p": lambda m: _put(m, _digits(m)),
        b"q": _binput,
        b"r": _long_binput,
        b"\x94": lambda m: _put(m, len(m.memo)),
        b"g": push(lambda m: m.memo[_digits(m)]),
        b"h": _binget,
        b"j": push(lambda m: m.memo[m.number(4)]),
        b"c": _global,
        b"\x93": _stack_global,
        b"P": push(lambda m: m.refer(m.line().decode("utf-8", "replace"))),
        b"Q": push(lambda m: m.refer(m.stack.pop())),
        b"R": _reduce,
        b"\x81": _reduce,
        b"\x92": _newobj_ex,
        b"i": _inst,
        b"o": _obj,
        b"b": _build,
        b"\x80": _proto,
        b"\x95": lambda m: m.number(8) and None,
        b"\x82": _outside,
        b"\x83": _outside,
        b"\x84": _outside,
        b"\x97": _outside,
        b"\x98": _outside,
    }

    def dict_of(machine: Machine) -> None:
        items = machine.since_mark()
        machine.stack.append({})
        _setitems(machine, items)

    known[b"d"] = dict_of
    return [known.get(bytes([code]), _unknown) for code in range(256)]


HANDLERS = _table()
