"""The units of a net that must go together, and the weights that have them.

An id stands for an index of an axis of a weight, such as output 3 of a kernel. A function that binds two indices, such as a sum,
a product or a norm, joins their ids into one class: removing a unit removes the indices of its whole class.
A class that cannot go is fixed, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array

NEUTRAL = -1
"""The label of a number that belongs to no unit, such as padding, a mask or a constant."""
_SAME = 1e-6  # relative: numbers that differ less are one constant
INPUT, OUTPUT = "they are the net's inputs", "they are the net's outputs"


class Axis(NamedTuple):
    """An axis of a weight whose indices are units.

    With `groups` it is the axis of the inputs of a grouped convolution: its indices count all inputs, the weight has only those
    inside a group, so that each group loses its own. `across` is the axis of the outputs, which the groups divide.
    """

    weight: str
    axis: int
    groups: int = 1
    across: int = 0


class Couplings:
    """Classes of ids, by union and find; `axes` has the ids of each axis, `reads` the axes that take units in.

    `layers` has the ids of the units that each layer gives. `even` has arrays of ids of shape (groups, units): each group must
    lose equally many. `constants` has, where it is known, the number that each unit brings to an axis that reads it, NaN if that
    varies; `padded` are the reading axes of kernels that meet padding, too. `fed` has the layer whose output a reading axis
    takes, and `shaped` the labels of the outputs of layers that give a shape, if a graph names them.
    """

    __slots__ = ("_fixed", "_observed", "_parent", "axes", "constants", "even", "fed", "layers", "padded", "reads", "shaped")

    def __init__(self) -> None:
        self._parent = np.zeros(0, np.int64)
        self._fixed: dict[int, str] = {}
        self.axes: dict[Axis, Array] = {}
        self.reads: set[Axis] = set()
        self.layers: dict[str, Array] = {}
        self.even: list[Array] = []
        self.constants: dict[Axis, Array] = {}
        self.padded: set[Axis] = set()
        self.fed: dict[Axis, str] = {}
        self.shaped: dict[str, Array] = {}
        self._observed: set[tuple[Axis, int]] = set()

    def new(self, count: int) -> Array:
        """Return ids of their own."""
        start = len(self._parent)
        made = np.arange(start, start + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, made])
        return made

    def axis(self, axis: Axis, length: int) -> Array:
        """Return the ids of an axis of a weight."""
        if axis not in self.axes:
            self.axes[axis] = self.new(length)
        return self.axes[axis]

    def roots(self, ids: Array) -> Array:
        """Return the class of each id; `NEUTRAL` stays as it is."""
        found = np.where(ids >= 0, self._parent[ids], NEUTRAL) if len(self._parent) else ids
        while True:
            above = np.where(found >= 0, self._parent[found], NEUTRAL) if len(self._parent) else found
            if np.array_equal(above, found):
                return found
            found = above

    def join(self, one: Array, other: Array) -> None:
        """Join the classes of ids, pair by pair; ids that are neutral join nothing."""
        both = np.stack([part.reshape(-1) for part in np.broadcast_arrays(one, other)], axis=1)
        both = np.unique(both[(both >= 0).all(axis=1)], axis=0)
        for left, right in both.tolist():
            low, high = sorted((self._root(left), self._root(right)))
            if low != high:
                self._parent[high] = low
                if high in self._fixed:
                    self._fixed.setdefault(low, self._fixed.pop(high))

    def _root(self, index: int) -> int:
        path = [index]
        while (above := int(self._parent[path[-1]])) != path[-1]:
            path.append(above)
        self._parent[path] = path[-1]
        return path[-1]

    def join_all(self, ids: Array) -> None:
        """Join all ids into one class."""
        held = np.unique(ids[ids >= 0])
        self.join(held[:1], held)

    def fix(self, ids: Array, reason: str) -> None:
        """Keep these ids, for a reason that completes "cannot be removed: ..."."""
        for root in np.unique(self.roots(np.unique(ids))).tolist():
            if root != NEUTRAL:
                self._fixed.setdefault(root, reason)

    def why_fixed(self, root: int) -> str | None:
        """Return the reason why a class cannot go, or None."""
        return self._fixed.get(root)

    def common(self, ids: Array, axes: tuple[int, ...], reason: str) -> Array:
        """Return the one id along some axes, kept as axes of length one; where there are several, all are fixed."""
        narrow = narrowed(ids)
        found = self.roots(narrow)
        top = found.max(axis=axes, keepdims=True)
        if not ((found == top) | (found == NEUTRAL)).all():
            self.fix(narrow, reason)
        return np.asarray(top)

    def observe(self, axis: Axis, ids: Array, values: Array) -> None:
        """Record the numbers (samples, units) that an axis read for these ids of its own; NaN where they vary."""
        own = self.axes[axis]
        held = self.constants.setdefault(axis, np.full(own.size, np.nan))
        new = np.where(np.ptp(values, axis=0) <= _SAME * np.abs(values).max(axis=0, initial=0.0), values[0], np.nan)
        places = np.unique(ids, return_index=True)[1]
        at, new = ids[places] - own[0], new[places]
        seen = (axis, int(ids[0])) in self._observed
        held[at] = np.where(np.isclose(held[at], new, rtol=_SAME), new, np.nan) if seen else new
        self._observed.add((axis, int(ids[0])))

    def indices(self, roots: Iterable[int]) -> dict[Axis, Array]:
        """Return the indices of the classes on each axis that has any."""
        wanted = np.fromiter(roots, np.int64)
        found = {axis: np.flatnonzero(np.isin(self.roots(ids), wanted)) for axis, ids in self.axes.items()}
        return {axis: places for axis, places in found.items() if places.size}


def narrowed(ids: Array) -> Array:
    """Return an array whose repeated axes (of stride 0) have the length one, so that each id is looked at once."""
    return ids[tuple(slice(0, 1) if step == 0 else slice(None) for step in ids.strides)]


def even_counts(couplings: Couplings, roots: Iterable[int]) -> bool:
    """Whether each group loses equally many of its units if these classes go."""
    wanted = np.fromiter(roots, np.int64)
    lost = (np.isin(couplings.roots(ids), wanted).sum(axis=1) for ids in couplings.even)
    return all((counts == counts[0]).all() for counts in lost)
