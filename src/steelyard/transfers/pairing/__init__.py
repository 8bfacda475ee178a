"""Which layer of one net is which layer of another.

Layers are paired by what they hold, by their place in the flow of data, and by name, in this order of weight:

1. A layer that is the only one of its kind and shape on both sides needs no other evidence.
2. Where both nets say how their data flows, a layer's place in it decides: how many layers lie before and after it,
   and which these are. Layers that the flow does not tell apart (parallel branches of one shape) stay open.
3. Where a side has nothing but weights, layers of one kind and shape are paired only when all their names agree.

Sorted names and a file's order prove nothing, and are never used but to suggest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.transfers.layers.layer_weights import LayerWeights
from steelyard.transfers.pairing.dataflow import places

if TYPE_CHECKING:
    from steelyard.transfers.pairing.net import Net

    Evidence = tuple[dict[int, Any], dict[int, Any], str]
    """A label for each unit of the source and of the target, and what equal labels are."""

MATRICES = ("kernel", "recurrent kernel", "table", "q", "k", "v", "out", "slope")
_NAMES = "equal names"
_GROUPED = {"instance norm": "group norm"}


class Pair(NamedTuple):
    """Two units that are one layer, and the evidence for it."""

    source: LayerWeights
    target: LayerWeights
    why: str


class Choice(NamedTuple):
    """Layers that nothing tells apart: the pairs that their order suggests, and what speaks for those."""

    sources: tuple[LayerWeights, ...]
    targets: tuple[LayerWeights, ...]
    suggested: tuple[Pair, ...]


class Pairing(NamedTuple):
    """What was paired, what is open, and what has no partner."""

    pairs: list[Pair]
    choices: list[Choice]
    sources: list[LayerWeights]
    targets: list[LayerWeights]


def pair(source: Net, target: Net, given: Mapping[str, str], sources: list[LayerWeights], targets: list[LayerWeights]) -> Pairing:
    """Pair units of two nets; `given` names partners, and wins over all evidence."""
    fixed = _given(given, sources, targets)
    done = {id(layer) for each in fixed for layer in each[:2]}
    left = [layer for layer in sources if id(layer) not in done]
    open_targets = [layer for layer in targets if id(layer) not in done]
    found = Pairing(fixed, [], [], [])
    families = _families(left, open_targets)
    before, after = places(source, sources, families), places(target, targets, families)
    evidence = _by_name(sources, targets)
    if before is not None and after is not None:
        evidence = before, after, "its place in the flow of data"
    for family in _by_family(families, left, open_targets):
        for mine, theirs in _by_direction(*family):
            _settle(mine, theirs, evidence, found)
    return found


def _by_name(sources: list[LayerWeights], targets: list[LayerWeights]) -> Evidence:
    """Return the evidence of names: where two nets name all their layers alike, even numbers are names."""
    mine, theirs = ({id(layer): layer.name for layer in layers} for layers in (sources, targets))
    if sorted(mine.values()) != sorted(theirs.values()):
        mine, theirs = _names(sources), _names(targets)
    return mine, theirs, _NAMES


def _given(given: Mapping[str, str], sources: Iterable[LayerWeights], targets: Iterable[LayerWeights]) -> list[Pair]:
    by_name = {layer.name: layer for layer in targets}
    return [Pair(layer, by_name[given[layer.name]], "given") for layer in sources if layer.name in given]


def keys(layer: LayerWeights) -> set[tuple[Any, ...]]:
    """Return what a unit's partner must have too, for each of its readings."""
    return {_key(reading) for reading in (layer, *layer.alternatives)}


def _key(layer: LayerWeights) -> tuple[Any, ...]:
    kind = _GROUPED.get(layer.kind, layer.kind)
    matrices = tuple((slot, _plain_shape(layer, slot)) for slot in MATRICES if layer.has(slot))
    if not matrices:
        return kind, next(iter(layer.parts.values())).shape
    return kind, matrices


def _plain_shape(layer: LayerWeights, slot: str) -> tuple[int, ...]:
    """Return a shape without axes of space of one: a convolution along one axis may be kept as one along two."""
    shape = layer.shape(slot)
    return (*shape[:2], *(length for length in shape[2:] if length != 1)) if layer.kind.startswith("conv") else shape


def _families(sources: Iterable[LayerWeights], targets: Iterable[LayerWeights]) -> dict[int, int]:
    """Return a number for each unit, the same for all that may be partners of the same ones."""
    owner: dict[Any, Any] = {}

    def root(key: Any) -> Any:
        while owner.setdefault(key, key) != key:
            owner[key] = owner[owner[key]]
            key = owner[key]
        return key

    first: dict[int, Any] = {}
    for layer in (*sources, *targets):
        own = sorted(keys(layer), key=repr)
        first[id(layer)] = own[0]
        for key in own[1:]:
            owner[root(key)] = root(own[0])
    numbers: dict[Any, int] = {}
    return {layer: numbers.setdefault(root(key), len(numbers)) for layer, key in first.items()}


