"""The names in a damaged pickle, opcode by opcode, for loaders that read on where our machine stops."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Place
from steelyard.codecs.budget import Budget
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_MOST = 1 << 20  # bytes that are searched
_BYTE_COST = 8
"""bytes of memory that a byte is charged as, for the time of the search: a name of 6 bytes takes 2 microseconds"""
_TEXTS = b"X\x8c\x8dVUTS"  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, UNICODE; of Python 2 SHORT_BINSTRING, BINSTRING, STRING
_DUP = 0x32
_BARE = re.compile(rb"[()\]}aeldoNQRbstu01\x81\x85-\x89\x8f-\x91\x92]++")
"""Opcodes without an argument which neither name nor store a text; of a run of them only the last matters to what follows."""
_FIXED, _LINES, _COUNTED = range(3)
_WIDTHS = {-2: 1, -3: 4, -4: 4, -5: 8}  # the lengths that `pickletools` has for arguments with their length before them


def names_in(source: Source, place: Place, known: set[tuple[str, str]]) -> Iterator[AuditFinding]:
    """Yield a finding for each name that the opcodes of a damaged pickle list, except those that the machine has met."""
    from steelyard.auditing.expected import is_expected

    Budget(source).owe(_BYTE_COST * min(source.size, _MOST))
    for module, name, offset in _named(source.head(_MOST)):
        if (module, name) not in known and not is_expected(module, name):
            known.add((module, name))
            yield AuditFinding("pickle-name", place.at(offset), f"names {printable(f'{module}.{name}')} near damage")


def _named(data: bytes) -> Iterator[tuple[str, str, int]]:
    """Yield module, name and place; STACK_GLOBAL takes the last two texts, some of them out of the memo."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    memoized, last = 0, ""  # `last` is the text that the opcode before pushed, "" for any other object
    for code, argument, at in _opcodes(data):
        if code in b"ci":
            module, _, name = argument.decode("utf-8", "replace").partition("\n")
            yield module, name, at
        elif code == 0x93:
            module, name = (["", "", *texts])[-2:]
            yield module, name, at
        elif code == 0x2E:
            return
        if code == 0x94:
            memo[memoized] = last
            memoized += 1
        elif code in b"qr":
            memo[int.from_bytes(argument, "little")] = last
        elif code == _DUP:
            texts += [last] if last else []
        else:
            last = _pushed(code, argument, memo)
            texts += [last] if last or code in _TEXTS else []


def _pushed(code: int, argument: bytes, memo: dict[int, str]) -> str:
    """Return the text that an opcode pushes, itself or out of the memo; "" for any other object."""
    if code in b"hj":
        return memo.get(int.from_bytes(argument, "little"), "")
    if code in b"UTS":
        return (argument.strip()[1:-1] if code == 0x53 else argument).decode("latin-1")
    if code in _TEXTS and _is_text(argument):
        return argument.decode("utf-8", "surrogatepass" if code != 0x56 else "replace")
    return ""


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _opcodes(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield opcodes with the bytes of their arguments, without the length before these, and their places.

    Of a run of bare opcodes it yields the last.
    """
    arguments = _arguments()
    at = 0
    while at < len(data):
        if (run := _BARE.match(data, at)) is not None:
            at = run.end()
            yield data[at - 1], b"", at - 1
            continue
        known = arguments[data[at]]
        if known is None:
            return
        (kind, length), begin = known, at + 1
        if kind == _COUNTED:
            begin += length
            length = int.from_bytes(data[begin - length : begin], "little")
        end = begin + length
        if kind == _LINES:
            end = _end_of_lines(data, begin, length)
            if end < 0:
                return
        yield data[at], data[begin:end], at
        at = end + 1 if kind == _LINES else end


def _end_of_lines(data: bytes, begin: int, lines: int) -> int:
    """Return the place of the end of so many lines, -1 if there are fewer."""
    end = data.find(b"\n", begin)
    return end if lines == 1 or end < 0 else data.find(b"\n", end + 1)


@lru_cache
def _arguments() -> list[tuple[int, int] | None]:
    """Return the argument of each opcode: the bytes of a fixed one, the lines, or the bytes of the length before it."""
    from pickletools import opcodes

    found: list[tuple[int, int] | None] = [None] * 256
    for opcode in opcodes:
        size = opcode.arg.n if opcode.arg else 0
        lines = 2 if opcode.arg and opcode.arg.name == "stringnl_noescape_pair" else 1
        found[ord(opcode.code)] = (_FIXED, size) if size >= 0 else (_LINES, lines) if size == -1 else (_COUNTED, _WIDTHS[size])
    return found
