"""All tables in one file of little-endian numbers, each at an offset that suits its type."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.core.readers import each_raw
from steelyard.device.exported import Export, Table
from steelyard.dtypes import itemsize

if TYPE_CHECKING:
    from steelyard.device.writers import Pieces


def alignment(table: Table, align: int | None) -> int:
    """Return the number of bytes of which the address of a table is a multiple."""
    return max(itemsize(table.plain.dtype), align or 1)


def offsets(tables: Sequence[Table], align: int | None) -> list[int]:
    """Return the offset of each table.

    >>> import numpy as np, steelyard
    >>> listed = steelyard.weights({"a": np.zeros(3, "uint8"), "b": np.zeros(2, "float32")})
    >>> tables = [Table(weight.name, weight, weight) for weight in listed.values()]
    >>> offsets(tables, None), offsets(tables, 16)
    ([0, 4], [0, 16])
    """
    places, end = [], 0
    for table in tables:
        end += -end % alignment(table, align)
        places.append(end)
        end += table.nbytes
    return places


def size(tables: Sequence[Table], align: int | None) -> int:
    """Return the size of the file in bytes."""
    return offsets(tables, align)[-1] + tables[-1].nbytes if tables else 0


def content(tables: Sequence[Table], align: int | None) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the file; those between two tables are 0."""
    end = 0
    read = each_raw(table.plain for table in tables)
    for table, offset, (_, chunks) in zip(tables, offsets(tables, align), read, strict=True):
        yield bytes(offset - end)
        yield from chunks
        end = offset + table.nbytes


def own_file(export: Export, file: str, align: int | None) -> dict[str, Pieces]:
    """Return the file of numbers next to a source file, by its name; none if the numbers are text."""
    if export.options.text != "bin":
        return {}
    return {f"{os.path.splitext(file)[0]}.bin": content(export.tables, align)}
