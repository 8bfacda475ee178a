"""What the readers of one file may spend: a floor that any file may cost, and more for each byte of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

JSON_VALUE = 150
"""bytes of memory that a value of JSON takes: an empty list 70, a dict of one entry 300"""
JSON_BYTE = 2
"""bytes of memory that a byte of JSON takes: it is read, and then decoded"""


READ_PER_COST = 32
"""bytes of numbers that are charged as one byte of memory, for the time to read them"""


class Budget:
    """The bytes of memory that the readers of a file may take; all sources within one file have one budget.

    A reader spends an estimate before it allocates; work that takes time instead is charged as so many bytes. Numbers that
    stay in the file cost nothing.

    >>> from steelyard.storage.source import from_bytes
    >>> with limits.allow(MEMORY=4, MEMORY_PER_BYTE=2):
    ...     budget = Budget(from_bytes(bytes(10), "a.index"))
    >>> budget.spend(24)
    >>> budget.spend(1)
    Traceback (most recent call last):
    steelyard.errors.FormatError: a.index: takes more than 24 bytes of memory, too many for a file of 10 bytes; \
refused, see steelyard.limits
    """

    __slots__ = ("_allowed", "_whole", "file")

    def __init__(self, source: Source) -> None:
        self.file = source.name
        self._whole = source.whole
        self._allowed = limits.MEMORY + limits.MEMORY_PER_BYTE * self._whole.size

    @property
    def is_used_up(self) -> bool:
        """Whether the readers of the file have spent more than they may."""
        return self._whole.spent > self._allowed

    @property
    def left(self) -> int:
        """The bytes of memory that the readers of the file may still spend."""
        return max(self._allowed - self._whole.spent, 0)

    def spend(self, cost: int, offset: int | None = None) -> None:
        """Take off a cost; raises `FormatError` when the budget is used up. `offset` is for the message."""
        whole = self._whole
        whole.spent += cost
        if whole.spent > self._allowed:
            what = f"takes more than {self._allowed:,} bytes of memory, too many for a file of {whole.size:,} bytes"
            raise FormatError(self.file, f"{what}; refused, see steelyard.limits", offset)

    def owe(self, cost: int) -> None:
        """Take off the cost of work that is done; if the budget is then used up, the next `spend` raises."""
        self._whole.spent += cost

    def spend_read(self, nbytes: int) -> None:
        """Take off the time to read numbers that may take more bytes than the file has: repeated, or never stored."""
        self.spend(nbytes // READ_PER_COST)


def check_json(text: str | bytes, source: Source) -> None:
    """Raise `FormatError` for JSON of too many values for the file that it is from, before anything is decoded.

    A value takes two bytes and many more in memory.
    """
    Budget(source).spend(json_cost(text))


def json_cost(text: str | bytes) -> int:
    """Return the bytes of memory that JSON takes, by the marks around its values; marks inside texts count too.

    >>> json_cost("[1, 2]") == 2 * JSON_VALUE + 6 * JSON_BYTE
    True
    """
    if isinstance(text, str):
        marks = text.count(",") + text.count("[") + text.count("{")
    else:
        marks = text.count(b",") + text.count(b"[") + text.count(b"{")
    return JSON_BYTE * len(text) + JSON_VALUE * marks
