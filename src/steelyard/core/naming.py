"""What a text names: a weight, a part of a weight, a layer, or the weight at a position."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.core.roles import plain_layer
from steelyard.core.weight import Weight
from steelyard.errors import OutsideError, WeightNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.core.weights import Weights

_POSITION = re.compile(r"-?[0-9]{1,18}")


def named(weights: Weights, text: str) -> Weight | Weights:
    """Return the weight, the part of a weight as in "fc1.weight[3,:5]", or the weights of the layer that a text names.

    A layer is also a folder of layers, such as a block. A number that is no name is the position of a weight in the listed order,
    from 0, or from the end if it is negative. Raises `WeightNotFoundError`, which suggests names of weights and layers,
    `OutsideError` for a position or an index outside, and `ShapeError` for an index that cannot be parsed.

    >>> import steelyard
    >>> w = steelyard.weights({"fc1.weight": [[1.0, 2.0], [3.0, 4.0]], "fc1.bias": [0.0, 0.0]})
    >>> named(w, "-1").name, named(w, "fc1.weight[1]").shape, list(named(w, "fc1"))
    ('fc1.bias', (2,), ['fc1.weight', 'fc1.bias'])
    """
    if text in weights:
        return weights[text]
    if layer := list(_inside(weights, text)):
        return weights.with_weights(layer)
    if _POSITION.fullmatch(text):
        return _at(weights, int(text))
    base, bracket, inside = text.rpartition("[")
    if bracket and inside.endswith("]") and isinstance(weight := named(weights, base), Weight):
        from steelyard.core.index_text import part_of

        return part_of(weight, inside[:-1])
    raise WeightNotFoundError(text, dict.fromkeys([*weights, *(weight.layer for weight in weights.values())]), "weight or layer")


def _inside(weights: Weights, layer: str) -> Iterable[Weight]:
    """Return the weights of a layer, or of all layers in it, with or without the collection of Flax before its name."""
    for weight in weights.values():
        for name in (weight.layer, plain_layer(weight.layer)):
            if layer and (name == layer or name.startswith((f"{layer}.", f"{layer}/"))):
                yield weight
                break


def _at(weights: Weights, position: int) -> Weight:
    listed = list(weights.values())
    if not -len(listed) <= position < len(listed):
        raise OutsideError(f"there is no weight {position}: positions are from 0 to {len(listed) - 1:,}, or from -1 at the end")
    return listed[position]
