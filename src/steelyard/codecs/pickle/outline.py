"""Reads long pickles of plain values: Python's own unpickler builds the values, after a scan has shown that it can only build.

The scan recognises every opcode up to STOP, and accepts 31 of them: those that push None, bools, numbers, texts, short byte
strings and empty containers, fill lists and dicts, make tuples, and store values in the memo and fetch them. None of these
names a class or function, calls one, or sets a state, so the unpickler can make nothing but builtin values. In detail:

- EXT opcodes, which could fetch a function from a cache of the process, are not accepted, nor is any that takes from outside.
- The unpickler has all bytes in one buffer, as the scan had, so both see the same opcodes. Were a name to reach it
  nevertheless, its `find_class` finds none.
- Each text and byte string was found to be in the file. An index of PUT, up to which the unpickler allocates, is at most the
  number of objects that a pickle of this length can store.
- An integer has at most eight bytes, and where dicts are filled, tuples become lists, which have no hash. So a key of a dict
  cannot be nested, or collide with many others. Nothing else is hashed or compared, and nothing is walked by recursion.
- A container or text is charged to the budget before it is built.

Every other pickle, and every damaged one, is left to the machine. Its result is the same, but takes ten times as long.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import NESTED_THRESHOLD

if TYPE_CHECKING:
    from typing import Never

    from steelyard.codecs.budget import Budget
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.storage.source import Source

THRESHOLD = 1 << 16
"""bytes of a pickle above which compiling the patterns pays off"""
STEP = 1 << 20
"""bytes that are scanned at a time"""
_LONGEST = 257
"""bytes of the longest opcode that the pattern recognises, with its argument"""
_NAMED = re.compile(rb"\x94\x93|[ci][\w.]+\n\w+\n")
"""A class or function, which most pickles that are not plain name within their first kilobyte."""

_BYTE_COST = 9
"""bytes of memory for each byte of the pickle: a number of 3 bytes takes 40, a text of 4 bytes 72; all bytes are held twice"""
_LONG_TEXT_COST = 5
"""bytes of memory for each byte of a long text: it may take four times its bytes"""
_COSTS = {
    **dict.fromkeys((b"N", b"\x88", b"\x89", b")"), 12),
    **dict.fromkeys((b"t", b"\x85", b"\x86", b"\x87"), 64),
    b"]": 96,
    b"}": 208,
}
"""bytes of memory that an opcode takes in addition; such bytes within numbers and texts are counted too"""
_CHEAP = bytes(code for code in range(256) if bytes([code]) not in _COSTS)
_STOP, _TEXT, _LONG_TEXT = b".X\x8d"
_TUPLES = b"t\x85\x86\x87"
_FILLS = b"us"
"""SETITEMS and SETITEM, which hash the keys of a dict"""
_AS_LIST = b"Q"
"""BINPERSID, after the opcode of a tuple: the unpickler then replaces the tuple by what its `persistent_load` returns"""
_STORED = re.compile(rb"(?:\x94|q.|r....)?", re.DOTALL)


def _sized(most: int, high: bytes = b"") -> bytes:
    """Return the pattern of a length below `most`, whose higher bytes are `high`, and of so many bytes."""
    sizes = (re.escape(bytes([size])) + high + (b"." * size if size < 16 else b".{%d}" % size) for size in range(most))
    return b"(?:%b)" % b"|".join(sizes)


# The opcodes of plain values:
#   94 28 29 5d 7d 65 61 4e 88 89          MEMOIZE ( ) ] } APPENDS APPEND None True False, without arguments
#   75 73, 74 85 86 87                     SETITEMS SETITEM, TUPLE and TUPLE1 to TUPLE3, without arguments
#   47 n(8), 4d n(2), 4a n(4), 4b n(1)     numbers
#   68 n(1), 71 n(1), 6a n(4), 72 n(4)     BINGET, BINPUT, LONG_BINGET, LONG_BINPUT: a place in the memo
#   8c n(1), 58 n(4), 43 n(1)              the length of a text or byte string, then its bytes; longer texts are recognised apart
#   8a n(1)                                the length of an integer, at most 8, then its bytes
#   95 n(8), 80 n(1)                       FRAME, PROTO
@lru_cache(8)
def _pattern(bare: bytes, places: int, rest: bytes = b"") -> re.Pattern[bytes]:
    """Compile the pattern of a run of opcodes; of those without arguments, `bare` are accepted in addition.

    `places` bounds the places of LONG_BINPUT, in steps of 65,536.
    """
    store = rb"r..[\x00-\x%02x]\x00" % places if places < 256 else rb"r...[\x00-\x%02x]" % min(places >> 8, 255)
    parts = (
        rb"[hKq].|\x8c%b|(?:M..)++|X%b" % (_sized(256), _sized(256, rb"\x00\x00\x00")),
        rb"(?:G........)++|(?:[jJ]....)++|C%b|\x8a%b" % (_sized(NESTED_THRESHOLD), _sized(9)),
        rb"\x95.{8}|\x80[\x02-\x05]|" + store,
    )
    single = rb"[\x94()\]}eaN\x88\x89%b]*+" % bare
    return re.compile(b"%b(?:(?:%b)(?:%b)?+%b)*+%b" % (single, b"|".join(parts), store, single, rest), re.DOTALL)


def outline(source: Source, offset: int, budget: Budget) -> tuple[Pickled, int] | None:
    """Return the root of a long pickle of plain values, and where the pickle ends; None for every other pickle.

    The root is that of the pickle, but tuples within it may be lists. Raises `FormatError` for a pickle that takes more
    memory than the file may.
    """
    if source.size - offset < THRESHOLD or _NAMED.search(source.read(offset, min(1024, source.size - offset))):
        return None
    before = source.whole.spent
    for bare, replaces in ((_FILLS, False), (_TUPLES, False), (_FILLS, True)):
        scan = Scan(source, offset, budget, bare, replaces_tuples=replaces)
        if scan.is_plain():
            root = _built(b"".join(scan.pieces))
            if root is not None:
                (value,) = root
                return tuple(value) if scan.ends_in_tuple and isinstance(value, list) else value, scan.at
            break
        source.whole.spent = before
    source.whole.spent = before  # the machine charges what it takes itself
    return None


class Scan:
    """Recognises the opcodes of a pickle: `bare`, and those that are always accepted; `pieces` are those up to `at`.

    With `replaces_tuples`, the opcodes of tuples are accepted too, and BINPERSID follows each in `pieces`.
    """

    __slots__ = ("_budget", "_plain", "_source", "_split", "_tail", "at", "pieces")

    def __init__(self, source: Source, offset: int, budget: Budget, bare: bytes, *, replaces_tuples: bool) -> None:
        self.pieces: list[bytes] = []
        self.at = offset
        self._source = source
        self._budget = budget
        # LONG_BINPUT takes 5 bytes and what it stores one or more; the first 256 places have a shorter opcode
        places = ((source.size - offset) // 6 + 256) >> 16
        self._plain = _pattern(bare, places)
        self._split = _pattern(bare, places, b"(?:[%b]|.*)" % _TUPLES) if replaces_tuples else None
        self._tail: bytes | None = None  # the opcodes after the last tuple, if they are few

    def is_plain(self) -> bool:
        """Whether all opcodes up to STOP are accepted; `at` is then the end of the pickle."""
        source = self._source
        while self.at < source.size:
            block = source.read(self.at, min(STEP, source.size - self.at))
            end = self._run(block)
            code = block[end] if end < len(block) else None
            if code == _STOP:
                self.pieces.append(b".")
                self.at += 1
                return True
            is_cut = end > 0 and len(block) - end < _LONGEST and self.at - end + len(block) < source.size
            if not is_cut and not (code in (_TEXT, _LONG_TEXT) and self._long_text(4 if code == _TEXT else 8)):
                return False
        return False

    def _run(self, block: bytes) -> int:
        """Take the opcodes at the beginning of a block; return the number of their bytes."""
        end = _end(self._plain, block)
        runs = [block[:end]]
        if self._split is not None and end < len(block) and block[end] in _TUPLES:
            runs, end = self._runs(self._split, block)
            self._tail = runs[-1]
        elif self._tail is not None:
            self._tail += block[: min(end, 8)]
        costly = block[:end].translate(None, _CHEAP)  # to count each in the block would take as long as to build the values
        self._budget.spend(_BYTE_COST * end + sum(cost * costly.count(code) for code, cost in _COSTS.items()), self.at)
        self.pieces.append(_AS_LIST.join(runs))
        self.at += end
        return end

    def _runs(self, split: re.Pattern[bytes], block: bytes) -> tuple[list[bytes], int]:
        """Return the opcodes at the beginning of a block, split after each tuple, and the number of their bytes."""
        *runs, _ = split.findall(block)  # a last one is always empty
        last = runs[-1]
        length = _end(self._plain, last)
        end = len(block) - len(last) + length
        if last[length:] and last[length] in _TUPLES:
            return [*runs, b""], end + 1
        return [*runs[:-1], last[:length]], end

    def _long_text(self, width: int) -> bool:
        """Take a text that is longer than those of the pattern; return whether it is in the file."""
        source, begin = self._source, self.at + 1 + width
        if begin > source.size:
            return False
        end = begin + int.from_bytes(source.read(self.at + 1, width), "little")
        if end > source.size:
            return False
        self._budget.spend(_LONG_TEXT_COST * (end - self.at), self.at)
        self.pieces.append(source.read(self.at, end - self.at))
        self.at, self._tail = end, None
        return True

    @property
    def ends_in_tuple(self) -> bool:
        """Whether the root is a tuple that became a list: nothing follows its opcode except one that stores it."""
        return self._tail is not None and _STORED.fullmatch(self._tail) is not None


def _end(pattern: re.Pattern[bytes], block: bytes) -> int:
    found = pattern.match(block)
    return found.end() if found else 0


def _built(data: bytes) -> tuple[Pickled] | None:
    """Build the values of a pickle that was scanned; None if it is damaged, or has a tuple as a key."""
    from pickle import Unpickler, UnpicklingError  # no opcode of the data can call anything

    class Builder(Unpickler):
        """An unpickler that finds no class or function, and makes a list of what BINPERSID follows."""

        persistent_load = list

        def find_class(self, module: str, name: str) -> Never:
            raise UnpicklingError(f"{module}.{name} is not a plain value")

    try:
        return (Builder(_Whole(data)).load(),)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the machine finds out what is wrong
        return None


class _Whole:
    """Bytes as a file that Python's unpickler takes as one buffer: it would drop bytes where an opcode is in two."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def peek(self, _: int) -> bytes:
        data, self._data = self._data, b""
        return data

    def read(self, _: int) -> bytes:
        return b""

    def readline(self) -> bytes:
        return b""
