"""KataGo's nets as a text, `.txt` or `.txt.gz`: the lines of the binary file, where the numbers of an array follow its settings.

A layer is a name on a line of its own, settings, and numbers, which have a point or an exponent, over any number of
lines. There must be as many numbers as the settings claim. The arrays of a norm follow each other: mean, variance, scale, bias.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from steelyard import sizes
from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.core.recent import RecentBlocks
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

BEGIN = re.compile(
    rb"[^\n\0]{1,200}\n\d{1,2}\n\d{1,3}\n\d{1,3}\n(-?[\d.]+\n){0,10}[A-Za-z]\S*\n(\d+\s+){3,12}[A-Za-z]\S*\n(\d+\s+){6}-?\d"
)
"""The first lines: the name of the net, numbers, the trunk and its sizes, and the first convolution with its settings."""
_LAYER = re.compile(rb"\n([A-Za-z_]\S*)[ \r]*(?=\n)")
_HEAD = 256
_PAGE = 1 << 20
_COST = 1500
"""bytes of memory that an array takes"""
_RECENT = RecentBlocks()
_NORM = ("mean", "variance", "scale", "bias")
_NORM_ROLES = (Role.MEAN, Role.VARIANCE, Role.SCALE, Role.OFFSET)
_SIZES = {6: (Role.KERNEL, "kh kw in out"), 2: (Role.KERNEL, "in out"), 1: (Role.BIAS, "out")}


def layers(source: Source) -> Iterator[Weight]:
    """Yield the arrays of each layer. Raises `FormatError` for numbers that no known layer has."""
    budget = Budget(source)
    content = source.read(0, source.size)
    found = [*_LAYER.finditer(content)]
    budget.spend(_COST * len(found) + source.size)
    for place, match in enumerate(found):
        end = found[place + 1].start() if place + 1 < len(found) else len(content)
        name = match[1].decode("utf-8", "backslashreplace")
        yield from _layer(source, name, content, match.end(), end)


def _layer(source: Source, name: str, content: bytes, begin: int, end: int) -> Iterator[Weight]:
    """Yield the arrays of a layer, whose settings and numbers are between `begin` and `end`; a block has none."""
    first = content[begin : min(end, begin + _HEAD)].split()[:7]
    whole = [int(word) if word.isdigit() and len(word) < 10 else -1 for word in first]
    count = next((place for place, number in enumerate(whole) if number < 0), len(whole))
    total = _count(content, begin, end)
    if count == total:
        return
    is_norm = count == 1 and {*whole[2:4]} <= {0, 1} and len(whole) > 3
    shape = (whole[0],) if is_norm else tuple(whole[:count][:4])
    words = [word for word, has in zip(_NORM, (1, 1, *whole[2:4]), strict=True) if has] if is_norm else ["weights"]
    skipped = 4 if is_norm else count
    if (count not in _SIZES and not is_norm) or not is_possible(shape) or total != skipped + len(words) * prod(shape):
        what = f"has the layer {quoted(name)} with the settings {whole[:count]} and {total - count:,} numbers after them"
        raise FormatError(source.name, f"{what}, which do not fit (partial download?)", begin)
    read = _reader(source, name, (begin, end), skipped, total - skipped)
    for place, word in enumerate(words):
        role, axes = (_NORM_ROLES[_NORM.index(word)], "channel") if is_norm else _SIZES[count]
        part = _part(read, place * prod(shape))
        yield Weight(
            name=f"{name}.{word}", shape=shape, dtype="float32", read=part, role=role, axes=axes, layer=name, encoding="text"
        )


def _count(content: bytes, begin: int, end: int) -> int:
    """Return how many words there are; a page at a time, since words take more memory than their text."""
    count = 0
    for at in range(begin, end, _PAGE):
        stop = min(at + _PAGE, end)
        count += len(content[at:stop].split())
        count -= at > begin and not content[at - 1 : at].isspace() and not content[at : at + 1].isspace()
    return count


def _part(read: Reader, at: int) -> Reader:
    return lambda start, stop: read(at + start, at + stop)


def _reader(source: Source, name: str, place: tuple[int, int], skipped: int, count: int) -> Reader:
    key = object()

    def make() -> Array:
        import numpy as np

        begin, end = place
        made, at, rest, left = np.empty(count, np.float32), 0, b"", skipped
        with np.errstate(over="ignore"):
            for offset in range(begin, end, _PAGE):
                text = rest + source.read(offset, min(_PAGE, end - offset))
                cut = len(text) if offset + _PAGE >= end else max(text.rfind(b"\n"), text.rfind(b" ")) + 1
                words, rest = text[:cut].split(), text[cut:]
                words, left = words[left:], max(left - len(words), 0)
                made[at : at + len(words)] = _parsed(source, name, words)
                at += len(words)
        return made

    return lambda start, stop: _RECENT.get(key, make, sizes.BAND_BYTES)[start:stop]


def _parsed(source: Source, name: str, words: list[bytes]) -> list[float]:
    try:
        return [*map(float, words)]
    except ValueError:
        raise FormatError(source.name, f"has something else than numbers in {quoted(name)}") from None
