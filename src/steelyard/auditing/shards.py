"""The index of a model in several files: each of its files is looked into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.errors import FormatError, SteelyardError

if TYPE_CHECKING:
    from steelyard.storage.source import Source


def recognises(source: Source) -> bool:
    """Recognise an index by its name; that of a folder is not read again, since all its files are audited."""
    return source.name.endswith(".index.json") and source.size <= limits.JSON


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Look into each file that the index names, once."""
    text = source.read(0, source.size)
    check_json(text, source)
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(source.name, f"the index is not JSON: {error}") from None
    named = index.get("weight_map") if isinstance(index, dict) else None
    if place.inside is not None or not isinstance(named, dict):
        return
    for name in dict.fromkeys(name for name in named.values() if isinstance(name, str)):
        try:
            yield Inside(source.beside(name), Place(name, place))
        except SteelyardError as error:
            yield AuditFinding("not-looked-into", str(place), f"was not looked into: {error}")
