"""Runs the opcodes of plain values in one loop: numbers, texts, lists, tuples and dicts.

A pickle of plain data has millions of these, and a call for each would take most of the time. Stack, marks and memo end in the
state that running them one by one gives; every other opcode, and every unusual argument, is left to its own handler.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.stream import LONG_TEXT, PADDING
from steelyard.codecs.pickle.values import as_key

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine
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


def run_plain_values(machine: Machine, most: int) -> int:  # noqa: C901, PLR0912, PLR0915 - a call for each would be slow
    """Run the next opcodes, about so many, as long as they are those of plain values; return how many ran.

    The last opcodes of the stream's window are left to their handlers. Raises the errors of Python for a damaged pickle.
    """
    stream, stack, memo, marks = machine.stream, machine.stack, machine.memo, machine.marks
    data, filled = stream.data, stream.filled
    edge = min(stream.edge, filled - len(PADDING))
    number, push = int.from_bytes, stack.append
    left, at, end = most, stream.at, stream.at
    try:
        while left > 0 and at < edge:
            code = data[at]
            end = at + 1  # the next opcode; where an error is
            if code >= 0x80:
                if code == 0x94:  # MEMOIZE
                    memo[len(memo)] = stack[-1]
                elif code == 0x8C:  # SHORT_BINUNICODE
                    end = at + 2 + data[end]
                    if end > edge:
                        break
                    push(data[at + 2 : end].decode("utf-8", "surrogatepass"))
                    if data[end] == 0x94:
                        memo[len(memo)] = stack[-1]
                        end += 1
                        left -= 1
                elif 0x85 <= code <= 0x87:  # TUPLE1, TUPLE2, TUPLE3
                    count = code - 0x84
                    if len(stack) < count:
                        break
                    stack[-count:] = [tuple(stack[-count:])]
                elif code == 0x88 or code == 0x89:  # NEWTRUE, NEWFALSE
                    push(code == 0x88)
                else:
                    break
            elif code >= 0x60:
                if code == 0x68:  # BINGET
                    push(memo[data[end]])
                    end = at + 2
                elif code == 0x71:  # BINPUT
                    memo[data[end]] = stack[-1]
                    end = at + 2
                elif code == 0x65 or code == 0x75 or code == 0x61 or code == 0x73:  # APPENDS, SETITEMS, APPEND, SETITEM
                    if not _add(stack, marks, code):
                        break
                elif code == 0x7D:  # EMPTY_DICT
                    push({})
                elif code == 0x74:  # TUPLE
                    start = marks.pop()
                    stack[start:] = [tuple(stack[start:])]
                elif code == 0x6A:  # LONG_BINGET
                    push(memo[number(data[end : at + 5], "little")])
                    end = at + 5
                elif code == 0x72:  # LONG_BINPUT
                    memo[number(data[end : at + 5], "little")] = stack[-1]
                    end = at + 5
                else:
                    break
            elif code == 0x4B and data[at + 2] != 0x4B:  # a single BININT1
                push(data[end])
                end = at + 2
            elif code == 0x28:  # MARK
                if data[end] == 0x28 and machine.is_fast:
                    break  # a tensor may begin here
                marks.append(len(stack))
            elif code == 0x5D:  # EMPTY_LIST
                push([])
            elif code in _NUMBERS:
                pattern, length, numbers = _NUMBERS[code]
                end = at + length
                run = pattern.match(data, at, min(edge, at + left * length)) if data[end] == code else None
                if run:
                    end = run.end()
                    left -= (end - at) // length - 1
                    stack += [value for (value,) in numbers.iter_unpack(data[at:end])]
                else:
                    push(numbers.unpack_from(data, at)[0])
            elif code == 0x4E:  # NONE
                push(None)
            elif code == 0x29:  # EMPTY_TUPLE
                push(())
            elif code == 0x58:  # BINUNICODE
                end = at + 5 + number(data[end : at + 5], "little")
                if end > edge or end - at > LONG_TEXT:
                    break
                push(data[at + 5 : end].decode("utf-8", "surrogatepass"))
            else:
                break
            at = end
            left -= 1
    except BaseException:
        stream.at = end
        raise
    stream.at = at
    return most - left


def _add(stack: list[Pickled], marks: list[int], code: int) -> bool:
    """Run APPEND, APPENDS, SETITEM or SETITEMS on a list or a dict; return False, with nothing done, for anything else."""
    length = 1 if code == 0x61 else 2 if code == 0x73 else 0
    start = len(stack) - length if length else marks[-1] if marks else 0
    target = stack[start - 1] if 0 < start <= len(stack) else None
    if code == 0x65 or code == 0x61:
        if type(target) is not list:
            return False
        target += stack[start:]
    elif type(target) is dict and (len(stack) - start) % 2 == 0:
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
