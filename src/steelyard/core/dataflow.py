"""The data flow between calls of layers, recorded while a net runs or its graph is traversed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from steelyard.core.graph import Layer, Shape
    from steelyard.core.weight import Array

Node = TypeVar("Node", bound=Hashable)
Call = tuple[Hashable, int]
"""A call of a layer: the layer's key, and a count from 1; the count 0 stands for all uses of its weights outside its calls."""
Source = Call | object
"""The origin of data: a call, `INPUT` or `UNKNOWN`."""
Sources = frozenset[Source]

INPUT, UNKNOWN = object(), object()
"""The net's inputs, and data of unknown origin."""
NOTHING: Sources = frozenset()
MAX_SOURCES = 256
"""Origins are not tracked past this many source calls."""


def merged(every: Iterable[Sources]) -> Sources:
    """Return the sources of a result that is computed from all of these."""
    sources = NOTHING.union(*every)
    return sources if len(sources) <= MAX_SOURCES else frozenset({UNKNOWN})


class FirstCall:
    """The first call of a layer: its input shape, its output shape, and the output."""

    __slots__ = ("input_shape", "output", "output_shape")

    def __init__(self, input_shape: Shape | None) -> None:
        self.input_shape = input_shape
        self.output_shape: Shape | None = None
        self.output: Array | None = None


class CallGraph:
    """The calls of layers, ordered by their beginning, and the sources of each; a layer's key is any hashable."""

    __slots__ = ("_count", "_sources")

    def __init__(self) -> None:
        self._count: Counter[Hashable] = Counter()
        self._sources: dict[Call, Sources] = {}

    def call(self, key: Hashable, sources: Sources) -> Sources:
        """Record another call of a layer, and return the sources of its output: just this call."""
        self._count[key] += 1
        call = key, self._count[key]
        self._sources[call] = sources
        return frozenset({call})

    def use(self, key: Hashable, sources: Sources) -> Sources:
        """Record a use of a layer's weights outside its calls; all such uses count as one call."""
        call = key, 0
        self._sources[call] = self._sources.get(call, NOTHING) | (sources - {call})
        return frozenset({call})

    def add(self, call: Call, sources: Sources) -> None:
        """Record further sources of a call."""
        self._sources[call] |= sources - {call}

    def set_inputs(self, layers: Mapping[Hashable, Layer], weightless: Iterable[Hashable]) -> None:
        """Set `inputs` of the layers that were called and have known sources only.

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
    """Return the nodes on which some outputs depend, each after its own dependencies, which `before` returns.

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
