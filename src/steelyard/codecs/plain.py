"""Plain values: all that JSON, MessagePack and the configs of models decode to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Plain: TypeAlias = "bool | int | float | str | bytes | list[Plain] | dict[str, Plain] | None"
    Config = Mapping[str, Plain]


def from_json(text: str | bytes) -> Plain:
    """Decode JSON; None for anything that is not JSON, or is nested too deep.

    >>> from_json('{"name": [1, 2.5]}'), from_json("{")
    ({'name': [1, 2.5]}, None)
    """
    try:
        value: Plain = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
