"""Copies of all weights of a model into buffers that are used again: what a recorder costs the training."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from operator import setitem
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.readers import array_reader
from steelyard.core.vector import layout_of
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, UnreadableError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.runs.layout import Fact

ALIGNED = 64
"""The bytes at a multiple of which each weight begins in a copy."""


class Copy:
    """The memory of one copy: `arrays` has each weight once, with one axis, and `weights` the same with their facts."""

    __slots__ = ("arrays", "memory", "weights")

    def __init__(self, weights: list[Weight], spans: list[tuple[int, int]]) -> None:
        # as 8-byte numbers, so that the memory begins at a multiple of 8
        self.memory: Array = np.zeros(spans[-1][1] // 8 + 1 if spans else 1, np.uint64).view(np.uint8)
        self.arrays: list[Array] = [
            self.memory[start:stop].view(numpy_dtype(weight.dtype)) for weight, (start, stop) in zip(weights, spans, strict=True)
        ]
        self.weights = [weight.replace(read=array_reader(array)) for weight, array in zip(weights, self.arrays, strict=True)]


class Copier:
    """Copies the weights of one model, as they are at each call.

    `listed` are all of them, `weights` each of those that are tied once. Raises `UnreadableError` for weights that cannot be
    read, such as packed ones.
    """

    __slots__ = ("_layout", "_places", "is_live", "listed", "weights")

    def __init__(self, listed: Weights) -> None:
        if refused := listed.unreadable:
            name, reason = next(iter(refused.items()))
            raise UnreadableError(f"{printable(name)}: {printable(reason, 400)}; record a selection of steelyard.weights(model)")
        self.listed = listed
        self._layout = layout_of(listed.values())
        self.weights = list(self._layout.weights)
        self._places = [slice(start, stop) for start, stop in self.spans()]
        self.is_live = self._layout.in_memory()

    def spans(self) -> list[tuple[int, int]]:
        """Return the bytes [start, stop) of each weight in a copy."""
        made, start = [], 0
        for weight in self.weights:
            made.append((start, start + weight.nbytes))
            start = -(-(start + weight.nbytes) // ALIGNED) * ALIGNED
        return made

    def copy_into(self, copy: Copy) -> None:
        """Copy all numbers; raises `ShapeError` if the model does not hold one of the weights any more."""
        if not self.is_live:
            for weight, array in zip(self.weights, copy.arrays, strict=True):
                array[:] = weight.read(0, weight.size)
            return
        self._layout.unmoved()
        views: list[Any] = self._layout.views()
        here: Any = copy.memory.data
        deque(map(setitem, repeat(here), self._places, views), maxlen=0)


def require_same(
    before: tuple[Fact, ...], now: tuple[Fact, ...], run: str, remedy: str = "so record into another folder"
) -> None:
    """Raise `ShapeError` that names the first weight that a run and a model do not share, or that has another shape."""
    one, other = ({fact.name: fact for fact in facts} for facts in (before, now))
    new = [name for name in other if name not in one]
    gone = [name for name in one if name not in other]
    changed = [name for name in one if name in other and _kind(one[name]) != _kind(other[name])]
    if not (new or gone or changed) and list(one) == list(other):
        return
    if changed:
        name = changed[0]
        what = f"{printable(name)} is {_words(other[name])}, in the run {_words(one[name])}"
    elif new or gone:
        what = f"the model {'has a new weight' if new else 'lacks'} {printable((new or gone)[0])}"
    else:
        what = "the weights are in another order"
    raise ShapeError(f"{printable(run)}: {what}; a run has the same weights at each step, {remedy}")


def _kind(fact: Fact) -> tuple[object, ...]:
    return fact.shape, fact.dtype, fact.tied


def _words(fact: Fact) -> str:
    return f"{fact.dtype} {list(fact.shape)}{f', tied to {printable(fact.tied)}' if fact.tied else ''}"
