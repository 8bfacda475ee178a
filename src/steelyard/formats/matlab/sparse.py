"""Sparse matrices of MATLAB, given dense: for each column its rows and numbers, one after another."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_bomb
from steelyard.codecs.sparse_runs import dense_reader
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable
from steelyard.formats.matlab.items import Item, damaged, numbers

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source


def columns(
    source: Source, name: str, shape: tuple[int, ...], dtype: str, parts: tuple[Reader, Reader, Reader], count: int
) -> Item:
    """List a sparse matrix; `parts` read the rows, the first number of each column and one more, and the numbers."""
    nbytes = prod(shape) * itemsize(dtype)
    if is_bomb(nbytes, count * itemsize(dtype)):
        return damaged(name, source.name, f"would take {nbytes:,} bytes for {count:,} numbers; refused, see steelyard.limits")

    def load() -> tuple[Array, Array]:
        import numpy as np

        rows, firsts = parts[0](0, count).astype(np.int64), parts[1](0, shape[1] + 1).astype(np.int64)
        widths = np.diff(firsts)
        places = np.repeat(np.arange(shape[1]), np.maximum(widths, 0)) * shape[0]
        sound = firsts[0] == 0 and len(places) == count and (widths >= 0).all() and ((rows >= 0) & (rows < shape[0])).all()
        if sound:
            places += rows
        if not sound or (np.diff(places) <= 0).any():
            raise FormatError(source.name, f"{printable(name)} is damaged: the places of its numbers")
        return places, parts[2](0, count)

    return numbers(name, shape, dtype, dense_reader(load), "sparse")
