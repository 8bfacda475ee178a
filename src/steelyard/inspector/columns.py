"""The columns of an index in a third of the room that they take as JSON, of which a browser makes lists again.

    {"of": items, "at": numbers}    the item of each row, of which there are few
    {"floats": numbers}             numbers, NaN for None
    {"letters": numbers}            the beginning of each row's name, which is so long

All other columns, such as the names, are lists, or arrays that a page reads as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.gc_pause import uncollected
from steelyard.inspector.index import STATISTICS

if TYPE_CHECKING:
    from steelyard.core.weight import Array

MOST_ITEMS = 1 << 16
LARGEST_INTEGER = 1 << 53
"""Larger integers are not all numbers of float64."""
NORMAL = 2.0**-126
"""Smaller numbers of float32 have fewer digits."""


@uncollected()
def compact(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return an index for a page.

    >>> compact({"columns": {"name": ["a", "b"], "dtype": ["float32", "float32"]}})["columns"]
    {'name': ['a', 'b'], 'dtype': {'of': ['float32'], 'at': array([0, 0], dtype=uint8)}}
    """
    columns = index["columns"]
    made = {word: column if word == "name" else _compact(word, column) for word, column in columns.items() if word != "layer"}
    if "layer" in columns:
        made["layer"] = _beginnings(columns["layer"], columns["name"]) or _repeated(columns["layer"])
    return {**index, "columns": made}


def _compact(word: str, column: Any) -> Any:
    if not isinstance(column, list):
        return column
    kinds = set(map(type, column))
    numbers = _numbers(column, kinds, brief=word in STATISTICS) if kinds - {NoneType} <= {int, float} else None
    return _repeated(column) if numbers is None else {"floats": numbers}


def _numbers(column: Sequence[Any], kinds: set[type], *, brief: bool) -> Array | None:
    """Return numbers as float64, or as float32 if they are shown in `brief`; None if an array cannot tell all of them."""
    missing = column.count(None) if NoneType in kinds else 0
    if missing == len(column):
        return None
    integers = column if kinds == {int} else [each for each in column if type(each) is int]
    if integers and (max(integers) > LARGEST_INTEGER or min(integers) < -LARGEST_INTEGER):
        return None
    numbers = np.array(column, np.float64)
    if np.isnan(numbers).sum() != missing:
        return None
    with np.errstate(over="ignore", under="ignore"):
        shorter = numbers.astype(np.float32)
    sizes = np.abs(shorter)
    fits = ((sizes >= NORMAL) & (sizes < np.inf)) | (numbers == 0) | ~np.isfinite(numbers)
    return shorter if brief and fits.all() else numbers


def _repeated(column: Sequence[Any]) -> Any:
    """Return a column as items and the number of each row's item, unless most items are distinct."""
    keys = _hashable(column) if list in set(map(type, column)) else column
    places = {key: nth for nth, key in enumerate(dict.fromkeys(keys))}
    if 2 * len(places) > len(column) + 1 or len(places) > MOST_ITEMS:
        return column
    items = [list(key) if isinstance(key, tuple) else key for key in places]
    at = np.fromiter(map(places.__getitem__, keys), np.uint8 if len(items) <= 1 << 8 else np.uint16, len(column))
    return {"of": items, "at": at}


def _hashable(column: Sequence[Any]) -> list[Any]:
    """Return a column with tuples for lists, of which most are the same few objects."""
    objects = dict(zip(map(id, column), column, strict=True))
    known = {place: tuple(each) if isinstance(each, list) else each for place, each in objects.items()}
    return list(map(known.__getitem__, map(id, column)))


def _beginnings(column: Sequence[str | None], names: Sequence[str]) -> dict[str, Any] | None:
    """Return the lengths of texts that are the beginnings of names; None for any others. Browsers count letters differently."""
    if not ("".join(names).isascii() and None not in column and all(map(str.startswith, names, map(str, column)))):
        return None
    return {"letters": np.array(list(map(len, map(str, column))), np.uint32)}
