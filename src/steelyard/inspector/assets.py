"""The files of the page: one HTML file, one style sheet, and the ES modules in their folders."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIXES = (".html", ".css", ".js")
"""Suffixes of the files that a browser loads; type declarations (`.d.ts`) are for the type checker only."""


def page_files() -> dict[str, str]:
    """Return the text of every file that a browser loads, by its path in the page: `page.css`, `data/pack.js`."""
    return dict(_walk(files("steelyard.inspector") / "page", ""))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _walk(each, f"{prefix}{each.name}/")
        elif each.name.endswith(SUFFIXES):
            yield prefix + each.name, each.read_text("utf-8")
