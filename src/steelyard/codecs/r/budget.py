"""What the objects of a file may take in memory, so that a small file cannot ask for all there is."""

from __future__ import annotations

from steelyard.codecs import limits
from steelyard.errors import FormatError


class Budget:
    """The bytes of memory that are left for objects; numbers that stay in the file take none."""

    __slots__ = ("_left", "_size", "file")

    def __init__(self, file: str, size: int) -> None:
        self.file = file
        self._size = size
        self._left = min(limits.R_MEMORY, limits.R_MEMORY_FLOOR + limits.R_MEMORY_PER_BYTE * size)

    def charge(self, cost: int, offset: int | None = None) -> None:
        """Take `cost` bytes off, before they are allocated; raises `FormatError` where there are not as many."""
        self._left -= cost
        if self._left < 0:
            what = f"its objects would take more memory than a file of {self._size:,} bytes may ask for; refused"
            raise FormatError(self.file, what, offset)
