"""Several files as a table: one row a file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import printable
from steelyard.text.table import Column, drawn, name_text
from steelyard.text.terminal import cut
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.text.terminal import Screen

_NUMBER = re.compile("([0-9]+)")
LEAST = 12
"""Width of a finding on a narrow screen, in cells."""


class FileRow(NamedTuple):
    """A file in a table of several: its totals, or what prevents that its weights are listed."""

    file: str
    format: str = ""
    weights: int | None = None
    parameters: int = 0
    dtype: str = ""
    nbytes: int = 0
    finding: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether the weights of the file can be listed."""
        return self.weights is not None


def row_of(file: str, form: str, weights: Weights, would_run: Sequence[str] = ()) -> FileRow:
    """Return the row of a file whose weights are listed; `would_run` is what loading it would run."""
    counts = weights.counts
    number = counts.parameters or counts.unknown
    unreadable = len(weights.unreadable)
    findings = [f"{counted(unreadable, 'weight')} cannot be read"] if unreadable else []
    findings += ["loading it would run code"] if would_run else []
    return FileRow(file, form, len(weights), number, dtypes_text(weights), weights.nbytes, "; ".join(findings))


def dtypes_text(weights: Weights) -> str:
    """Name the types of the numbers, that of most numbers first: at most two, and how many more there are.

    >>> import steelyard, numpy as np
    >>> dtypes_text(steelyard.weights({"a": np.zeros(3, "f4"), "step": np.zeros(1, "i8")}))
    'float32, int64'
    """
    sizes: Counter[str] = Counter()
    for weight in weights.values():
        sizes[weight.dtype] += weight.size
    words = [word for word, _ in sizes.most_common()]
    return ", ".join(words[:2]) + (f" +{len(words) - 2}" if len(words) > 2 else "")


def _counted(name: str) -> list[tuple[str, int, str]]:
    """Return a key that sorts run2 before run10: texts, and numbers by their size, without converting long ones."""
    parts = _NUMBER.split(name)
    digits = [number.lstrip("0") for number in [*parts[1::2], ""]]
    return [(text, len(number), number) for text, number in zip(parts[::2], digits, strict=True)]


def files_lines(rows: Sequence[FileRow], screen: Screen) -> Iterator[str]:
    """Yield a table with a row for each file, in the order of the numbers in their names, and the totals."""
    rows = sorted(rows, key=lambda row: _counted(row.file))
    limit = max((screen.width or 3000) // 3, LEAST)
    columns = [
        Column("name", [name_text(row.file) for row in rows], head="file"),
        Column("format", [row.format for row in rows]),
        Column("held", [f"{row.weights:,}" if row.is_listed else "" for row in rows], right=True, head="weights"),
        Column("parameters", [f"{row.parameters:,}" if row.is_listed else "" for row in rows], right=True),
        Column("dtype", [row.dtype for row in rows]),
        Column("bytes", [in_units(row.nbytes) if row.is_listed else "" for row in rows], right=True),
        Column("finding", [cut(printable(row.finding.partition("; ")[0], 1000), limit) for row in rows]),
    ]
    yield from drawn([column for column in columns if column.width], screen)
    listed = [row for row in rows if row.is_listed]
    sums = f"{counted(sum(row.parameters for row in listed), 'parameter')}, {in_units(sum(row.nbytes for row in listed))}"
    yield ""
    yield screen.broken(f"{counted(len(rows), 'file')}: {counted(sum(row.weights or 0 for row in listed), 'weight')}, {sums}")