def _by_family(families: Mapping[int, int], *sides: list[LayerWeights]) -> list[tuple[list[LayerWeights], list[LayerWeights]]]:
    groups: dict[int, tuple[list[LayerWeights], list[LayerWeights]]] = {}
    for nth, layers in enumerate(sides):
        for layer in layers:
            groups.setdefault(families[id(layer)], ([], []))[nth].append(layer)
    return list(groups.values())


def _by_direction(
    mine: list[LayerWeights], theirs: list[LayerWeights]
) -> Iterator[tuple[list[LayerWeights], list[LayerWeights]]]:
    """Split a family of recurrent layers by direction, where all of them tell it."""
    directions = {layer.direction for layer in (*mine, *theirs)}
    if "" in directions:
        yield mine, theirs
        return
    for direction in sorted(directions, reverse=True):
        yield (
            [layer for layer in mine if layer.direction == direction],
            [layer for layer in theirs if layer.direction == direction],
        )


def _settle(mine: list[LayerWeights], theirs: list[LayerWeights], evidence: Evidence, found: Pairing) -> None:
    """Pair the units of one family as far as there is evidence."""
    if len(mine) == len(theirs) == 1 and fitting(mine[0], theirs[0]):
        found.pairs.append(Pair(mine[0], theirs[0], "the only one of its shape"))
        return
    mine, theirs = _matched(mine, theirs, evidence, found)
    if mine and theirs:
        found.choices.append(Choice(tuple(mine), tuple(theirs), _suggested(mine, theirs)))
        return
    found.sources.extend(mine)
    found.targets.extend(theirs)


def _matched(
    mine: list[LayerWeights], theirs: list[LayerWeights], evidence: Evidence, found: Pairing
) -> tuple[list[LayerWeights], list[LayerWeights]]:
    """Pair those that one label tells apart on both sides, and return the rest."""
    before, after, why = evidence
    if why == _NAMES and {before[id(layer)] for layer in mine} != {after[id(layer)] for layer in theirs}:
        return mine, theirs  # a name that only some share, as a number does, is no evidence
    groups: dict[Any, tuple[list[LayerWeights], list[LayerWeights]]] = {}
    for nth, (layers, labels) in enumerate(((mine, before), (theirs, after))):
        for layer in layers:
            groups.setdefault(labels[id(layer)], ([], []))[nth].append(layer)
    done = set()
    for ours, others in groups.values():
        if len(ours) == len(others) == 1 and fitting(ours[0], others[0]):
            found.pairs.append(Pair(ours[0], others[0], why))
            done |= {id(ours[0]), id(others[0])}
    return [layer for layer in mine if id(layer) not in done], [layer for layer in theirs if id(layer) not in done]


def _suggested(mine: list[LayerWeights], theirs: list[LayerWeights]) -> tuple[Pair, ...]:
    return tuple(Pair(a, b, "their order only") for a, b in zip(mine, theirs, strict=False) if fitting(a, b))


def fitting(source: LayerWeights, target: LayerWeights) -> list[tuple[LayerWeights, LayerWeights]]:
    """Return the readings of two units that can be one layer."""
    return [
        (mine, theirs)
        for mine in (source, *source.alternatives)
        for theirs in (target, *target.alternatives)
        if _GROUPED.get(mine.kind, mine.kind) == _GROUPED.get(theirs.kind, theirs.kind) and _fit(mine, theirs)
    ]


def _fit(source: LayerWeights, target: LayerWeights) -> bool:
    if source.direction and target.direction and source.direction != target.direction:
        return False
    for slot in MATRICES:
        one, other = source.shape(slot), target.shape(slot)
        if len(one) == len(other) or not source.kind.startswith("conv"):
            if one != other:
                return False
        elif _plain_shape(source, slot) != _plain_shape(target, slot):
            return False
    return True


_SEGMENTS, _WORDS = re.compile(r"[./\[\]]+"), re.compile(r"[A-Za-z]+|\d+")


def _names(layers: list[LayerWeights]) -> dict[int, Any]:
    """Return what each unit's name says, by which equal names of two nets are known.

    Containers that all layers of a net lie in say nothing, and are left out. A number alone does not name a layer:
    it counts what a framework happened to make before, so what would be left of such a name is kept whole.
    """
    paths = [[segment for segment in _SEGMENTS.split(layer.name) if segment] for layer in layers]
    shared = _shared([path[:-1] for path in paths]) if len(layers) > 1 else 0
    return {id(layer): _label(path[shared:]) or (layer.name, id(layer)) for layer, path in zip(layers, paths, strict=True)}


def _label(path: list[str]) -> tuple[str, ...]:
    words = tuple(word.lower() for segment in path for word in _WORDS.findall(segment))
    return words if any(map(str.isalpha, words)) else ()


def _shared(paths: list[list[str]]) -> int:
    """Return how many segments in front all paths share."""
    return next((nth for nth, segments in enumerate(zip(*paths, strict=False)) if len(set(segments)) > 1), min(map(len, paths)))
