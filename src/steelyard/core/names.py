"""Many names at once: each function takes the time of one pass of a regular expression over all of them, joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress, count
from operator import ne
from typing import Any

Head = tuple[str, str]
"""The words before the first number of a name, and the digits of this number."""

_DIGITS = re.compile(r"[0-9]+")
_FIRST = re.compile(r"^(?:([^0-9\n]*+)([0-9]++))?", re.MULTILINE)
"""What a line begins with: words and a number, both blank in a line without a number."""
_HEAD = re.compile(r"(?:([^0-9]*+)([0-9]++))?")


def templates(names: Sequence[str]) -> list[str]:
    """Return the names with 0 for each number, so that those that differ in their numbers only are equal.

    >>> templates(["h.10.w", "h.2.w", "out"])
    ['h.0.w', 'h.0.w', 'out']
    """
    made = _DIGITS.sub("0", "\n".join(names)).split("\n")
    return made if len(made) == len(names) else [_DIGITS.sub("0", name) for name in names]  # a name may have a line break


def heads(names: Sequence[str]) -> list[Head]:
    """Return the words before the first number of each name, and its digits; both are blank for a name without a number.

    >>> heads(["h.10.w", "h.2.w", "out"])
    [('h.', '10'), ('h.', '2'), ('', '')]
    """
    found: list[Head] = _FIRST.findall("\n".join(names))
    return found if len(found) == len(names) else [_HEAD.findall(name)[0] for name in names]


def changes(items: Sequence[Any]) -> list[int]:
    """Return the places at which an item differs from the one before it, the first and the end of the sequence.

    >>> changes(["a", "a", "b"]), changes([])
    ([0, 2, 3], [0])
    """
    cuts = [0, *compress(count(1), map(ne, items, items[1:]))]
    return [*cuts, len(items)] if items else cuts


def marks(items: Sequence[Any]) -> list[int]:
    """Return a number for each item, the same for equal ones: the place of the first of these.

    >>> marks(["a", "b", "a"])
    [0, 1, 0]
    """
    first: dict[Any, int] = {}
    return list(map(first.setdefault, items, range(len(items))))
