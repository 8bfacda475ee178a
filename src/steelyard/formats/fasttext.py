"""fastText: `.bin` with the vectors of words and n-grams and the output layer, and `.ftz`, whose rows are product quantised.

int32 magic, int32 version (11 or 12); the settings, 12 int32 (the dimension first) and a float64
dictionary   int32 entries, words, labels; int64 tokens, int64 pruned n-grams (-1 for none)
             for each entry a text that ends with 0, int64 its count, u8 its kind; for each pruned n-gram two int32
u8 whether the input is quantised, the matrix of the input; u8 whether the output is, the matrix of the output
matrix       int64 rows, int64 columns, the numbers as float32
quantised    u8 whether norms are apart, int64 rows, int64 columns, int32 bytes of codes, the codes, a quantiser;
             then, if norms are apart, a code of one byte for each row, and a quantiser of them
quantiser    int32 dimension, parts, the width of a part, the width of the last part; 256 centroids for each part, as float32

Before fastText had a magic number and a version, a file began with the settings, and had neither pruned n-grams nor the two u8.

A row of quantised numbers is read as fastText computes it: the centroids that its codes name, times its norm.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.core.readers import by_rows
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

SUFFIXES = (".ftz",)

_MAGIC = b"\xba\x16\x4f\x2f"
_VERSIONS = (11, 12)
_SETTINGS = ("dim", "ws", "epoch", "minCount", "neg", "wordNgrams", "loss", "model", "bucket", "minn", "maxn", "lrUpdateRate")
_MODELS = {1: "cbow", 2: "skipgram", 3: "supervised"}
_LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one-vs-all"}
_OLD = struct.Struct("<12id3i")
"""what an old file begins with: the settings, and the entries, words and labels of the dictionary"""
_CENTROIDS = 256
_AFTER_WORD = 9
"""bytes of the count and the kind of an entry"""
_PAGE = 1 << 20
_WORD = 16
"""bytes of memory that stand for the time to pass over a word"""


def sniff(source: Source) -> bool:
    """Recognise the magic number, or the settings that old files begin with."""
    return source.head(4) == _MAGIC or _is_old(source)


def _is_old(source: Source) -> bool:
    """Whether a `.bin` begins with settings that fastText can have, and a dictionary whose words and labels add up."""
    if not source.name.lower().endswith(".bin") or source.size < _OLD.size:
        return False
    *settings, sampling, entries, words, labels = _OLD.unpack(source.head(_OLD.size))
    found = dict(zip(_SETTINGS, settings, strict=True))
    if found["model"] not in _MODELS or found["loss"] not in _LOSSES or not 0 <= sampling <= 1 or min(settings) < 0:
        return False
    adds_up = words > 0 <= labels and entries == words + labels and entries * (_AFTER_WORD + 1) < source.size
    return bool(adds_up and 0 < found["dim"] < source.size and found["minn"] <= found["maxn"])


def read(source: Source, scope: Scope) -> Weights:
    """List the matrix of the input, one row for each word and n-gram, and that of the output."""
    is_old = source.head(4) != _MAGIC
    cursor = _Cursor(source, 0 if is_old else 4)
    version = _VERSIONS[0] if is_old else cursor.take("i")[0]
    if version not in _VERSIONS:
        raise FormatError(source.name, f"is fastText's, of version {version}; 11 and 12 are read", 4)
    settings = dict(zip(_SETTINGS, cursor.take("12i"), strict=True))
    cursor.take("d")
    entries, words, labels, _ = cursor.take("3iq")
    (pruned,) = (0,) if is_old else cursor.take("q")
    _skip_words(cursor, entries)
    cursor.skip(8 * max(pruned, 0))
    of_input = _matrix(cursor, "input", quantised=not is_old and bool(cursor.take("B")[0]))
    is_quantised = not is_old and bool(cursor.take("B")[0]) and bool(of_input.encoding)  # as fastText itself decides
    of_output = _matrix(cursor, "output", quantised=is_quantised)
    if cursor.at != source.size:
        raise FormatError(source.name, f"has {source.size - cursor.at:,} bytes after its output", cursor.at)
    listed = [
        of_input.replace(role=Role.EMBEDDING, axes="vocab out"),
        of_output.replace(role=Role.KERNEL, axes="out in"),
    ]
    meta = {**settings, "model": _MODELS.get(settings["model"], ""), "loss": _LOSSES.get(settings["loss"], "")}
    return Weights(listed, meta={"format": "fastText", "words": words, "labels": labels, **meta})


class _Cursor:
    """Reads values one after another."""

    __slots__ = ("at", "source")

    def __init__(self, source: Source, at: int) -> None:
        self.source = source
        self.at = at

    def take(self, layout: str) -> tuple[int, ...]:
        """Return the next values, of a layout of `struct`."""
        size = struct.calcsize(f"<{layout}")
        values = struct.unpack(f"<{layout}", self.source.read(self.at, size))
        self.at += size
        return values

    def skip(self, length: int) -> int:
        """Move past bytes without reading them, and return where they begin."""
        at = self.at
        if length < 0 or length > self.source.size - at:
            what = f"claims {length:,} bytes where {self.source.size - at:,} are left (partial download?)"
            raise FormatError(self.source.name, what, at)
        self.at += length
        return at


def _skip_words(cursor: _Cursor, entries: int) -> None:
    """Move past the entries of the dictionary, which have no index."""
    source, page, start = cursor.source, b"", 0
    if entries < 0 or entries * (_AFTER_WORD + 1) > source.size:
        raise FormatError(source.name, f"claims {entries:,} words in {source.size:,} bytes", cursor.at)
    Budget(source).spend(_WORD * entries, cursor.at)
    base = cursor.at
    for _ in range(entries):
        end = page.find(b"\0", start)
        if end < 0 or end + _AFTER_WORD >= len(page):
            base += start
            page, start = source.read(base, min(_PAGE + limits.TEXT, source.size - base)), 0
            end = page.find(b"\0")
            if end < 0:
                raise FormatError(source.name, "has a word that does not end (partial download?)", base)
        start = end + 1 + _AFTER_WORD
    cursor.at = base + start


def _matrix(cursor: _Cursor, name: str, *, quantised: bool) -> Weight:
    if quantised:
        return _quantised(cursor, name)
    shape = cursor.take("2q")
    _check(cursor, shape)
    at = cursor.skip(4 * shape[0] * shape[1])
    return Weight(name=name, shape=shape, dtype="float32", read=cursor.source.numbers(at, "float32"), layer=name)


def _check(cursor: _Cursor, shape: tuple[int, ...]) -> None:
    if not is_possible(shape):
        raise FormatError(cursor.source.name, f"has a matrix of the impossible shape {list(shape)}", cursor.at)


class _Quantiser(NamedTuple):
    """Where the centroids are: `parts` of a row of `width` numbers have `each` numbers, the last one `last`."""

    at: int
    width: int
    parts: int
    each: int
    last: int

    def centroids(self, source: Source) -> list[Array]:
        """Return for each part its 256 centroids, one a row."""
        import numpy as np

        flat = np.frombuffer(source.read(self.at, 4 * _CENTROIDS * self.width), "<f4")
        sizes = [self.each] * (self.parts - 1) + [self.last]
        starts = [_CENTROIDS * self.each * part for part in range(self.parts)]
        return [flat[at : at + _CENTROIDS * size].reshape(_CENTROIDS, size) for at, size in zip(starts, sizes, strict=True)]


def _quantiser(cursor: _Cursor) -> _Quantiser:
    width, parts, each, last = cursor.take("4i")
    if min(width, parts, each, last) < 1 or (parts - 1) * each + last != width:
        raise FormatError(cursor.source.name, f"has {parts:,} parts of {each:,} numbers in rows of {width:,}", cursor.at)
    return _Quantiser(cursor.skip(4 * _CENTROIDS * width), width, parts, each, last)


def _quantised(cursor: _Cursor, name: str) -> Weight:
    (has_norms,) = cursor.take("B")
    rows, width = cursor.take("2q")
    (length,) = cursor.take("i")
    codes = cursor.skip(length)
    own = _quantiser(cursor)
    norms, of_norms = (cursor.skip(rows), _quantiser(cursor)) if has_norms else (0, None)
    _check(cursor, (rows, width))
    if own.width != width or rows * own.parts != length or (of_norms is not None and of_norms.width != 1):
        raise FormatError(cursor.source.name, f"has {length:,} codes for {rows:,} rows of {width:,} numbers", cursor.at)
    if is_bomb(4 * rows * width, length + 4 * _CENTROIDS * width):
        raise FormatError(cursor.source.name, f"has {rows:,} rows of {width:,} numbers in {length:,} bytes; refused", cursor.at)
    read = _rows(cursor.source, codes, own, norms, of_norms)
    return Weight(
        name=name,
        shape=(rows, width),
        dtype="float32",
        read=by_rows((rows, width), read),
        layer=name,
        encoding="product quantised",
    )


def _rows(source: Source, codes: int, own: _Quantiser, norms: int, of_norms: _Quantiser | None) -> Callable[[int, int], Array]:
    def read(first: int, last: int) -> Array:
        import numpy as np

        tables = own.centroids(source)
        count = last - first
        chosen = np.frombuffer(source.read(codes + first * own.parts, count * own.parts), np.uint8).reshape(count, own.parts)
        rows: Array = np.concatenate([table[chosen[:, part]] for part, table in enumerate(tables)], axis=1)
        if of_norms is not None:
            which = np.frombuffer(source.read(norms + first, count), np.uint8)
            with np.errstate(all="ignore"):  # the norms of a damaged file may be infinite
                rows = rows * of_norms.centroids(source)[0][which]
        return rows

    return read
