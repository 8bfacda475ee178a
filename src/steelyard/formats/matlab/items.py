"""What a file of MATLAB holds, as both of its layouts list it: numbers, texts, and objects that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.readers import ByColumns
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Reader

MARK_5 = b"MATLAB 5.0 MAT-file"
MARK_7 = b"MATLAB 7.3 MAT-file"

COST = 1000
"""bytes of memory that a listed array takes"""
DTYPES = {
    "double": "float64",
    "single": "float32",
    "logical": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""The classes of numbers in MATLAB, and their types."""


class Item(NamedTuple):
    """An array by its words in MATLAB, and its text if it is one."""

    weight: Weight
    text: str | None = None


def numbers(name: str, shape: tuple[int, ...], dtype: str, read: Reader, encoding: str = "") -> Item:
    """List numbers, which `read` gives column by column."""
    turned = sum(length > 1 for length in shape) > 1 and min(shape) > 0
    reader = ByColumns(read, shape) if turned else read
    return Item(Weight(name=name, shape=shape, dtype=dtype, read=reader, layer=layer_of(name), encoding=encoding))


def text(name: str, file: str, content: str | None) -> Item:
    """List a text, which has no numbers; None for one that is too long to be a name."""
    what = "a text" if content is None else f"the text {quoted(content, 60)}"
    return Item(_refused(name, file, f"is {what}, not numbers"), content or "")


def refused_object(name: str, file: str, kind: str) -> Item:
    """List an object of a class of MATLAB, whose layout is not public."""
    what = f"is an object of the class {quoted(kind)}, which only MATLAB reads; there, save its arrays in a struct"
    return Item(_refused(name, file, what))


def damaged(name: str, file: str, why: str) -> Item:
    """List an array that cannot be read."""
    return Item(_refused(name, file, why))


def _refused(name: str, file: str, why: str) -> Weight:
    error = FormatError(file, f"{printable(name)} {why}")
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer_of(name))


def member(name: str, number: int, count: int) -> str:
    """Return the words for an element of an array of structs; a single one needs no number.

    >>> member("s", 0, 1), member("s", 1, 3)
    ('s', 's(2)')
    """
    return name if count == 1 else f"{name}({number + 1})"


def checked_shape(dims: Sequence[int], file: str, name: str) -> tuple[int, ...]:
    """Return a shape; raises `FormatError` for one that no array has."""
    from steelyard.codecs.limits import is_possible

    if not dims or not is_possible(dims):
        raise FormatError(file, f"{printable(name)} has the impossible shape {printable(list(dims))}")
    return tuple(dims)
