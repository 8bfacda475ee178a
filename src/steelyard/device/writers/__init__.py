"""The languages of an export: one file each, which knows no other.

A writer has `TEXTS`, the forms of the numbers that it knows, the default first; `PLACES`, whether a section and an alignment
mean something; `LIMIT`, how many characters of a name its linkers look at; `RESERVED`, words that no symbol may be made of;
`derived`, the endings of other names that it makes of a symbol; and `files`, which returns the pieces of each file by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from steelyard.device.exported import Export

    Pieces = Iterable[str | bytes | memoryview]

SUFFIXES = {
    ".h": "c",
    ".c": "c",
    ".hpp": "c",
    ".ino": "c",
    ".rs": "rust",
    ".py": "micropython",
    ".bin": "binary",
    ".csv": "csv_text",
    ".json": "json_text",
}
"""The writer of each suffix."""


class Writer(Protocol):
    """The interface of a module in this folder."""

    TEXTS: tuple[str, ...]
    PLACES: bool
    LIMIT: int | None
    RESERVED: tuple[str, ...]

    def derived(self, axes: int, /) -> list[str]:
        """Return the endings of names that are made of the symbol of an array with at most this number of axes."""

    def files(self, export: Export, file: str, /) -> dict[str, Pieces]:
        """Return the pieces of each file by its name; `file` is the name of the one that was asked for, which is the first."""


def writer(suffix: str) -> Writer:
    """Return the writer of a suffix, and import no other."""
    return cast("Writer", import_module(f"steelyard.device.writers.{SUFFIXES[suffix]}"))
