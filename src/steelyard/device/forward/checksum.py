"""The sum of a table's bits, which a test compares: FNV-1a, whose steps can be undone, so that any changed bit changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.device.exported import Table

FACTOR, START = 16777619, 2166136261


def table_sum(table: Table) -> int:
    """Return the sum of the bits of a table, in words of 32 bits, the lower one first."""
    import numpy as np

    total = START
    for block in table.plain.blocks():
        bits = np.ascontiguousarray(block).view(f"u{block.itemsize}").astype("<u8" if block.itemsize == 8 else "<u4")
        for word in bits.view("<u4").tolist():
            total = (total ^ word) * FACTOR & 0xFFFFFFFF
    return total
