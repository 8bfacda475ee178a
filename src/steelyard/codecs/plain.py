"""Plain values: all that JSON, MessagePack and the configs of models decode to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from steelyard.codecs.budget import check_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from steelyard.storage.source import Source

    Plain: TypeAlias = "bool | int | float | str | bytes | list[Plain] | dict[str, Plain] | None"
    Config = Mapping[str, Plain]


def from_json(text: str | bytes, source: Source | None = None) -> Plain:
    """Decode JSON; None for anything that is not JSON, is nested too deep, or has too many values for its file.

    `source` is where the text is from; without it the text is trusted.

    >>> from_json('{"name": [1, 2.5]}'), from_json("{")
    ({'name': [1, 2.5]}, None)
    """
    try:
        if source is not None:
            check_json(text, source)
        value: Plain = json.loads(text)
    except (ValueError, RecursionError):  # FormatError too
        return None
    return value
