"""KataGo: `.bin.gz` and `.txt.gz`, the net of its engine: lines of names and settings, and the numbers of each layer.

    b6c96-s1000-d2000     the name of the net, then on lines of their own its version, the numbers of inputs, and more
    model.conv_spatial    a layer, then its settings on lines of their own, then its arrays
    @BIN@ ........          an array: float32

    convolution  height, width, in, out, dilation, dilation      weights
    norm         channels, epsilon, has scale, has bias          mean, variance, scale, bias
    RMS norm     channels, epsilon, spatial, size of a group     scale, bias; in a transformer: channels, epsilon    scale
    product      in, out                                         weights
    bias         channels                                        weights
    frequencies  heads, pairs, 2                                 weights

The lines of blocks and activations between them hold no numbers. The engine's words for the arrays follow the names of layers.
In a text the numbers are decimals (`text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import begins, plain
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pages import Pages
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats.katago import text

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = ()

_HEAD = 4096
_BEGIN = re.compile(rb"[^\n\0]{1,200}\n\d{1,2}\n\d{1,4}\n\d{1,4}\n")
_MARK = b"@BIN@"
_LINE = 1 << 10
"""bytes of a line"""
_COST = 1500
"""bytes of memory that an array takes"""
_WHOLE = re.compile(r"\d{1,9}")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NORM, _RMS = ("mean", "variance", "scale", "bias"), ("scale", "bias")
_ROLES = {
    "mean": Role.MEAN,
    "variance": Role.VARIANCE,
    "scale": Role.SCALE,
    "bias": Role.OFFSET,
}


def sniff(source: Source) -> bool:
    """Recognise the first lines, and the mark of an array soon after them, in a compressed file too."""
    head = begins(source, _HEAD)
    return _BEGIN.match(head) is not None and (_MARK in head or text.BEGIN.match(head) is not None)


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays of each layer in the order of the file."""
    content = plain(source)
    cursor = _Cursor(content)
    meta = {"format": "KataGo", "name": printable(cursor.line()), "version": int(cursor.line())}
    listed: dict[str, Weight] = {}
    for weight in _weights(cursor) if _MARK in content.head(_HEAD) else text.layers(content):
        if weight.name in listed:
            raise FormatError(source.name, f"has two arrays with the name {quoted(weight.name)}; the file is ambiguous")
        listed[weight.name] = weight
    return Weights(listed.values(), meta=meta)


class _Cursor:
    """Reads lines and arrays one after another."""

    __slots__ = ("_budget", "_pages", "at", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.at = 0
        self._pages = Pages(source, 1 << 14)
        self._budget = Budget(source)

    @property
    def is_array(self) -> bool:
        """Whether an array comes next."""
        return self.source.size - self.at > len(_MARK) and self._pages.read(self.at, len(_MARK)) == _MARK

    def line(self) -> str:
        """Return the next line without its end."""
        left = self.source.size - self.at
        found, newline, _ = self._pages.read(self.at, min(_LINE, left)).partition(b"\n")
        if not newline:
            raise self.error("ends within a line, or has one that is too long (partial download?)")
        self.at += len(found) + 1
        self._budget.spend(len(found), self.at)
        return found.decode("utf-8", "backslashreplace").strip()

    def array(self, count: int) -> int:
        """Move past an array of so many numbers, and return where they begin."""
        self._budget.spend(_COST, self.at)
        at = self.at + len(_MARK)
        end = at + 4 * count
        if end >= self.source.size or self._pages.read(end, 1) != b"\n":
            raise self.error(f"has an array of {count:,} numbers that does not end where it must (partial download?)")
        self.at = end + 1
        return at

    def error(self, what: str) -> FormatError:
        """Return an error that names the place of the next value."""
        return FormatError(self.source.name, what, self.at)


def _weights(cursor: _Cursor) -> Iterator[Weight]:
    name, settings = "", list[str]()
    while cursor.at < cursor.source.size:
        if cursor.is_array:
            yield from _layer(cursor, name, settings)
            name, settings = "", []
            continue
        line = cursor.line()
        if _NUMBER.fullmatch(line):
            settings.append(line)
        elif line and not line.startswith("ACTIVATION_"):
            name, settings = line, []


def _layer(cursor: _Cursor, name: str, settings: list[str]) -> Iterator[Weight]:
    """Yield the arrays of a layer, of which the number of settings shows what it is."""
    whole = [int(text) if _WHOLE.fullmatch(text) else 0 for text in settings]
    shape, axes = tuple(whole), ""
    if len(whole) == 6:
        shape, axes = tuple(whole[:4]), "kh kw in out"
    elif len(whole) == 4 or (len(whole) == 2 and not whole[1]):
        yield from _norm(cursor, name, whole)
        return
    role = Role.KERNEL if len(whole) in (2, 6) else Role.BIAS if len(whole) == 1 else Role.OTHER
    axes = axes or {2: "in out", 1: "out"}.get(len(whole), "")
    _check(cursor, name, shape, len(whole) in (1, 2, 3, 6))
    yield _weight(cursor, name, "weights", shape, role, axes)


def _norm(cursor: _Cursor, name: str, whole: list[int]) -> Iterator[Weight]:
    shape = (whole[0],)
    _check(cursor, name, shape, True)
    places: list[int] = []
    while cursor.is_array and len(places) < len(_NORM):
        places.append(cursor.array(whole[0]))
    has = [True, True, *map(bool, whole[2:])]
    words = [word for word, there in zip(_NORM, has, strict=False) if there]
    if len(words) != len(places) or not any(whole[2:]):
        words = [*_RMS]
    if len(places) > len(words):
        raise cursor.error(f"has {len(places):,} arrays in {quoted(name)}, where {len(words):,} are expected")
    for word, at in zip(words, places, strict=False):
        read = cursor.source.numbers(at, "float32")
        full = f"{name}.{word}"
        yield Weight(name=full, shape=shape, dtype="float32", read=read, role=_ROLES[word], axes="channel", layer=name)


def _check(cursor: _Cursor, name: str, shape: tuple[int, ...], is_known: bool) -> None:
    if not name or not is_known or not is_possible(shape) or not prod(shape):
        raise cursor.error(f"has an array of the layer {quoted(name)} with the settings {list(shape)}, which are not known")


def _weight(cursor: _Cursor, name: str, word: str, shape: tuple[int, ...], role: Role, axes: str) -> Weight:
    at = cursor.array(prod(shape))
    read = cursor.source.numbers(at, "float32")
    return Weight(name=f"{name}.{word}", shape=shape, dtype="float32", read=read, role=role, axes=axes, layer=name)
