"""What flows into which layer, gathered call by call: the calls of a net's layers and what each was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Layer

    Sources = frozenset[Any]
    """Calls, each the layer's key and which of its calls it is, and `INPUT` or `UNKNOWN`."""

INPUT, UNKNOWN = object(), object()
"""What the net is given, and what nobody saw being made."""
NOTHING: Sources = frozenset()
SOURCES = 256
"""What flows together from more calls than these is not told."""


def joined(every: Iterable[Sources]) -> Sources:
    """Return what something is made of that takes all of these."""
    sources = NOTHING.union(*every)
    return sources if len(sources) <= SOURCES else frozenset({UNKNOWN})


class Calls:
    """The calls of layers in the order in which they begin; a layer goes by any key."""

    __slots__ = ("_count", "_taken")

    def __init__(self) -> None:
        self._count: Counter[Hashable] = Counter()
        self._taken: dict[tuple[Hashable, int], Sources] = {}

    def call(self, key: Hashable, sources: Sources) -> Sources:
        """Note one more call of a layer, and return what its output is made of: the call itself."""
        self._count[key] += 1
        call = key, self._count[key]
        self._taken[call] = sources
        return frozenset({call})

    def use(self, key: Hashable, sources: Sources) -> Sources:
        """Note that a layer's weights are used outside its calls; all such uses are one."""
        call = key, 0
        self._taken[call] = self._taken.get(call, NOTHING) | (sources - {call})
        return frozenset({call})

    def add(self, call: tuple[Hashable, int], sources: Sources) -> None:
        """Note that more flows into a call."""
        self._taken[call] |= sources - {call}

    def tell(self, layers: Mapping[Hashable, Layer], weightless: Iterable[Hashable]) -> None:
        """Set `after` of the layers that were called and of whose calls all is known.

        A layer without weights that is called several times, as one ReLU may be all over a net, is passed through: else
        whatever follows it would come after all that it is ever given.
        """
        passed = {key for key in weightless if self._count[key] > 1}
        place = {key: nth for nth, key in enumerate(layers)}
        found: dict[Hashable, set[Any]] = {}
        through: dict[Any, Sources] = {}
        for call, taken in self._taken.items():
            sources = joined(through.get(each, frozenset({each})) for each in taken)
            if call[0] in passed:
                through[call] = sources
            found.setdefault(call[0], set()).update(each if each in (INPUT, UNKNOWN) else each[0] for each in sources)
        for key, before in found.items():
            if key in layers and UNKNOWN not in before:
                named = sorted(before - {INPUT}, key=place.__getitem__)
                layers[key].inputs = tuple(layers[each].name for each in named)
