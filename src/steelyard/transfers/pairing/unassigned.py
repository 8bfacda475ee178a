"""Weights that belong to no known layer, as a position embedding or a class token that a module holds itself.

No framework has a layout of its own for them, so equal names and equal shapes make two of them one. A shape with two equal
lengths would hide that one net has turned it, which is refused, unless the user names the two as partners.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from steelyard.core.axes import parts_of
from steelyard.core.roles import plain_layer
from steelyard.core.weight import Weight
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.layers.units import Unit
from steelyard.transfers.pairing import Pair
from steelyard.transfers.pairing.nets import Net


def loose_units(net: Net) -> list[Unit]:
    """Return each loose weight as a unit of its own; tied ones follow their owners."""
    return [_unit(weight) for weight in net.loose if not weight.tied]


def loose_pairs(source: Net, target: Net, given: Mapping[str, str], kept: Callable[[Weight], bool]) -> list[Pair]:
    """Return the pairs of the loose weights that `kept` takes; `given` names partners, and wins over equal names.

    Raises `ShapeError` for partners of different shapes, and for a weight that is trained and has no partner,
    `AmbiguityError` for one that may lie turned in the other net, unless it was given.
    """
    mine, theirs = ([unit for unit in loose_units(net) if kept(_weight(unit))] for net in (source, target))
    named = {unit.name: unit for unit in theirs}
    pairs = [_given(unit, named[given[unit.name]]) for unit in mine if given.get(unit.name) in named]
    done = {id(unit) for each in pairs for unit in each[:2]}
    alike = {(_words(unit), _weight(unit).shape): unit for unit in theirs if id(unit) not in done}
    for unit in mine:
        if id(unit) not in done and (partner := alike.get((_words(unit), _weight(unit).shape))):
            pairs.append(_alike(unit, partner))
            done |= {id(unit), id(partner)}
    for side, units in (("target", theirs), ("source", mine)):
        for unit in units:
            if _weight(unit).trainable and id(unit) not in done:
                raise ShapeError(_alone(_weight(unit), side))
    return pairs


def _weight(unit: Unit) -> Weight:
    return next(iter(unit.weights.values()))


def _words(unit: Unit) -> tuple[str, ...]:
    return tuple(re.split(r"[./]", unit.name))


def _alone(weight: Weight, side: str) -> str:
    return (
        f"{printable(weight.name)} of the {side} belongs to no layer that is known, and the other net has none of "
        f"its name and its shape {list(weight.shape)}; name its partner with pairs=, or leave it out with skip="
    )


def _given(source: Unit, target: Unit) -> Pair:
    mine, theirs = _weight(source), _weight(target)
    if mine.shape != theirs.shape:
        raise ShapeError(
            f"{printable(mine.name)} of shape {list(mine.shape)} was named for {printable(theirs.name)} of shape "
            f"{list(theirs.shape)}; weights that belong to no known layer must have one shape"
        )
    return Pair(source, target, "given")


def _alike(source: Unit, target: Unit) -> Pair:
    mine = _weight(source)
    lengths = [length for length in mine.shape if length > 1]
    if len(set(lengths)) < len(lengths):
        raise AmbiguityError(
            f"{printable(mine.name)} of shape {list(mine.shape)} may lie turned in {printable(_weight(target).name)}, and "
            "belongs to no layer that is known; name it with pairs= if it does not, or leave it out with skip="
        )
    return Pair(source, target, "equal names and shapes")


def _unit(weight: Weight) -> Unit:
    unit = Unit(plain_layer(weight.name), "other")
    words = tuple("abcdefgh"[: len(weight.shape)])
    for part in parts_of(weight, " ".join(words), words):
        unit.parts["values", ""] = part
    unit.weights[weight.name] = weight
    return unit
