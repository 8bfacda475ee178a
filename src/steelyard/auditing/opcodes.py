"""The names in a damaged pickle, opcode by opcode, for loaders that read on where our machine stops."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Place
from steelyard.codecs.budget import Budget
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_MOST = 1 << 21  # bytes that are searched
_BYTE_COST = 8
"""bytes of memory that a byte is charged as, for the time of the search: a name of 6 bytes takes 2 microseconds"""
_TEXTS = b"X\x8c\x8dVUTS"  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, UNICODE; of Python 2 SHORT_BINSTRING, BINSTRING, STRING
_DUP = 0x32
_BARE = re.compile(rb"[()\[\]{}aeldoNQRbstu01\x81\x85-\x89\x8f-\x91\x92]*+")
"""Opcodes without an argument which neither name nor store a text; of a run of them only the last matters to what follows."""


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
    from pickletools import opcodes

    known_opcodes = {opcode.code: opcode for opcode in opcodes}

    at = 0
    while at < len(data):
        run = _BARE.match(data, at)
        at = max(at, run.end() - 1) if run else at
        known = known_opcodes.get(chr(data[at]))
        if known is None:
            return
        begin, length = at + 1, known.arg.n if known.arg else 0
        if length >= 0:
            end = begin + length
        elif length == -1:  # to the end of a line, or of two
            end = data.find(b"\n", begin)
            if known.arg is not None and known.arg.name == "stringnl_noescape_pair" and end >= 0:
                end = data.find(b"\n", end + 1)
            if end < 0:
                return
            yield data[at], data[begin:end], at
            at = end + 1
            continue
        else:
            width = {-2: 1, -3: 4, -4: 4, -5: 8}[length]
            begin += width
            end = begin + int.from_bytes(data[begin - width : begin], "little")
        yield data[at], data[begin:end], at
        at = end
