"""NumPy's arrays: an array of objects is a pickle, and bytes may follow an array of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs.pickle.npy import MAGIC, header

if TYPE_CHECKING:
    from steelyard.storage.source import Source


def recognises(source: Source) -> bool:
    """Recognise the magic number of an array."""
    return source.head(len(MAGIC)) == MAGIC


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Look into the pickle of an array of objects, and into what follows the numbers."""
    offset, descr, _, shape = header(source)
    if "O" in descr:
        rest = source.part(offset, source.size - offset, "objects.pkl")
        yield Inside(rest, Place(place.name, place.inside, place.origin + offset))
        return
    size = _width(descr) * prod(shape)
    end = offset + size
    if size and end > source.size:
        what = f"an array of {size:,} bytes is cut: {source.size - offset:,} are left"
        yield AuditFinding("damaged", place.at(source.size), what)
    elif size and end < source.size:
        what = f"{source.size - end:,} bytes follow the array, and nothing describes them"
        yield AuditFinding("trailing-bytes", place.at(end), what)
        yield Inside(source.part(end, source.size - end), Place(place.name, place.inside, place.origin + end))


def _width(descr: str) -> int:
    """Return the bytes of an element; 0 for a record, whose width is not known here."""
    code = descr.lstrip("<>|=")
    kind, digits = code[:1], code[1:].partition("[")[0]
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return 0
    return int(digits) * (4 if kind == "U" else 1)
