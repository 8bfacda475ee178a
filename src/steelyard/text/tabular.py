"""The methods of every result that is a table: its class takes `to_columns`, `to_frame` and `write` from here by name.

What it needs of its own is `to_records`, the rows as plain Python, and `to_dict`, all of it for JSON; a result whose records
hold lists that are no shapes makes its columns itself.
"""

from __future__ import annotations

from typing import Any, Protocol


class Recorded(Protocol):
    """A result with rows."""

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""


class Tabular(Protocol):
    """A result that is a table."""

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the table as columns."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python."""


def to_columns(self: Recorded) -> dict[str, list[Any]]:
    """Return the rows as columns, with one string or number for each; what is in a part of a row has its name before a dot."""
    from steelyard.text.frames import columns_of

    return columns_of(self.to_records())


def to_frame(self: Tabular, library: str | None = None) -> Any:
    """Return a data frame of the named `library`, else of polars, pandas or pyarrow, whichever is imported or installed.

    Raises `MissingExtraError` if narwhals or all of these are missing, and `ShapeError` for another library.
    """
    from steelyard.text.frames import frame_of

    return frame_of(self.to_columns(), library)


def write(self: Tabular, path: str) -> None:
    """Write the table to a .csv, .json or .parquet file; the latter needs narwhals, and polars or pyarrow.

    Raises `ShapeError` for another suffix, and `MissingExtraError`.
    """
    from steelyard.text.frames import write_table

    write_table(self.to_columns(), self.to_dict(), path)
