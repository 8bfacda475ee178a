"""The opcodes of pickle protocols 0 to 5, one short function for each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.fast_tensors import fast_tensors
from steelyard.codecs.pickle.values import Record, append, as_key, copy_cost
from steelyard.errors import UnsafeFileError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.values import Key, Pickled

    Handler = Callable[[Machine], bool | None]

HIGHEST_PROTOCOL = 5


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _digits(machine: Machine) -> int:
    line = machine.stream.line()
    if len(line) > limits.INTEGER_DIGITS:
        raise machine.stream.error(f"a number takes {len(line):,} digits")
    return int(line.removesuffix(b"L"))


def _int(machine: Machine) -> None:
    stream = machine.stream
    if stream.data[stream.at : stream.at + 3] in (b"00\n", b"01\n"):
        machine.stack.append(stream.line() == b"01")
    else:
        machine.stack.append(_digits(machine))


def _float(machine: Machine) -> None:
    line = machine.stream.line()
    if len(line) > limits.INTEGER_DIGITS:
        raise machine.stream.error(f"a number takes {len(line):,} digits")
    machine.stack.append(float(line))


def _long(machine: Machine, length: int) -> None:
    if length > limits.INTEGER_BYTES:
        machine.stack.append(machine.stream.blob(length))
    else:
        machine.stack.append(int.from_bytes(machine.stream.take(length), "little", signed=True))


def _string(machine: Machine) -> None:
    import codecs  # the text protocol of Python 2 is rare

    line = machine.stream.line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise machine.stream.error("a text lacks its quotes")
    machine.stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))


def _python2_text(machine: Machine, length: int) -> None:
    """Decode a Python 2 `str`, which is text or bytes; Latin-1 preserves both."""
    data = machine.hold(machine.stream.blob(length))
    machine.stack.append(data.decode("latin-1") if isinstance(data, bytes) else data)


def _binint(machine: Machine) -> None:
    machine.stack.append(int.from_bytes(machine.stream.take(4), "little", signed=True))


def _binint1(machine: Machine) -> None:
    stream = machine.stream
    machine.stack.append(stream.data[stream.at])
    stream.at += 1


def _binint2(machine: Machine) -> None:
    stream = machine.stream
    at = stream.at
    machine.stack.append(stream.data[at] | stream.data[at + 1] << 8)
    stream.at = at + 2


def _text(machine: Machine) -> None:
    machine.stack.append(machine.stream.text(machine.stream.number(4)))


def _tuple_of(machine: Machine) -> None:
    machine.stack.append(tuple(machine.since_mark()))


def _binput(machine: Machine) -> None:
    stream = machine.stream
    machine.memo[stream.data[stream.at]] = machine.stack[-1]
    stream.at += 1


def _long_binput(machine: Machine) -> None:
    stream = machine.stream
    at = stream.at
    machine.memo[int.from_bytes(stream.data[at : at + 4], "little")] = machine.stack[-1]
    stream.at = at + 4


def _binget(machine: Machine) -> None:
    stream = machine.stream
    machine.stack.append(machine.memo[stream.data[stream.at]])
    stream.at += 1


def _mark(machine: Machine) -> None:
    """Begin a list of items; if it begins the arguments of a tensor, that tensor and those that follow are one step each."""
    if machine.stream.data[machine.stream.at] == 0x28 and machine.is_fast:
        fast_tensors(machine)
    machine.marks.append(len(machine.stack))


def _append(machine: Machine, items: list[Pickled]) -> None:
    target = machine.stack[-1]
    if machine.log is not None and not isinstance(target, list):
        machine.log.fillings.append((target, machine.place))
        if machine.log.goes_on and not isinstance(target, Record):
            return
    append(target, items)


def _setitems(machine: Machine, items: list[Pickled]) -> None:
    target = machine.stack[-1]
    if machine.log is not None and not isinstance(target, dict):
        machine.log.fillings.append((target, machine.place))
        if machine.log.goes_on and not isinstance(target, Record):
            return
    if len(items) % 2:
        raise machine.stream.error("a dict gets a key without a value")
    pairs: dict[Key, Pickled]
    if isinstance(target, dict):
        pairs = target
    elif isinstance(target, Record):
        pairs = target.entries
    else:
        raise machine.stream.error(f"SETITEMS is applied to a {printable(type(target).__name__)}, which has no items")
    for place in range(0, len(items), 2):
        key = items[place]
        pairs[key if type(key) is str else as_key(key)] = items[place + 1]


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if machine.log is not None:
        machine.note_state(target, state)
    if isinstance(target, Record):
        machine.stream.budget.spend(target.build_cost(state))
        target.built(state)
        if machine.after_build:
            machine.stack[-1] = machine.after_build(machine, target)
    elif type(target) is dict:  # the attributes of an OrderedDict are not weights
        machine.states.append((target, state))
    elif machine.log is None or not machine.log.goes_on:
        raise machine.stream.error(f"BUILD is applied to a {printable(type(target).__name__)}, which has no state")


def _reduce(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)


def _newobj(machine: Machine) -> None:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args, "NEWOBJ")


def _newobj_ex(machine: Machine) -> None:
    kwargs, args = machine.stack.pop(), machine.stack.pop()
    if kwargs:
        machine.stream.budget.spend(copy_cost((args,)))
        args = (*(args if isinstance(args, (tuple, list)) else (args,)), kwargs)
    machine.stack[-1] = machine.call(machine.stack[-1], args, "NEWOBJ")


def _inst(machine: Machine) -> None:
    named = machine.named(machine.stream.line().decode("utf-8", "replace"), machine.stream.line().decode("utf-8", "replace"))
    machine.stack.append(machine.call(named, tuple(machine.since_mark()), "INST"))


def _obj(machine: Machine) -> None:
    target, *args = machine.since_mark()
    machine.stack.append(machine.call(target, tuple(args), "OBJ"))


def _global(machine: Machine) -> None:
    module, name = machine.stream.line(), machine.stream.line()
    machine.stack.append(machine.named(module.decode("utf-8", "replace"), name.decode("utf-8", "replace")))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise machine.stream.error("the name of a class or function is not text")
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


def _pop_mark(machine: Machine) -> None:
    machine.since_mark()


def _frame(machine: Machine) -> None:
    machine.stream.take(8)


def _proto(machine: Machine) -> None:
    version = machine.stream.number(1)
    if version > HIGHEST_PROTOCOL:
        raise machine.stream.error(f"the pickle is of protocol {version}, which does not exist")


def _outside(machine: Machine) -> None:
    raise UnsafeFileError(machine.stream.source.name, "the pickle takes objects from outside the file", machine.stream.offset - 1)


def unknown(machine: Machine) -> None:
    """Refuse a byte that is not an opcode. Raises `FormatError`."""
    stream = machine.stream
    if stream.offset > stream.source.size:
        raise stream.error("the pickle is cut (partial download?)")
    raise stream.error(f"byte {stream.data[stream.at - 1]:#04x} is not an opcode of a pickle")


def _dict(m: Machine) -> None:
    items = m.since_mark()
    m.stack.append({})
    _setitems(m, items)


_VALUES: dict[bytes, Callable[[Machine], Pickled]] = {
    b"2": lambda m: m.stack[-1],
    b"N": lambda _: None,
    b"\x88": lambda _: True,
    b"\x89": lambda _: False,
    b"L": _digits,
    b"G": lambda m: struct.unpack(">d", m.stream.take(8))[0],
    b"V": lambda m: m.stream.line().decode("raw-unicode-escape"),
    b"\x8c": lambda m: m.stream.text(m.stream.number(1)),
    b"\x8d": lambda m: m.stream.text(m.stream.number(8)),
    b"B": lambda m: m.hold(m.stream.blob(m.stream.number(4))),
    b"C": lambda m: m.hold(m.stream.blob(m.stream.number(1))),
    b"\x8e": lambda m: m.hold(m.stream.blob(m.stream.number(8))),
    b"\x96": lambda m: m.hold(m.stream.blob(m.stream.number(8))),
    b"]": lambda _: [],
    b"}": lambda _: {},
    b")": lambda _: (),
    b"\x8f": lambda _: [],  # a set is a list here: nothing in it needs a hash
    b"l": lambda m: m.since_mark(),
    b"g": lambda m: m.memo[_digits(m)],
    b"j": lambda m: m.memo[m.stream.number(4)],
    b"P": lambda m: m.refer(m.stream.line().decode("utf-8", "replace")),
    b"Q": lambda m: m.refer(m.stack.pop()),
}
"""The opcodes that push one value, and the function that makes it."""

_ACTIONS: dict[bytes, Handler] = {
    b"(": _mark,
    b".": lambda _: True,
    b"0": _pop,
    b"1": _pop_mark,
    b"I": _int,
    b"F": _float,
    b"J": _binint,
    b"K": _binint1,
    b"M": _binint2,
    b"\x8a": lambda m: _long(m, m.stream.number(1)),
    b"\x8b": lambda m: _long(m, m.stream.number(4)),
    b"S": _string,
    b"T": lambda m: _python2_text(m, m.stream.number(4)),
    b"U": lambda m: _python2_text(m, m.stream.number(1)),
    b"X": _text,
    b"t": _tuple_of,
    b"\x91": _tuple_of,
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
    b"h": _binget,
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"\x80": _proto,
    b"\x95": _frame,
    b"\x82": _outside,
    b"\x83": _outside,
    b"\x84": _outside,
    b"\x97": _outside,
    b"\x98": _outside,
    b"d": _dict,
}
"""All other opcodes."""


def _pushing(make: Callable[[Machine], Pickled]) -> Handler:
    return lambda m: m.stack.append(make(m))


_KNOWN = {**_ACTIONS, **{opcode: _pushing(make) for opcode, make in _VALUES.items()}}
HANDLERS = [_KNOWN.get(bytes([code]), unknown) for code in range(256)]
