"""Weights without some indices of their axes, and weights in which these are zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.core.readers import by_rows
from steelyard.core.weight import Refused, Weight

if TYPE_CHECKING:
    from steelyard.core.coupling import Axis
    from steelyard.core.weight import Array, Reader
    from steelyard.core.weights import Weights


class Cut(NamedTuple):
    """The indices that an axis loses; with `groups` they count the inputs of all groups, which divide the axis `across`."""

    axis: int
    indices: tuple[int, ...]
    groups: int = 1
    across: int = 0


Cuts = dict[str, list[Cut]]
"""The cuts of each weight, by name."""


def cuts_of(weights: Weights, indices: Mapping[Axis, Array]) -> Cuts:
    """Return the cuts of all weights; tied ones have those of the weight whose numbers they share."""
    found: Cuts = {}
    for axis, places in indices.items():
        found.setdefault(axis.weight, []).append(Cut(axis.axis, tuple(places.tolist()), axis.groups, axis.across))
    owners = {weight.name: weight.tied or weight.name for weight in weights.values()}
    of_owner = {owners.get(name, name): cuts for name, cuts in found.items()}
    return {name: sorted(of_owner[owner], key=lambda cut: -cut.groups) for name, owner in owners.items() if owner in of_owner}


def shape_after(shape: tuple[int, ...], cuts: Iterable[Cut]) -> tuple[int, ...]:
    """Return the shape of a weight without what it loses.

    >>> shape_after((6, 4, 3, 3), [Cut(0, (2, 3)), Cut(1, (1, 6), groups=2)])
    (4, 3, 3, 3)
    """
    lengths = list(shape)
    for cut in cuts:
        lengths[cut.axis] -= len(cut.indices) // cut.groups
    return tuple(lengths)


def without(weight: Weight, cuts: list[Cut]) -> Weight:
    """Return a weight without some indices; only the rows that are asked for are read."""
    if isinstance(weight.read, Refused):
        return weight.replace(shape=shape_after(weight.shape, cuts))
    shape = shape_after(weight.shape, cuts)
    return weight.replace(shape=shape, read=by_rows(shape, _rows(weight, cuts)), overlaps=None)


def _rows(weight: Weight, cuts: list[Cut]) -> Reader:
    width = int(np.prod(weight.shape[1:], dtype=np.int64))
    gone = next((cut.indices for cut in cuts if cut.axis == 0 and cut.groups == 1), ())
    kept = np.setdiff1d(np.arange(weight.shape[0]), gone)

    def rows(first: int, last: int) -> Array:
        wanted = kept[first:last]
        if not wanted.size:
            return np.zeros((0, *shape_after(weight.shape, cuts)[1:]), weight.read(0, 0).dtype)
        low, high = int(wanted[0]), int(wanted[-1]) + 1
        block: Array = weight.read(low * width, high * width).reshape(high - low, *weight.shape[1:])[wanted - low]
        for cut in cuts:
            if cut.groups > 1:
                block = _without_grouped(block, cut, weight.shape, wanted)
            elif cut.axis:
                block = np.delete(block, cut.indices, axis=cut.axis)
        return block

    return rows


def _without_grouped(block: Array, cut: Cut, shape: tuple[int, ...], rows: Array) -> Array:
    """Return some rows of a kernel without the inputs that each group loses; the group of a row or column decides which."""
    inside, outputs = shape[cut.axis], shape[cut.across]
    every = np.setdiff1d(np.arange(inside * cut.groups), cut.indices)
    kept = every.reshape(cut.groups, -1) % inside
    group = np.arange(outputs) * cut.groups // outputs
    columns = kept[group[rows] if cut.across == 0 else group]
    turned = np.moveaxis(block, (cut.across, cut.axis), (0, 1))
    made = turned[np.arange(len(turned))[:, None], columns]
    back: Array = np.moveaxis(made, (0, 1), (cut.across, cut.axis))
    return back


def zeroed(array: Array, cuts: Iterable[Cut]) -> Array:
    """Return a copy of an array in which the indices are zero instead of gone."""
    made = array.copy()
    for place in places(made.shape, cuts):
        made[place] = 0
    return made


def places(shape: tuple[int, ...], cuts: Iterable[Cut]) -> Iterator[tuple[slice | Array, ...]]:
    """Yield where in an array of some shape the numbers of cuts are."""
    for cut in cuts:
        if cut.groups == 1:
            yield (*[slice(None)] * cut.axis, np.array(cut.indices))
            continue
        outputs = shape[cut.across] // cut.groups
        for index in cut.indices:
            group, column = divmod(index, shape[cut.axis])
            place: list[slice | Array] = [slice(None)] * len(shape)
            place[cut.across], place[cut.axis] = slice(group * outputs, (group + 1) * outputs), np.array([column])
            yield tuple(place)
