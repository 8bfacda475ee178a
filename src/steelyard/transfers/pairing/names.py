"""The evidence of names: layers of two nets that are called alike, also within the wrappers of one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.places import same_places
from steelyard.core.wrappers import Wrapping, wrapping

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.transfers.layers.layer_weights import LayerWeights

EQUAL_NAMES, UNWRAPPED, SAME_PLACE = "equal names", "equal names without a prefix", "the same place in the model"
_SEGMENTS, _WORDS = re.compile(r"[./\[\]]+"), re.compile(r"[A-Za-z]+|\d+")


class Names(NamedTuple):
    """A label for each layer of the source and of the target, the evidence that equal labels are, and what they leave out."""

    mine: dict[int, object]
    theirs: dict[int, object]
    why: str
    wrapped: Wrapping


def by_name(sources: list[LayerWeights], targets: list[LayerWeights]) -> Names:
    """Return the evidence of names: if two nets name all their layers alike, even numbers are names.

    Names that agree without the words of wrappers are alike too.
    """
    mine: dict[int, object] = {id(layer): layer.name for layer in sources}
    theirs: dict[int, object] = {id(layer): layer.name for layer in targets}
    if sorted(map(str, mine.values())) == sorted(map(str, theirs.values())):
        return Names(mine, theirs, EQUAL_NAMES, Wrapping({}))
    wrapped = wrapped_names(sources, targets)
    if wrapped.is_found:
        owners = {name: layer.name for layer in reversed(targets) for name in layer.weights}
        partners = {id(layer): [wrapped.names[name] for name in layer.weights if name in wrapped.names] for layer in sources}
        within = {layer: owners[names[0]] if names else mine[layer] for layer, names in partners.items()}
        return Names(within, theirs, UNWRAPPED, wrapped)
    # numbers in names count layers, and differ between frameworks; words are compared without them where words remain
    return Names(_labels(sources), _labels(targets), EQUAL_NAMES, wrapped)


def by_place(
    source: Weights, target: Weights, sources: list[LayerWeights], targets: list[LayerWeights]
) -> tuple[dict[int, object], dict[int, object], str] | None:
    """Return the evidence of places (`core.places`): layers whose weights have the same places; None if these are not known."""
    places = same_places(source, target)
    if not places:
        return None
    owners = {name: layer.name for layer in reversed(targets) for name in layer.weights}
    partners = {id(layer): {owners.get(places.get(name, "")) for name in layer.weights} for layer in sources}
    mine: dict[int, object] = {layer: partner.pop() if len(partner) == 1 else None for layer, partner in partners.items()}
    return mine, {id(layer): layer.name for layer in targets}, SAME_PLACE


def wrapped_names(sources: Iterable[LayerWeights], targets: Iterable[LayerWeights]) -> Wrapping:
    """Return the names of weights that two nets share, without the words of wrappers."""
    mine, theirs = (
        {name: weight.shape for layer in side for name, weight in layer.weights.items()} for side in (sources, targets)
    )
    return wrapping(mine, theirs)


def _labels(layers: list[LayerWeights]) -> dict[int, object]:
    """Return the words of each layer's name by which layers of two nets are compared.

    Containers of all layers of a net distinguish none, and are left out. A number alone does not identify a layer, since it
    counts the layers that the framework made before, so a name is kept whole if only a number would remain.
    """
    paths = [[segment for segment in _SEGMENTS.split(layer.name) if segment] for layer in layers]
    shared = _shared([path[:-1] for path in paths]) if len(layers) > 1 else 0
    return {id(layer): _words(path[shared:]) or (layer.name, id(layer)) for layer, path in zip(layers, paths, strict=True)}


def _words(path: list[str]) -> tuple[str, ...]:
    words = tuple(word.lower() for segment in path for word in _WORDS.findall(segment))
    return words if any(map(str.isalpha, words)) else ()


def _shared(paths: list[list[str]]) -> int:
    """Return the number of leading segments that all paths have in common."""
    return next((nth for nth, segments in enumerate(zip(*paths, strict=False)) if len(set(segments)) > 1), min(map(len, paths)))
