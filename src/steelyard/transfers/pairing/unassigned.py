"""Weights that are assigned to no known layer, such as a module's own position embedding or class token.

Such weights have no framework-specific layout, so they match by name and shape. A shape with two equal lengths would hide a
transpose, so such a pair is refused unless the user names the two as partners.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from steelyard.core.axes import parts_of
from steelyard.core.places import same_places
from steelyard.core.roles import plain_layer
from steelyard.core.weight import Weight
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.layers.layer_weights import LayerWeights
from steelyard.transfers.pairing import Pair
from steelyard.transfers.pairing.names import SAME_PLACE
from steelyard.transfers.pairing.net import Net


def unassigned_layers(net: Net) -> list[LayerWeights]:
    """Return each unassigned weight as a layer of its own; tied ones follow their owners."""
    return [_as_layer(weight) for weight in net.unassigned if not weight.tied]


def unassigned_pairs(source: Net, target: Net, given: Mapping[str, str], kept: Callable[[Weight], bool]) -> list[Pair]:
    """Return the pairs of the unassigned weights that `kept` selects; `given` names partners, and overrides equal names.

    Raises `ShapeError` for partners of different shapes, and for a trainable weight without a partner; raises
    `AmbiguityError` for a weight that may be transposed in the other net, unless its partner is given.
    """
    mine, theirs = ([layer for layer in unassigned_layers(net) if kept(_weight(layer))] for net in (source, target))
    named = {layer.name: layer for layer in theirs}
    pairs = [_given(layer, named[given[layer.name]]) for layer in mine if given.get(layer.name) in named]
    places = {} if given else same_places(source.weights, target.weights)
    of_weight = {_weight(layer).name: layer for layer in theirs}
    partners = [(layer, of_weight.get(places.get(_weight(layer).name, ""))) for layer in mine]
    pairs += [_alike(layer, partner, SAME_PLACE) for layer, partner in partners if partner]
    done = {id(layer) for each in pairs for layer in each[:2]}
    alike = {(_words(layer), _weight(layer).shape): layer for layer in theirs if id(layer) not in done}
    for layer in mine:
        if id(layer) not in done and (partner := alike.get((_words(layer), _weight(layer).shape))):
            pairs.append(_alike(layer, partner))
            done |= {id(layer), id(partner)}
    for side, layers in (("target", theirs), ("source", mine)):
        for layer in layers:
            if _weight(layer).trainable and id(layer) not in done:
                raise ShapeError(_alone(_weight(layer), side))
    return pairs


def _weight(layer: LayerWeights) -> Weight:
    return next(iter(layer.weights.values()))


def _words(layer: LayerWeights) -> tuple[str, ...]:
    return tuple(re.split(r"[./]", layer.name))


def _alone(weight: Weight, side: str) -> str:
    return (
        f"{printable(weight.name)} of the {side} belongs to no known layer, and the other net has no weight of its name and "
        f"its shape {list(weight.shape)}; name its partner with pairs=, or leave it out with skip="
    )


def _given(source: LayerWeights, target: LayerWeights) -> Pair:
    mine, theirs = _weight(source), _weight(target)
    if mine.shape != theirs.shape:
        raise ShapeError(
            f"{printable(mine.name)} of shape {list(mine.shape)} was named for {printable(theirs.name)} of shape "
            f"{list(theirs.shape)}; weights that belong to no known layer must have one shape"
        )
    return Pair(source, target, "given")


def _alike(source: LayerWeights, target: LayerWeights, why: str = "equal names and shapes") -> Pair:
    mine = _weight(source)
    lengths = [length for length in mine.shape if length > 1]
    if len(set(lengths)) < len(lengths):
        raise AmbiguityError(
            f"{printable(mine.name)} of shape {list(mine.shape)} may be transposed in {printable(_weight(target).name)}, and "
            "belongs to no known layer; name it with pairs= if it is not transposed, or leave it out with skip="
        )
    return Pair(source, target, why)


def _as_layer(weight: Weight) -> LayerWeights:
    layer = LayerWeights(plain_layer(weight.name), "other")
    words = tuple("abcdefgh"[: len(weight.shape)])
    for part in parts_of(weight, " ".join(words), words):
        layer.parts["values", ""] = part
    layer.weights[weight.name] = weight
    return layer
