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
    """Look into the pickle of an array of objects, and into what follows the numbers; Equinox writes array after array."""
    several, begin = place.name.lower().endswith(".eqx"), 0
    while True:
        rest = source.part(begin, source.size - begin)
        here = Place(place.name, place.inside, place.origin + begin)
        if begin and not (several and recognises(rest)):
            yield AuditFinding("trailing-bytes", here.at(0), f"{rest.size:,} bytes follow the array, and nothing describes them")
            yield Inside(rest, here)
            return
        offset, descr, _, shape = header(rest)
        if "O" in descr:
            inner = Place(place.name, place.inside, here.origin + offset)
            yield Inside(rest.part(offset, rest.size - offset, "objects.pkl"), inner)
            return
        width = _width(descr)
        end = offset + width * prod(shape)
        if end > rest.size:
            what = f"an array of {end - offset:,} bytes is cut: {rest.size - offset:,} are left"
            yield AuditFinding("damaged", here.at(rest.size), what)
        if not width or end >= rest.size:
            return
        begin += end


def _width(descr: str) -> int:
    """Return the bytes of an element; 0 for a record, whose width is not known here."""
    code = descr.lstrip("<>|=")
    kind, digits = code[:1], code[1:].partition("[")[0]
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        return 0
    return int(digits) * (4 if kind == "U" else 1)
