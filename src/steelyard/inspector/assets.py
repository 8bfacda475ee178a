"""The files of the page: one HTML file, one style sheet, and the ES modules in their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIXES = (".html", ".css", ".js")
"""Suffixes of the files that a browser loads; type declarations (`.d.ts`) are for the type checker only."""


SERVED, RUN_SERVED = "served.js", "run/served.js"
"""The modules that run in the pages of the server: that of a net, and that of a run."""
RUN = "run/"
"""The folder of the page of a run."""
SHARED = ("page.css", "data/pack.js", "draw/canvas.js", "draw/element.js", "draw/scheme.js", "draw/theme.js")
"""The files that the page of a run has in common with that of a net."""


def page_files() -> dict[str, str]:
    """Return the text of every file that a browser loads, by its path in the page: `page.css`, `data/pack.js`."""
    return {name: text for name, text in _all_files() if not name.startswith(RUN)}


def run_files() -> dict[str, str]:
    """Return the same for the page of a run, whose first file is `index.html` too."""
    found = {name: text for name, text in _all_files() if name.startswith(RUN) or name in SHARED}
    return {"index.html": found.pop(f"{RUN}index.html"), **found}


def with_script(texts: Mapping[str, str], entry: str) -> dict[str, str]:
    """Return the files of a page with one script, named as the module `entry` and in place of all modules."""
    from steelyard.inspector.joined import joined

    modules = {name: text for name, text in texts.items() if name.endswith(".js")}
    return {**{name: text for name, text in texts.items() if name not in modules}, entry: joined(modules, entry)}


def _all_files() -> Iterator[tuple[str, str]]:
    yield from _walk(files("steelyard.inspector") / "page", "")


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _walk(each, f"{prefix}{each.name}/")
        elif each.name.endswith(SUFFIXES):
            yield prefix + each.name, each.read_text("utf-8")
