"""Runs the opcodes of plain values in one loop: numbers, texts, lists, tuples and dicts.

A pickle of plain data has millions of these, and a call for each would take most of the time. Stack, marks and memo end in the
state that running them one by one gives. Other opcodes are run by their handlers; one with an unusual argument ends the loop.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.stream import LONG_TEXT, PADDING
from steelyard.codecs.pickle.values import as_key

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.opcodes import Handler
    from steelyard.codecs.pickle.values import Key, Pickled

# Numbers of one kind in a row, such as those of a list, and the length of each with its opcode:
#   K n(1)        BININT1: an unsigned byte
#   M n(2)        BININT2: an unsigned little-endian integer
#   J n(4)        BININT: a signed little-endian integer
#   G n(8)        BINFLOAT: a big-endian float64
_NUMBERS = {
    0x4B: (re.compile(rb"(?:K.){3,}", re.DOTALL), 2, struct.Struct("<xB")),
    0x4D: (re.compile(rb"(?:M..){3,}", re.DOTALL), 3, struct.Struct("<xH")),
    0x4A: (re.compile(rb"(?:J.{4}){3,}", re.DOTALL), 5, struct.Struct("<xi")),
    0x47: (re.compile(rb"(?:G.{8}){3,}", re.DOTALL), 9, struct.Struct(">xd")),
}
_STOP = 0x2E
_APPEND, _APPENDS, _SETITEM, _SETITEMS, _TUPLE = b"aesut"
_FILLING = frozenset((_APPEND, _APPENDS, _SETITEM, _SETITEMS, _TUPLE))
_NEW: dict[int, Callable[[], Pickled]] = {
    0x5D: list,
    0x7D: dict,
    0x29: tuple,
    0x4E: lambda: None,
    0x88: lambda: True,
    0x89: lambda: False,
}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}


def run_plain_values(machine: Machine, handlers: Sequence[Handler]) -> None:  # noqa: C901, PLR0912, PLR0915 - see above
    """Run about as many opcodes as are left; STOP, unusual arguments and the end of the window are left to the caller."""
    stream, stack, memo, marks = machine.stream, machine.stack, machine.memo, machine.marks
    data, number, push = stream.data, int.from_bytes, stack.append
    edge = min(stream.edge, stream.filled - len(PADDING))
    left, at, end = machine.left, stream.at, stream.at
    try:
        while left > 0 and at < edge and (code := data[at]) != _STOP:
            end = at + 1  # the next opcode; where an error is
            if code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code == 0x68:  # BINGET
                push(memo[data[end]])
                end = at + 2
            elif code == 0x72:  # LONG_BINPUT
                memo[number(data[end : at + 5], "little")] = stack[-1]
                end = at + 5
            elif code in _NUMBERS:
                count, length = _numbers(stack, data, at, min(edge, at + 9 * left))
                end = at + count * length
                left -= count - 1
            elif code == 0x8C or code == 0x58:  # noqa: PLR1714 - SHORT_BINUNICODE, BINUNICODE; a set takes longer
                begin = at + (2 if code == 0x8C else 5)
                end = begin + number(data[at + 1 : begin], "little")
                if end > edge or end - begin > LONG_TEXT:
                    break
                push(data[begin:end].decode("utf-8", "surrogatepass"))
            elif code == 0x28:  # MARK
                if data[end] == 0x28 and machine.is_fast:
                    break  # a tensor may begin here
                marks.append(len(stack))
            elif code in _FILLING:
                if not _filled(stack, marks, code):
                    break
            elif code in _NEW:
                push(_NEW[code]())
            elif code == 0x30 and stack and not (marks and marks[-1] == len(stack)):  # POP, of a value
                stack.pop()
            elif code == 0x71:  # BINPUT
                memo[data[end]] = stack[-1]
                end = at + 2
            elif code == 0x6A:  # LONG_BINGET
                end = at + 5
                push(memo[number(data[at + 1 : end], "little")])
            elif code in _TUPLES and len(stack) >= _TUPLES[code]:
                stack[-_TUPLES[code] :] = [tuple(stack[-_TUPLES[code] :])]
            else:
                stream.at, end = end, -1  # the handler reads on
                handlers[code](machine)
                end = stream.at
            at = end
            left -= 1
    except BaseException:
        at = end if end >= 0 else stream.at
        left -= 1
        raise
    finally:
        stream.at, machine.left = at, left


def _numbers(stack: list[Pickled], data: bytes, at: int, stop: int) -> tuple[int, int]:
    """Push the number at `at`, and those of its kind that follow before `stop`; return how many, and the length of each."""
    pattern, length, numbers = _NUMBERS[data[at]]
    run = pattern.match(data, at, stop) if data[at + length] == data[at] else None
    if run is None:
        stack.append(numbers.unpack_from(data, at)[0])
        return 1, length
    stack += [value for (value,) in numbers.iter_unpack(run[0])]
    return len(run[0]) // length, length


def _filled(stack: list[Pickled], marks: list[int], code: int) -> bool:
    """Run TUPLE, or an opcode that adds to a list or a dict; return False, with nothing done, if the target is another."""
    if code == _TUPLE:
        start = marks.pop()
        stack[start:] = [tuple(stack[start:])]
        return True
    length = 1 if code == _APPEND else 2 if code == _SETITEM else 0
    start = len(stack) - length if length else marks[-1] if marks else 0
    target = stack[start - 1] if 0 < start <= len(stack) else None
    if type(target) is list and code in (_APPEND, _APPENDS):
        target += stack[start:]
    elif type(target) is dict and code in (_SETITEM, _SETITEMS) and (len(stack) - start) % 2 == 0:
        held: dict[Key, Pickled] = target
        items = iter(stack[start:])
        for key, value in zip(items, items, strict=True):
            held[key if type(key) is str else as_key(key)] = value
    else:
        return False
    del stack[start:]
    if not length:
        marks.pop()
    return True
