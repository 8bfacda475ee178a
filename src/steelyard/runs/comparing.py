"""Two runs side by side: whether they began with the same weights, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import ShapeError, printable
from steelyard.runs.curves import broken
from steelyard.runs.layout import COLUMNS

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.runs.layout import Fact


class RunComparison:
    """Two runs at the `steps` that both have.

    `settings` has those that differ, each as a pair. `same_start` is whether the statistics of all weights are equal, to the last
    bit, at the first of these steps, as they are for one seed and one order of the data. `parted` is the first step at which they
    differ, None if they never do, and `first` names the weights that differ there. `distances` has the distance of the two nets
    at each step, from the sketches, and `relative` the same over the mean of their norms; both are None where the sketches have
    different seeds or orders.
    """

    __slots__ = ("a", "b", "distances", "first", "parted", "relative", "same_start", "settings", "steps")

    def __init__(self, a: str, b: str, steps: Sequence[int], differ: Array, names: Sequence[str]) -> None:
        self.a, self.b = a, b
        self.steps = list(steps)
        apart: Array = np.asarray(differ.any(axis=1))
        self.same_start = not apart[0]
        nth = int(apart.argmax()) if apart.any() else None
        self.parted = None if nth is None else self.steps[nth]
        self.first = [] if nth is None else [name for name, differs in zip(names, differ[nth], strict=True) if differs]
        self.settings: dict[str, tuple[Any, Any]] = {}
        self.distances: Array | None = None
        self.relative: Array | None = None

    def __repr__(self) -> str:
        from steelyard.text.histories import comparison_text

        return comparison_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.histories_html import comparison_html

        return comparison_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        apart = {word: _known(getattr(self, word)) for word in ("distances", "relative")}
        words = ("a", "b", "settings", "same_start", "parted", "first", "steps")
        return {**{word: getattr(self, word) for word in words}, **apart}


def _known(values: Array | None) -> list[float | None] | None:
    return None if values is None else [value if isfinite(value) else None for value in values.tolist()]


@np.errstate(all="ignore")  # a damaged record may have any numbers
def compare(a: Any, b: Any) -> RunComparison:
    """Compare two runs of the same weights at their common steps; raises `ShapeError` if they have none."""
    mine, theirs = ({fact.name: rank for rank, fact in enumerate(run.layout.recorded)} for run in (a, b))
    _require_same(a, b)
    rows = [{step: nth for nth, step in enumerate(run.steps)} for run in (a, b)]
    steps = [step for step in rows[0] if step in rows[1]]
    if not steps:
        raise ShapeError(f"{printable(a.path)} and {printable(b.path)} have no step in common")
    kept = [[row[step] for step in steps] for row in rows]
    columns = [nth for nth, name in enumerate(COLUMNS) if name != "update"]  # a resumed run lacks some
    one = np.asarray(a.stats)[kept[0]][:, :, columns]
    other = np.asarray(b.stats)[kept[1]][:, [theirs[name] for name in mine]][:, :, columns]
    differ = ((one != other) & ~(np.isnan(one) & np.isnan(other))).any(axis=2)
    found = RunComparison(a.path, b.path, steps, differ, list(mine))
    said = a.layout.settings, b.layout.settings
    pairs = {name: (said[0].get(name), said[1].get(name)) for name in dict.fromkeys((*said[0], *said[1]))}
    found.settings = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if a.layout.seed == b.layout.seed and list(mine) == list(theirs):
        _measure(found, a, b, kept)
    return found


def _measure(found: RunComparison, a: Any, b: Any, kept: Sequence[Sequence[int]]) -> None:
    one, other = (run.sketches()[rows].astype(np.float64) for run, rows in zip((a, b), kept, strict=True))
    bad = [broken(run)[rows].any(axis=1) for run, rows in zip((a, b), kept, strict=True)]
    found.distances = np.where(bad[0] | bad[1], np.nan, np.sqrt(np.square(one - other).sum(axis=1)))
    length = (np.sqrt(np.square(one).sum(axis=1)) + np.sqrt(np.square(other).sum(axis=1))) / 2
    found.relative = found.distances / np.where(length > 0, length, 1.0)


def _require_same(a: Any, b: Any) -> None:
    mine, theirs = ({fact.name: fact.shape for fact in _facts(run)} for run in (a, b))
    for name in dict.fromkeys((*mine, *theirs)):
        if mine.get(name) != theirs.get(name):
            sides = [f"{printable(run.path)} {_words(shapes.get(name))}" for run, shapes in ((a, mine), (b, theirs))]
            raise ShapeError(f"{printable(name)}: {' and '.join(sides)}; runs of the same weights are compared")


def _facts(run: Any) -> Sequence[Fact]:
    recorded: Sequence[Fact] = run.layout.recorded
    return recorded


def _words(shape: tuple[int, ...] | None) -> str:
    return "lacks it" if shape is None else f"has {list(shape)}"
