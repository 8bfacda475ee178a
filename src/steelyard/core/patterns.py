"""Patterns of names that a user or a file gives: regular expressions and globs that take a bounded time on any name.

Python's matcher tries the ways through an expression one by one, and some have more ways than a machine can try: `(a+)+b` has
2^n on a name of n letters. Such an expression is run in all its states at once instead, which takes at most the length of the
name times that of the expression, and finds the same groups.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from time import perf_counter
from typing import TYPE_CHECKING

from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.pattern_states import States

LONGEST = 10_000
"""letters of a regular expression: more take seconds to compile"""
LONGEST_GLOB = 1_000
"""letters of a pattern with wildcards"""
_FEW_WAYS, _MANY_WAYS = 10_000, 10_000_000  # of which Python tries 10 to 100 million in a second
_PATIENCE = 1.0  # seconds that an expression of many ways may take for all names, before it is run in its states
_STEPS = 5_000_000  # states times letters: a few seconds


def fits(name: str, glob: str) -> bool:
    """Whether a whole name fits a pattern of `*`, `?` and `[...]`; a pattern also fits the name that is equal to it.

    Raises `ShapeError` for a pattern that is too long to be one.
    """
    if glob in ("*", name):
        return True
    if len(glob) > LONGEST_GLOB:
        raise ShapeError(f"the pattern {quoted(glob)} has {len(glob):,} letters; at most {LONGEST_GLOB:,} are allowed")
    return fnmatchcase(name, glob)


class Pattern:
    """A regular expression for whole names. Raises `re.error` for what is not one, or is too long."""

    __slots__ = ("_spent", "_states", "_tree", "_ways", "_whole", "text")

    def __init__(self, text: str) -> None:
        from steelyard.core.pattern_states import tree_of

        if len(text) > LONGEST:
            raise re.error(f"it has {len(text):,} letters; at most {LONGEST:,} are allowed")
        try:
            self._whole = re.compile(text).fullmatch
            self._tree = tree_of(text)
        except (RecursionError, OverflowError):
            raise re.error("it is nested too deep, or counts too far") from None
        self._states: States | None = None
        self._ways: dict[int, float] = {}
        self._spent = 0.0
        self.text = text

    def match(self, name: str) -> re.Match[str] | None:
        """Return the match of a whole name. Raises `ShapeError` if that may take too long."""
        ways = self._ways.get(len(name)) or self._ways_of(len(name))
        if ways <= _FEW_WAYS:
            return self._whole(name)
        if ways > _MANY_WAYS or self._spent > _PATIENCE:
            return self._in_states(name)
        start = perf_counter()
        found = self._whole(name)
        self._spent += perf_counter() - start
        return found

    def _ways_of(self, length: int) -> float:
        from steelyard.core.pattern_states import ways_of

        self._ways[length] = ways_of(self._tree, length)
        return self._ways[length]

    def _in_states(self, name: str) -> re.Match[str] | None:
        from steelyard.core.pattern_states import States

        try:
            self._states = self._states or States(self._tree)
        except re.error as error:
            raise self._refusal(name, f"it {error}; write it without that") from None
        if len(self._states) * len(name) > _STEPS:
            raise self._refusal(name, "it is long; write a shorter one")
        return self._states.match(name)

    def _refusal(self, name: str, why: str) -> ShapeError:
        shown = f"the pattern {quoted(self.text, 100)} could take hours on the name {quoted(name, 60)}"
        return ShapeError(f"{shown}, of {len(name):,} letters: its parts fit in many ways, and {why}")
