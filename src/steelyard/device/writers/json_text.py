"""JSON, for small nets: every weight with its numbers in row-major order.

JSON has no NaN and Inf, so a weight with one has `bits` in hexadecimal instead of `values`. A program that reads all numbers as
float64, as JavaScript does, loses integers above 2^53.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals
from steelyard.device.exported import manifest

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export, Table
    from steelyard.device.writers import Pieces

TEXTS = ("decimal", "bits")
PLACES = False
LIMIT = None
RESERVED = ()


def derived(axes: int) -> list[str]:
    """Return no ending: a symbol is only a word in the file."""
    return []


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return the one file."""
    return {file: _document(export)}


def _document(export: Export) -> Iterator[str]:
    yield f'{json.dumps(manifest(export), indent=1)[:-2]},\n "weights": ['
    separator = "\n"
    for table in export.in_turn():
        yield f"{separator}{_open(_facts(table))}, {json.dumps(_key(export, table))}: ["
        yield from _numbers(export, table)
        yield "]}"
        separator = ",\n"
    for symbol, table in export.ties.items():
        yield separator + json.dumps({"name": export.true_names[symbol], "symbol": symbol, "tied": table.weight.name})
        separator = ",\n"
    yield "\n]}\n"


def _facts(table: Table) -> dict[str, object]:
    return {
        "name": table.weight.name,
        "symbol": table.symbol,
        "dtype": table.plain.dtype,
        "was": table.weight.dtype,
        "shape": list(table.plain.shape),
        "axes": table.plain.axes,
    }


def _open(facts: dict[str, object]) -> str:
    return json.dumps(facts)[:-1]


def _key(export: Export, table: Table) -> str:
    return "bits" if _has_bits(export, table) else "values"


def _has_bits(export: Export, table: Table) -> bool:
    return literals.is_float(table.plain) and (export.options.text == "bits" or not table.finite)


def _numbers(export: Export, table: Table) -> Iterator[str]:
    text = literals.decimals if literals.is_float(table.plain) else literals.integers
    separator = ""
    for line in literals.lines(table.plain, _quoted if _has_bits(export, table) else text, indent=""):
        yield f"{separator}{line.rstrip()[:-1]}"
        separator = ",\n"


def _quoted(run: Array) -> list[str]:
    return [f'"{word[2:]}"' for word in literals.bits(run)]
