"""Weights that belong to no known layer, as a position embedding or a class token that a module holds itself.

No framework has a layout of its own for them, so equal names and equal shapes make two of them one. A shape with two equal
lengths would hide that one net has turned it, which is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from steelyard.core.axes import parts_of
from steelyard.core.weight import Weight
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.nets import Net
from steelyard.transfers.pairing import Pair
from steelyard.transfers.units import Unit, plain_layer


def loose_pairs(source: Net, target: Net, kept: Callable[[Weight], bool]) -> list[Pair]:
    """Return the pairs of the loose weights that `kept` takes.

    Raises `ShapeError` for one that is trained and has no partner of its name and shape, `AmbiguityError` for one that may
    lie turned in the other net.
    """
    mine, theirs = (_by_name(net, kept) for net in (source, target))
    pairs = [(mine[name], theirs[name]) for name in mine if name in theirs and mine[name].shape == theirs[name].shape]
    done = {weight.name for both in pairs for weight in both}
    for side, weights in (("target", theirs), ("source", mine)):
        for weight in weights.values():
            if weight.trainable and weight.name not in done:
                raise ShapeError(
                    f"{printable(weight.name)} of the {side} belongs to no layer that is known, and the other net has none of "
                    f"its name and its shape {list(weight.shape)}; leave it out with skip="
                )
    return [_pair(*both) for both in pairs]


def _by_name(net: Net, kept: Callable[[Weight], bool]) -> dict[tuple[str, ...], Weight]:
    found = {}
    for weight in net.loose:
        if not weight.tied and kept(weight):
            found[tuple(re.split(r"[./]", plain_layer(weight.name)))] = weight
    return found


def _pair(source: Weight, target: Weight) -> Pair:
    lengths = [length for length in source.shape if length > 1]
    if len(set(lengths)) < len(lengths):
        raise AmbiguityError(
            f"{printable(source.name)} of shape {list(source.shape)} may lie turned in {printable(target.name)}, and belongs to "
            "no layer that is known; leave it out with skip=, and write it by hand"
        )
    return Pair(_unit(source), _unit(target), "equal names and shapes")


def _unit(weight: Weight) -> Unit:
    unit = Unit(plain_layer(weight.name), "other")
    words = tuple("abcdefgh"[: len(weight.shape)])
    for part in parts_of(weight, " ".join(words), words):
        unit.parts["values", ""] = part
    unit.weights[weight.name] = weight
    return unit
