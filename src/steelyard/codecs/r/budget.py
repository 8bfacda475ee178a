"""The memory that the objects of a file may take, so that a small file cannot exhaust it."""

from __future__ import annotations

from steelyard.codecs import limits
from steelyard.errors import FormatError

TEXT_COST = 150  # bytes of overhead in memory per text


class Budget:
    """The bytes of memory left for objects; numbers that stay in the file count for nothing."""

    __slots__ = ("_left", "_size", "file")

    def __init__(self, file: str, size: int) -> None:
        self.file = file
        self._size = size
        self._left = min(limits.R_MEMORY, limits.R_MEMORY_FLOOR + limits.R_MEMORY_PER_BYTE * size)

    def charge(self, cost: int, offset: int | None = None) -> None:
        """Deduct `cost` bytes before they are allocated. Raises `FormatError` if fewer are left."""
        self._left -= cost
        if self._left < 0:
            what = f"its objects would take more memory than a file of {self._size:,} bytes may use; refused"
            raise FormatError(self.file, what, offset)
