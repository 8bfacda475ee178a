"""CSV, for small nets: a line for every number with the name of its weight, its place, and its bits in hexadecimal.

| column | |
|---|---|
| name | the weight's own name |
| dtype | the type of the numbers |
| place | counted from 0, row-major |
| value | a decimal that reads back exactly; NaN, Inf, -Inf |
| bits | of the number, in hexadecimal, which also distinguish one NaN from another |

A weight that is tied to an earlier one, and one without numbers, has no lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export, Table
    from steelyard.device.writers import Pieces

TEXTS = ("decimal",)
PLACES = False
LIMIT = None
RESERVED = ()

_NONFINITE = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}


def derived(axes: int) -> list[str]:
    """Return no ending: a CSV has the true names."""
    return []


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return the one file."""
    return {file: _lines(export)}


def _lines(export: Export) -> Iterator[str]:
    yield "name,dtype,place,value,bits\n"
    for table in export.in_turn():
        yield from _rows(table)


def _rows(table: Table) -> Iterator[str]:
    start, head = 0, f"{_cell(table.weight.name)},{table.plain.dtype}"
    for block in table.plain.blocks(literals.CHUNK):
        values = _values(block) if literals.is_float(table.plain) else literals.integers(block)
        places = range(start, start + block.size)
        rows = zip(places, values, literals.bits(block), strict=True)
        yield "".join([f"{head},{place},{value},{bits[2:]}\n" for place, value, bits in rows])
        start += block.size


def _values(run: Array) -> list[str]:
    return [_NONFINITE.get(word, word) for word in literals.decimals(run)]


def _cell(text: str) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([text])
    return written.getvalue()
