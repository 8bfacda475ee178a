"""The data flow between calls of layers, recorded while a net runs or its graph is traversed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from steelyard.core.graph import Layer, Shape
    from steelyard.core.weight import Array

Node = TypeVar("Node", bound=Hashable)
Call = tuple[Hashable, int]
"""A call of a layer: the layer's key, and a count from 1; the count 0 stands for all uses of its weights outside its calls."""


class NetInput(NamedTuple):
    """An input of the net, by its place among them."""

    place: int


Source = Call | NetInput | object
"""The origin of data: a call, an input of the net, or `UNKNOWN`."""
Sources = tuple[Source, ...]
"""The origins of data in the order of the arguments, with repeats."""

UNKNOWN = object()
"""The origin of data that cannot be followed."""
NOTHING: Sources = ()
MAX_SOURCES = 256
"""Origins are not tracked past this many source calls."""


def merged(every: Iterable[Sources]) -> Sources:
    """Return the sources of a result that is computed from all of these."""
    sources: list[Source] = []
    for each in every:
        sources += each
        if len(sources) > MAX_SOURCES:
            return (UNKNOWN,)
    return tuple(sources)


def inputs_of_net(count: int) -> list[Sources]:
    """Return the sources of each input of a net."""
    return [(NetInput(place),) for place in range(count)]


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
        return (call,)

    def use(self, key: Hashable, sources: Sources) -> Sources:
        """Record a use of a layer's weights outside its calls; all such uses count as one call."""
        self._sources.setdefault((key, 0), NOTHING)
        self.add((key, 0), sources)
        return ((key, 0),)

    def add(self, call: Call, sources: Sources) -> None:
        """Record further sources of a call."""
        held = self._sources[call]
        self._sources[call] = held + tuple(each for each in dict.fromkeys(sources) if each != call and each not in held)

    def needed(self, ends: Sources, optional: Collection[Hashable]) -> set[Hashable]:
        """Return the keys of called layers, without the optional ones on which neither another nor `ends` depends."""
        layers: set[Hashable] = set()
        pending = [*ends, *(call for call in self._sources if call[0] not in optional)]
        seen: set[Source] = set()
        while pending:
            call = pending.pop()
            if call not in seen and isinstance(call, tuple) and not isinstance(call, NetInput):
                seen.add(call)
                layers.add(call[0])
                pending += self._sources[call]
        return layers

    def set_inputs(
        self, layers: Mapping[Hashable, Layer], weightless: Iterable[Hashable], input_names: Sequence[str] = ()
    ) -> None:
        """Set `calls` of the layers that were called, and `inputs` of those that have known sources only.

        A layer without weights that is called several times, such as one ReLU used throughout a net, is passed through:
        otherwise each layer that it feeds would count every layer before it as an input.
        """
        passed = {key for key in weightless if self._count[key] > 1}
        through: dict[Source, Sources] = {}
        feeding: dict[Hashable, Sources] = {}
        for call, taken in self._sources.items():
            sources = merged(through.get(each, (each,)) for each in taken)
            if call[0] in passed:
                through[call] = sources
            before = feeding.get(call[0])
            names = tuple(each[0] if isinstance(each, tuple) and not isinstance(each, NetInput) else each for each in sources)
            further = names if before is None else tuple(each for each in dict.fromkeys(names) if each not in before)
            feeding[call[0]] = (before or ()) + further
        for key, before in feeding.items():
            if key not in layers:
                continue
            layers[key].calls = max(self._count[key] + ((key, 0) in self._sources), 1)
            if UNKNOWN not in before:
                layers[key].inputs = tuple(
                    input_names[each.place] if isinstance(each, NetInput) else layers[each].name for each in before
                )


def output_names(ends: Iterable[Sources], layers: Mapping[Hashable, Layer]) -> tuple[str, ...] | None:
    """Return the names of the layers that give the outputs of a net, by their keys; None if one of them is not known."""
    sources = [each for each in dict.fromkeys(merged(ends)) if not isinstance(each, NetInput)]
    known = [layers[each[0]].name for each in sources if isinstance(each, tuple) and each[0] in layers]
    return tuple(dict.fromkeys(known)) if len(known) == len(sources) else None


def flow_of_chain(links: Iterable[Hashable]) -> CallGraph:
    """Return the calls of layers that run one after another; a layer may be among them several times."""
    calls, (sources,) = CallGraph(), inputs_of_net(1)
    for key in links:
        sources = calls.call(key, sources)
    return calls


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
