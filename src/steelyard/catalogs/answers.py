"""The answer to a question: a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from steelyard.text import tabular


class CatalogTable:
    """The answer of a catalogue: `names` of the columns, and `rows`; `title` is what they are, `note` how to read them."""

    __slots__ = ("names", "note", "rows", "title")

    def __init__(self, names: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "rows", note: str = "") -> None:
        self.names = tuple(names)
        self.rows = tuple(tuple(map(_plain, row)) for row in rows)
        self.title = title
        self.note = note

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __getitem__(self, nth: int) -> tuple[Any, ...]:
        return self.rows[nth]

    def __repr__(self) -> str:
        from steelyard.text.catalogs import answer_text

        return answer_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.catalogs import answer_html

        return answer_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"title": self.title, "rows": self.to_records(), "note": self.note}

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the table as columns, in which every cell is a string or a number."""
        return {name: [_flat(row[nth]) for row in self.rows] for nth, name in enumerate(self.names)}

    to_frame = tabular.to_frame
    write = tabular.write


def _plain(value: Any) -> Any:
    """Return a value of DuckDB in JSON's types."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else _number(value)


def _number(value: Any) -> Any:
    """Return a decimal as a number, and anything else, such as a date, as its text."""
    from decimal import Decimal

    if not isinstance(value, Decimal):
        return str(value)
    return int(value) if value == value.to_integral_value() else float(value)


def _flat(value: Any) -> Any:
    """Return a list or a record as one text."""
    if isinstance(value, list) and all(isinstance(each, int) for each in value):
        return "x".join(map(str, value)) or "scalar"
    if isinstance(value, list):
        return "; ".join(str(_flat(each)) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items() if each is not None)
    return value
