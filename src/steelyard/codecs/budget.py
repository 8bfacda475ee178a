"""What a reader may spend on one file: a floor that any file may cost, and more for each byte of the file."""

from __future__ import annotations

from steelyard.codecs import limits
from steelyard.errors import FormatError


class Budget:
    """So many of one thing; `spend` raises `FormatError` when they are used up.

    >>> budget = Budget("a.index", 10, "bytes of names", floor=4, per_byte=2)
    >>> budget.spend(24)
    >>> budget.spend(1)
    Traceback (most recent call last):
    steelyard.errors.FormatError: a.index: takes more than 24 bytes of names, too many for a file of 10 bytes
    """

    __slots__ = ("_allowed", "_left", "_size", "_what", "file")

    def __init__(self, file: str, size: int, what: str, *, floor: int, per_byte: float) -> None:
        self.file = file
        self._size = size
        self._what = what
        self._allowed = self._left = floor + int(per_byte * size)

    def spend(self, amount: int) -> None:
        """Take off an amount."""
        self._left -= amount
        if self._left < 0:
            what = f"{self._allowed:,} {self._what}"
            raise FormatError(self.file, f"takes more than {what}, too many for a file of {self._size:,} bytes")


def check_json(text: str | bytes, file: str, size: int) -> None:
    """Raise `FormatError` for JSON with too many values for a file of `size` bytes, before anything is decoded.

    A value takes two bytes and many more in memory. Values are counted by the marks around them; marks inside texts count too.
    """
    budget = Budget(file, size, "values of JSON", floor=limits.JSON_VALUES, per_byte=1 / limits.JSON_BYTES_PER_VALUE)
    if isinstance(text, str):
        budget.spend(text.count(",") + text.count("[") + text.count("{"))
    else:
        budget.spend(text.count(b",") + text.count(b"[") + text.count(b"{"))
