"""Numbers alone, row-major and little-endian, each weight at an address that suits its type; a JSON manifest describes them.

The manifest of `net.bin` is `net.bin.json`:

| key | |
|---|---|
| format, version | "steelyard export", 1 |
| source, digest, notes | as in the header of the other languages |
| data, byte order, bytes | the file of numbers, "little", its size |
| weights | a list of name, symbol, dtype, shape, axes, offset in bytes; or name, symbol, tied: the name of another weight |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import packed
from steelyard.device.exported import manifest

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.writers import Pieces

TEXTS = ("bin",)
PLACES = True
LIMIT = None
RESERVED = ()


def derived(axes: int) -> list[str]:
    """Return no ending: a symbol is only a name in the manifest."""
    return []


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return the numbers and their manifest."""
    return {file: packed.content(export.tables, export.options.align), f"{file}.json": _manifest(export, file)}


def _manifest(export: Export, file: str) -> Iterator[str]:
    align = export.options.align
    facts = {
        **manifest(export),
        "data": file,
        "byte order": "little",
        "bytes": packed.size(export.tables, align),
    }
    weights: list[dict[str, object]] = [
        {
            "name": table.weight.name,
            "symbol": table.symbol,
            "dtype": table.plain.dtype,
            "was": table.weight.dtype,
            "shape": list(table.plain.shape),
            "axes": table.plain.axes,
            "offset": offset,
        }
        for table, offset in zip(export.tables, packed.offsets(export.tables, align), strict=True)
    ]
    ties = [{"name": export.true_names[key], "symbol": key, "tied": table.weight.name} for key, table in export.ties.items()]
    yield json.dumps({**facts, "weights": [*weights, *ties]}, indent=1) + "\n"
