"""The statistics in the rows of a report, as columns: most weights of a large file have nothing else there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from steelyard.inspector.details import rounded_column
from steelyard.inspector.index import STATISTICS
from steelyard.measures.check.survey import glances

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.inspector.index import Key, Row
    from steelyard.measures.check.survey import Facts


class Statistics:
    """The statistics of the weights of one side, in `columns` by the words of `STATISTICS`, and the place of each by its key."""

    __slots__ = ("columns", "places")

    def __init__(self) -> None:
        self.columns: dict[str, list[object]] = {word: [] for word in STATISTICS}
        self.places: dict[Key, int] = {}

    def glance(self, weights: Mapping[Key, Weight], facts: Facts) -> None:
        """Add those small weights that have no findings, without looking at each; `facts` are as `judged` returns them."""
        plain = {weight.name: key for key, weight in weights.items() if key == ("of", weight.name)}
        for names, columns in glances((weights[key] for key in plain.values()), facts):
            self.places |= {plain[name]: place for place, name in enumerate(names, len(self.places))}
            none = [0] * len(names)  # neither NaN nor Inf
            for word, column in zip(STATISTICS, (*(each.tolist() for each in columns), none, none), strict=True):
                self.columns[word] += column

    def add(self, key: Key, statistics: Sequence[object]) -> None:
        """Add those of one weight, in the order of `STATISTICS`."""
        self.places[key] = len(self.places)
        for word, value in zip(STATISTICS, statistics, strict=True):
            self.columns[word].append(value)


def columns_of_rows(rows: Sequence[Row], sides: Sequence[Statistics]) -> dict[str, list[object]]:
    """Return the statistics in each row, rounded: those of its weight on the first side that has one."""
    columns = {word: rounded_column([value for side in sides for value in side.columns[word]]) for word in STATISTICS}
    starts = accumulate((len(side.places) for side in sides), initial=0)
    placed = list(enumerate(zip(starts, sides, strict=False)))
    places = [next(start + of.places[key] for side, (start, of) in placed if (key := row.key(side))) for row in rows]
    return {word: [column[place] for place in places] for word, column in columns.items()}
