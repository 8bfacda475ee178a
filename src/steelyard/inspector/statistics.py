"""The statistics in the rows of a report, as columns: most weights of a large file have nothing else there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from steelyard.core.gc_pause import uncollected
from steelyard.inspector.details import rounded_column
from steelyard.inspector.index import STATISTICS
from steelyard.measures.check.survey import glances

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.inspector.index import Key, Keys
    from steelyard.measures.check.survey import Facts


class Statistics:
    """The statistics of the weights of one side, in `columns` by the words of `STATISTICS`, and the place of each by its key."""

    __slots__ = ("columns", "places")

    def __init__(self) -> None:
        self.columns: dict[str, list[object]] = {word: [] for word in STATISTICS}
        self.places: dict[Key, int] = {}

    @uncollected()
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


@uncollected()
def columns_of_rows(keys: Sequence[Keys], sides: Sequence[Statistics]) -> dict[str, list[object]]:
    """Return the statistics in each row, rounded: those of its weight on the first side that has one; `keys` are by side."""
    columns = {word: rounded_column([*chain.from_iterable(side.columns[word] for side in sides)]) for word in STATISTICS}
    places = [None if key is None else sides[0].places[key] for key in keys[0]]
    for side, own in zip(sides[1:], keys[1:], strict=True):
        start = len(sides[0].places)
        others = (None if key is None else start + side.places[key] for key in own)
        places = [other if place is None else place for place, other in zip(places, others, strict=True)]
    return {word: [column[place] for place in places if place is not None] for word, column in columns.items()}
