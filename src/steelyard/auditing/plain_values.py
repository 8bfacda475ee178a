"""Walks through decoded JSON: its dicts and its texts, without recursion. Of a key that occurs twice both values are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.budget import check_json
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source


def decoded(text: bytes | str, source: Source) -> Plain:
    """Decode JSON of a file. Raises `FormatError` for JSON that is damaged, nested too deep, or has too many values."""
    check_json(text, source)
    try:
        value: Plain = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise FormatError(source.name, f"is not JSON: {error}") from None
    return value


def _pairs(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    """Return the dict; readers differ on which of two values of a key counts, so the first gets a key of its own."""
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    made = {}
    for key, value in pairs:
        if key in made:
            made[f"{key}\0{len(made)}"] = made.pop(key)
        made[key] = value
    return made


def dicts_in(root: Plain) -> Iterator[dict[str, Plain]]:
    """Yield all dicts in a value, from the outside in."""
    pending = [root]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending += [each for each in reversed(value.values()) if isinstance(each, (dict, list))]
        elif isinstance(value, list):
            pending += [each for each in reversed(value) if isinstance(each, (dict, list))]


def texts_in(root: Plain) -> Iterator[tuple[str, str]]:
    """Yield all texts in a value, each with the keys that lead to it, joined by dots."""
    pending: list[tuple[str, Plain]] = [("", root)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            pending += [(f"{path}.{key}"[:1000], each) for key, each in reversed(value.items())]
        elif isinstance(value, list):
            pending += [(path, each) for each in reversed(value)]
