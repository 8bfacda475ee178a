"""Writes the values of a pickle as Python source: calls with their arguments, for messages."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Blob, Boxed, Persistent, Record
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled

SHOWN_DEPTH = 4
"""The number of levels of a call's arguments that are shown."""
SHOWN_ITEMS = 8
"""The number of items of a list, a tuple or a dict that are shown."""


def written(value: Pickled, depth: int = SHOWN_DEPTH) -> str:  # noqa: PLR0911 - one for each kind of value
    """Return a value of a pickle as Python source on one line, with "..." for parts that are too long or too deep.

    >>> from steelyard.codecs.pickle.values import Global, Record
    >>> written(Record(Global("posix", "system"), ("ls",)))
    "posix.system('ls')"
    """
    if isinstance(value, (Record, list, tuple, dict)) and depth <= 0:
        return "..."
    if isinstance(value, Record):
        args = value.args if isinstance(value.args, tuple) else (value.args,)
        return f"{written(value.call, depth - 1)}({_comma_separated(args, depth)})"
    if isinstance(value, (list, tuple)):
        items = _comma_separated(value, depth)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    if isinstance(value, dict):
        keys = islice(value, SHOWN_ITEMS)
        pairs = [f"{written(key, depth - 1)}: {written(value[key], depth - 1)}" for key in keys]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (Blob, Persistent, Boxed)):
        return {Blob: "<bytes>", Persistent: "<storage>", Boxed: "<key>"}[type(value)]
    if isinstance(value, (str, bytes)):
        return printable(repr(value[:200]), 120)
    return printable(value, 120)


def _comma_separated(values: list[Pickled] | tuple[Pickled, ...], depth: int) -> str:
    return ", ".join(written(value, depth - 1) for value in values[:SHOWN_ITEMS])
