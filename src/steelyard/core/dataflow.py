"""Which calls of layers feed which, gathered while a net runs or its graph is walked through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from steelyard.core.graph import Layer, Shape
    from steelyard.core.weight import Array

Node = TypeVar("Node", bound=Hashable)
Call = tuple[Hashable, int]
"""A call of a layer: the layer's key, and a count that begins with 1; 0 stands for all uses of its weights outside its calls."""
Source = Call | object
"""Where data comes from: a call, or `INPUT` or `UNKNOWN`."""
Sources = frozenset[Source]

INPUT, UNKNOWN = object(), object()
"""The inputs of the net, and data of unknown origin."""
NOTHING: Sources = frozenset()
MAX_SOURCES = 256
"""Origins are not tracked past this many source calls."""


def merged(every: Iterable[Sources]) -> Sources:
    """Return the sources of what is made of all of these."""
    sources = NOTHING.union(*every)
    return sources if len(sources) <= MAX_SOURCES else frozenset({UNKNOWN})


class FirstCall:
    """The shape that a layer was given when it was first called, the shape that it gave, and the output itself."""

    __slots__ = ("input_shape", "output", "output_shape")

    def __init__(self, input_shape: Shape | None) -> None:
        self.input_shape = input_shape
        self.output_shape: Shape | None = None
        self.output: Array | None = None


class CallGraph:
    """The calls of layers in the order in which they begin, and the sources of each; any hashable is a layer's key."""

    __slots__ = ("_count", "_sources")

    def __init__(self) -> None:
        self._count: Counter[Hashable] = Counter()
        self._sources: dict[Call, Sources] = {}

    def call(self, key: Hashable, sources: Sources) -> Sources:
        """Record one more call of a layer, and return the sources of its output: the call alone."""
        self._count[key] += 1
        call = key, self._count[key]
        self._sources[call] = sources
        return frozenset({call})

    def use(self, key: Hashable, sources: Sources) -> Sources:
        """Record that a layer's weights are used outside its calls; all such uses are one."""
        call = key, 0
        self._sources[call] = self._sources.get(call, NOTHING) | (sources - {call})
        return frozenset({call})

    def add(self, call: Call, sources: Sources) -> None:
        """Record further sources of a call."""
        self._sources[call] |= sources - {call}

    def set_inputs(self, layers: Mapping[Hashable, Layer], weightless: Iterable[Hashable]) -> None:
        """Set `inputs` of the layers that were called and whose sources are all known.

        A layer without weights that is called several times, such as one ReLU used throughout a net, is passed through:
        otherwise each layer that it feeds would count every layer before it as an input.
        """
        passed = {key for key in weightless if self._count[key] > 1}
        through: dict[Source, Sources] = {}
        feeding: dict[Hashable, set[Hashable]] = {}
        for call, taken in self._sources.items():
            sources = merged(through.get(each, frozenset({each})) for each in taken)
            if call[0] in passed:
                through[call] = sources
            feeding.setdefault(call[0], set()).update(each[0] if isinstance(each, tuple) else each for each in sources)
        position = {key: nth for nth, key in enumerate(layers)}
        for key, before in feeding.items():
            if key in layers and UNKNOWN not in before:
                layers[key].inputs = tuple(layers[each].name for each in sorted(before - {INPUT}, key=position.__getitem__))


def topological_order(outputs: Iterable[Node], before: Callable[[Node], Iterable[Node]]) -> list[Node]:
    """Return the nodes that some outputs need, each after those that it needs itself; `before` gives these.

    >>> topological_order(["sum"], lambda node: {"sum": ["main", "side"], "main": ["x"], "side": ["x"], "x": []}[node])
    ['x', 'main', 'side', 'sum']
    """
    order, seen = [], set()
    stack = [(node, False) for node in reversed(list(outputs))]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(parent, False) for parent in reversed(list(before(node)))]
    return order
