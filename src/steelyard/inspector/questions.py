"""The questions of a page, which the local server and the kernel of a notebook answer, and their parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.inspector.api import Api

WINDOW = ("top", "left", "bottom", "right")


class Query:
    """The parameters of a request, each given once: whole numbers and words by name."""

    __slots__ = ("_words",)

    def __init__(self, words: Sequence[tuple[str, str]]) -> None:
        self._words = dict(words)
        if len(self._words) != len(words):
            raise ShapeError("a parameter was given twice")

    def number(self, name: str) -> int:
        """Return a whole number, zero or more."""
        text = self._words.get(name, "")
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            raise ShapeError(f"{name} must be a whole number, zero or more, not {quoted(text, 40)}")
        return int(text)

    def row(self) -> int | None:
        """Return the row, None if it is left out."""
        return self.number("row") if "row" in self._words else None

    def window(self) -> tuple[int, int, int, int]:
        """Return the window of a matrix."""
        top, left, bottom, right = map(self.number, WINDOW)
        return top, left, bottom, right

    def word(self, name: str) -> str:
        """Return a word, blank if it is left out."""
        return self._words.get(name, "")


QUESTIONS: dict[str, Callable[[Api, Query], Any]] = {
    "index": lambda api, _: api.index(),
    "net": lambda api, query: api.net(query.word("view")),
    "detail": lambda api, query: api.detail(query.number("row"), query.number("side")),
    "statistics": lambda api, query: api.statistics(query.number("row"), query.number("side")),
    "heads": lambda api, query: api.heads(query.number("row"), query.number("side"), query.number("count")),
    "picture": lambda api, query: api.picture(
        query.number("row"), query.number("side"), query.window(), query.number("height"), query.number("width")
    ),
    "values": lambda api, query: api.values(query.number("row"), query.number("side"), query.window()),
    "compare": lambda api, query: api.compare(query.number("row")),
    "download": lambda api, query: api.download(query.row(), query.number("side"), query.word("format")),
}
"""The questions by their words: the endpoints below /api/."""
