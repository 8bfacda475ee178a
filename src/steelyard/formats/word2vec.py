r"""word2vec: word vectors as word2vec, gensim and fastText write them, in binary (`.bin`), or as a text (`.vec`, `.txt`).

    400000 300\n                         the number of words, and of the numbers of each
    the 0.418 0.24968 -0.41242 ...\n     as a text: a word, then its numbers, which are read as float32
    the ................\n               in a binary file: a word, a space, its numbers as float32; a newline that may be missing

The words have any lengths, and no index says where each begins. So a word is looked for when its numbers are read, from the
last place known before it; listing reads the first words only.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.limits import is_possible
from steelyard.core.readers import by_rows
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".vec",)

_FIRST = re.compile(rb"(\d{1,12}) (\d{1,6})[ \t]*\r?\n")
_HEAD = 1 << 14
_PAGE = 1 << 20
_STRIDE = 4096
"""The words between two places that are remembered."""
_WIDEST = 64
"""bytes of a number in a text"""
_SHORTEST = 2
"""bytes of a word of one letter, and of the space or newline after it"""
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf(inity)?)", re.IGNORECASE)


def sniff(source: Source) -> bool:
    """Recognise two counts in the first line, then a word with its numbers, as a text or in binary."""
    match = _FIRST.match(source.head(32))
    if match is None or not int(match[2]) or not int(match[1]):
        return False
    head = source.head(_HEAD)[match.end() :]
    return _is_text(head, int(match[2])) or _is_binary(head, int(match[2]))


def _is_text(head: bytes, width: int) -> bool:
    """Whether the first line is a word with so many numbers, as far as it is in `head`."""
    line, newline, _ = head.partition(b"\n")
    found = line.split()[1:]
    whole = found if newline else found[:-1]
    fits = len(found) == width if newline else 0 < len(found) <= width
    return fits and bool(whole) and all(_NUMBER.fullmatch(number) for number in whole)


def _is_binary(head: bytes, width: int) -> bool:
    """Whether a word and a space come first, and then bytes that no text has."""
    word, space, rest = head.partition(b" ")
    return bool(word) and bool(space) and min(word) > 0 and b"\n" not in word and not _reads_as_text(rest[: 4 * width])


def _reads_as_text(data: bytes) -> bool:
    try:
        letters = getincrementaldecoder("utf-8")().decode(data)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in letters)


def read(source: Source, scope: Scope) -> Weights:
    """List the one array. Raises `FormatError` for a file that is too short for the counts of its first line."""
    match = _FIRST.match(source.head(32))
    if match is None:
        raise FormatError(source.name, "does not begin with the numbers of words and of dimensions")
    words, width = int(match[1]), int(match[2])
    is_text = _is_text(source.head(_HEAD)[match.end() :], width)
    least = words * (_SHORTEST + (2 * width - 1 if is_text else 4 * width)) - 1  # the last newline may be missing
    if not is_possible((words, width)) or least > source.size - match.end():
        raise FormatError(
            source.name,
            f"claims {words:,} words of {width:,} numbers, more than its {source.size:,} bytes hold (partial download?)",
        )
    rows = _Rows(source, match.end(), words, width, is_text=is_text)
    weight = Weight(
        name="vectors",
        shape=(words, width),
        dtype="float32",
        read=rows.reader(),
        role=Role.EMBEDDING,
        axes="vocab out",
        encoding="text" if is_text else "",
    )
    return Weights([weight], meta={"format": "word2vec"})


class _Rows:
    """The rows of the array. `_places` has the offsets of every so many words, as far as they have been looked for."""

    __slots__ = ("_is_text", "_places", "_size", "_source", "_width", "_words")

    def __init__(self, source: Source, start: int, words: int, width: int, *, is_text: bool) -> None:
        self._source = source
        self._words = words
        self._width = width
        self._is_text = is_text
        self._places = [(0, start)]

    def reader(self) -> Reader:
        """Return a reader of the elements."""
        return by_rows((self._words, self._width), self._rows)

    def _rows(self, first: int, last: int) -> Array:
        number, at = self._places[bisect_right(self._places, (first, self._source.size)) - 1]
        page, base = b"", at
        found: list[bytes] = []
        while number < last:
            begin, end = self._find(page, at - base)
            if end < 0:
                page, base = self._more(page[at - base :], at, number), at
                continue
            if number >= first:
                found.append(page[begin:end])
            at, number = base + end + page.startswith(b"\n", end), number + 1
            if number % _STRIDE == 0 and number > self._places[-1][0]:
                self._places.append((number, at))
        if last == self._words:
            self._check_end(at)
        return self._array(found, first)

    def _find(self, page: bytes, start: int) -> tuple[int, int]:
        """Return where the numbers of the word at `start` begin and end; -1 for an end that is not on the page."""
        if self._is_text:
            return start, page.find(b"\n", start)
        begin = page.find(b" ", start) + 1
        end = begin + 4 * self._width
        return begin, end if begin and end < len(page) else -1  # the byte after it may be a newline

    def _more(self, rest: bytes, at: int, number: int) -> bytes:
        """Return the page from `at`, of which `rest` was read before; a newline stands for the end of the file."""
        begin = at + len(rest)
        if begin > self._source.size:
            raise FormatError(self._source.name, f"ends after {number:,} of {self._words:,} words (partial download?)", at)
        if len(rest) > limits.TEXT + _WIDEST * self._width:
            raise FormatError(self._source.name, f"has {len(rest):,} bytes in which word {number:,} does not end", at)
        length = min(max(_PAGE, 4 * self._width), self._source.size - begin)
        return rest + (self._source.read(begin, length) if length else b"\n")

    def _array(self, found: list[bytes], first: int) -> Array:
        import numpy as np

        if not self._is_text:
            return np.frombuffer(b"".join(found), "<f4").reshape(-1, self._width)
        rows = np.empty((len(found), self._width), np.float64)
        for place, line in enumerate(found):
            numbers = line.split()
            try:
                rows[place] = [*map(float, numbers[-self._width :])] if len(numbers) > self._width else ()
            except ValueError:
                what = f"has a line of word {first + place:,} without {self._width:,} numbers, {printable(line[:40])}"
                raise FormatError(self._source.name, what) from None
        with np.errstate(over="ignore"):
            return rows.astype(np.float32)

    def _check_end(self, at: int) -> None:
        left = self._source.size - at
        if left > 0 and self._source.read(at, min(left, 4096)).strip():
            raise FormatError(self._source.name, f"has {left:,} bytes after the last of its {self._words:,} words", at)
