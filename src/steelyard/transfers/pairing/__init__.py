"""Pair the layers of two nets.

Layers are paired by kind and shape, by their position in the data flow, and by name, in this order of precedence:

1. A layer that is the only one of its kind and shape on both sides needs no other evidence.
2. If the data flow of both nets is known, a layer's position in it decides: the number and the kinds of the layers before
   and after it. Layers that the flow does not distinguish (parallel branches of one shape) remain open.
3. If one side has weights only, layers of one kind and shape are paired only when all their names agree.

Sorted names and the order of a file prove nothing: they are used for suggestions only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.wrappers import Wrapping
from steelyard.errors import AmbiguityError, printable
from steelyard.transfers.layers.layer_weights import LayerWeights
from steelyard.transfers.pairing.dataflow import places
from steelyard.transfers.pairing.names import EQUAL_NAMES, UNWRAPPED, by_name, by_place, wrapped_names

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.transfers.pairing.net import Net

    Key = tuple[object, ...]
    """A kind of layer, its shapes and its direction; partners have a key in common."""
    Evidence = tuple[dict[int, object], dict[int, object], str]
    """A label for each layer of the source and of the target, and the evidence that equal labels are."""

MATRICES = ("kernel", "recurrent kernel", "table", "q", "k", "v", "out", "slope")
_FIRST_NUMBERS = 64  # of a weight, which are compared before the others
_GROUPED = {"instance norm": "group norm"}


class Pair(NamedTuple):
    """Two corresponding layers, and the evidence for it."""

    source: LayerWeights
    target: LayerWeights
    why: str


class Choice(NamedTuple):
    """Layers that no evidence distinguishes, and the pairs that their order suggests."""

    sources: tuple[LayerWeights, ...]
    targets: tuple[LayerWeights, ...]
    suggested: tuple[Pair, ...]


class Pairing(NamedTuple):
    """The pairs, the open choices, the layers without a partner, and what names were compared without."""

    pairs: list[Pair]
    choices: list[Choice]
    sources: list[LayerWeights]
    targets: list[LayerWeights]
    wrapped: Wrapping = Wrapping({})


def pair(source: Net, target: Net, given: Mapping[str, str], sources: list[LayerWeights], targets: list[LayerWeights]) -> Pairing:
    """Pair the layers of two nets; `given` names partners, and overrides all evidence."""
    fixed = _given(given, sources, targets)
    done = {id(layer) for each in fixed for layer in each[:2]}
    open_sources = [layer for layer in sources if id(layer) not in done]
    open_targets = [layer for layer in targets if id(layer) not in done]
    pairing = Pairing(fixed, [], [], [])
    families = _families(open_sources, open_targets)
    before, after = places(source, sources, families), places(target, targets, families)
    mine, theirs, why, wrapped = by_name(sources, targets)
    evidence = mine, theirs, why
    if before is not None and after is not None:
        evidence = before, after, "its place in the flow of data"
    else:
        evidence = by_place(source.weights, target.weights, sources, targets) or evidence
    for ours, others in _by_family(families, open_sources, open_targets):
        _settle(ours, others, evidence, pairing)
    is_used = any(each.why == UNWRAPPED for each in pairing.pairs) or (evidence[2] == why and not wrapped.is_found)
    return pairing._replace(wrapped=wrapped) if is_used else pairing


def untied_copies(sources: list[LayerWeights], targets: list[LayerWeights]) -> list[LayerWeights]:
    """Return the source layers that are missing in the target and only repeat another layer's numbers.

    A file may have both copies of a weight that the model ties. Without them the names of both nets may agree.
    """
    if len(sources) <= len(targets):
        return []
    names = {layer.name for layer in targets}
    shared = wrapped_names(sources, targets).names
    extra = [layer for layer in sources if layer.name not in names and shared.keys().isdisjoint(layer.weights)]
    if not extra or len(extra) + len(targets) != len(sources):
        return []
    return extra if _repeat(extra, sources) else []


def _repeat(extra: list[LayerWeights], sources: list[LayerWeights]) -> bool:
    """Whether each weight of the extra layers has the numbers of a weight of another layer."""
    wanted = [weight for layer in extra for weight in layer.weights.values()]
    if any(weight.unreadable or weight.size < 2 for weight in wanted):
        return False
    looks = {(weight.shape, weight.dtype) for weight in wanted}
    left_out = {id(layer) for layer in extra}
    alike: dict[tuple[object, ...], list[Weight]] = {}  # by their first numbers: all pairs would be too many
    for weight in (weight for layer in sources if id(layer) not in left_out for weight in layer.weights.values()):
        if (weight.shape, weight.dtype) in looks and not weight.unreadable:
            alike.setdefault(_look(weight), []).append(weight)
    return all(any(_is_copy(weight, other) for other in alike.get(_look(weight), ())) for weight in wanted)


def _look(weight: Weight) -> tuple[object, ...]:
    """Return the same for two weights of the same numbers: 0.0 and -0.0 are the same."""
    first = weight.read(0, min(weight.size, _FIRST_NUMBERS))
    return weight.shape, weight.dtype, (first + first.dtype.type(0)).tobytes()


def _is_copy(one: Weight, other: Weight) -> bool:
    return all((mine == theirs).all() for mine, theirs in zip(one.blocks(), other.blocks(), strict=True))


def _given(given: Mapping[str, str], sources: Iterable[LayerWeights], targets: Iterable[LayerWeights]) -> list[Pair]:
    by_name = {layer.name: layer for layer in targets}
    return [Pair(layer, by_name[given[layer.name]], "given") for layer in sources if layer.name in given]


# Families: groups of layers that may be partners, by kind, shapes and direction.


def _keys(layer: LayerWeights) -> set[Key]:
    """Return the keys of a layer in each of its interpretations; one of unknown direction has those of both."""
    directions = [layer.direction] if layer.direction else ["forward", "backward"]
    return {(*_key(each), direction) for each in layer.interpretations for direction in directions}


def _key(layer: LayerWeights) -> Key:
    kind = _GROUPED.get(layer.kind, layer.kind)
    matrices = tuple((purpose, _plain_shape(layer, purpose)) for purpose in MATRICES if layer.has(purpose))
    if not matrices:
        return kind, next(iter(layer.parts.values())).shape
    return kind, matrices


def _plain_shape(layer: LayerWeights, purpose: str) -> tuple[int, ...]:
    """Return a shape without spatial axes of length one: a one-dimensional convolution may be stored as a 2-D one."""
    shape = layer.shape(purpose)
    return (*shape[:2], *(length for length in shape[2:] if length != 1)) if layer.kind.startswith("conv") else shape


def _families(sources: Iterable[LayerWeights], targets: Iterable[LayerWeights]) -> dict[int, int]:
    """Return the family number of each layer; layers that are connected by common keys have the same."""
    # union-find: a layer with several interpretations joins the families of all their keys
    owner: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while owner.setdefault(key, key) != key:
            owner[key] = owner[owner[key]]
            key = owner[key]
        return key

    first: dict[int, Key] = {}
    known: dict[Hashable, Key] = {}  # layers that look alike have the same keys
    for layer in (*sources, *targets):
        least = known.get(layer.look)
        if least is None:
            least, *others = sorted(_keys(layer), key=repr)
            known[layer.look] = least
            for key in others:
                owner[root(key)] = root(least)
        first[id(layer)] = least
    numbers: dict[Key, int] = {}
    return {layer: numbers.setdefault(root(key), len(numbers)) for layer, key in first.items()}


def _by_family(families: Mapping[int, int], *sides: list[LayerWeights]) -> list[tuple[list[LayerWeights], list[LayerWeights]]]:
    groups: dict[int, tuple[list[LayerWeights], list[LayerWeights]]] = {}
    for nth, layers in enumerate(sides):
        for layer in layers:
            groups.setdefault(families[id(layer)], ([], []))[nth].append(layer)
    return list(groups.values())


# Evidence within a family.


def _settle(mine: list[LayerWeights], theirs: list[LayerWeights], evidence: Evidence, pairing: Pairing) -> None:
    """Pair the layers of one family if there is evidence."""
    # even a wrong name or place cannot change this pair, so no evidence is needed
    if len(mine) == len(theirs) == 1 and fitting(mine[0], theirs[0]):
        pairing.pairs.append(Pair(mine[0], theirs[0], "the only one of its shape"))
        return
    mine, theirs = _matched(mine, theirs, evidence, pairing)
    if mine and theirs:
        pairing.choices.append(Choice(tuple(mine), tuple(theirs), _suggested(mine, theirs)))
        return
    pairing.sources.extend(mine)
    pairing.targets.extend(theirs)


def _matched(
    mine: list[LayerWeights], theirs: list[LayerWeights], evidence: Evidence, pairing: Pairing
) -> tuple[list[LayerWeights], list[LayerWeights]]:
    """Pair the layers whose label is unique on both sides, and return the rest."""
    before, after, why = evidence
    if why in (EQUAL_NAMES, UNWRAPPED) and {before[id(layer)] for layer in mine} != {after[id(layer)] for layer in theirs}:
        return mine, theirs  # a name that only some of them share, such as a number, is not evidence
    groups: dict[object, tuple[list[LayerWeights], list[LayerWeights]]] = {}
    for nth, (layers, labels) in enumerate(((mine, before), (theirs, after))):
        for layer in layers:
            groups.setdefault(labels[id(layer)], ([], []))[nth].append(layer)
    done = set()
    for ours, others in groups.values():
        if len(ours) == len(others) == 1 and fitting(ours[0], others[0]):
            pairing.pairs.append(Pair(ours[0], others[0], why))
            done |= {id(ours[0]), id(others[0])}
    return [layer for layer in mine if id(layer) not in done], [layer for layer in theirs if id(layer) not in done]


def _suggested(mine: list[LayerWeights], theirs: list[LayerWeights]) -> tuple[Pair, ...]:
    return tuple(Pair(a, b, "their order only") for a, b in zip(mine, theirs, strict=False) if fitting(a, b))


# Compatibility of two layers, and of their interpretations.


def fitting(source: LayerWeights, target: LayerWeights) -> list[tuple[LayerWeights, LayerWeights]]:
    """Return the pairs of interpretations in which two layers correspond."""
    return [
        (mine, theirs)
        for mine in source.interpretations
        for theirs in target.interpretations
        if _GROUPED.get(mine.kind, mine.kind) == _GROUPED.get(theirs.kind, theirs.kind) and _fit(mine, theirs)
    ]


def _fit(source: LayerWeights, target: LayerWeights) -> bool:
    if source.direction and target.direction and source.direction != target.direction:
        return False
    if source.shapes == target.shapes:  # as nearly always
        return True
    for purpose in MATRICES:
        one, other = source.shape(purpose), target.shape(purpose)
        if len(one) == len(other) or not source.kind.startswith("conv"):
            if one != other:
                return False
        elif _plain_shape(source, purpose) != _plain_shape(target, purpose):
            return False
    return True


def interpretation_of(each: Pair) -> tuple[LayerWeights, LayerWeights]:
    """Return the interpretations in which the layers of a pair fit; of several, the first if all move the numbers alike.

    Raises `AmbiguityError` if they move them differently.
    """
    fits = fitting(each.source, each.target) or [(each.source, each.target)]
    if len(fits) > 1 and len({_moved(mine, theirs) for mine, theirs in fits}) > 1:
        kinds = " or ".join(dict.fromkeys(mine.kind for mine, _ in fits))
        raise AmbiguityError(
            f"{printable(each.source.name)} and {printable(each.target.name)} may both be {kinds}, or their axes may be in "
            "several orders, and their shapes fit all of them; pass a live model on one side, whose layers are known"
        )
    return fits[0]


def _moved(source: LayerWeights, target: LayerWeights) -> frozenset[object]:
    """Return how the axes of each part map to the target's; equal results move the numbers alike, whatever they are for."""
    both = (
        (gate, part, source.parts[purpose, gate])
        for (purpose, gate), part in target.parts.items()
        if (purpose, gate) in source.parts
    )
    return frozenset((part.weight.name, other.weight.name, gate, part.runs(other)) for gate, part, other in both)
