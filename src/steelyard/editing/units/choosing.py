"""The units that go: by their indices, or a share of each layer's by the score of their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.coupling import NEUTRAL, even_counts
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.coupling import Couplings
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

    Amount = float | Sequence[int]
    """The share of the units of a layer that go, or their indices."""

SCORES = ("l2", "bn")
_KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)


class Choice:
    """The classes that go, `roots`; `layers` has the indices of the units that each layer loses, `kept` why others stay."""

    __slots__ = ("kept", "layers", "roots")

    def __init__(self) -> None:
        self.roots: set[int] = set()
        self.layers: dict[str, list[int]] = {}
        self.kept: dict[str, str] = {}


def chosen(weights: Weights, couplings: Couplings, amount: Amount | Mapping[str, Amount], score: str) -> Choice:
    """Return the units that go.

    Raises `ShapeError` for layers that are not known, for units that cannot go, with the reason, and where groups or directions
    would lose different numbers of units.
    """
    if score not in SCORES:
        raise ShapeError(f'score is {quoted(score)}; it must be "l2" or "bn"')
    wanted = _by_layer(weights, couplings, amount)
    scores = _Scores(weights, couplings, score)
    made = Choice()
    explicit = isinstance(amount, Mapping)
    for layer, share in wanted.items():
        roots = _roots_of(couplings, layer)
        if not roots and explicit:
            raise ShapeError(f"{printable(layer)} has a single unit, which stays")
        if not isinstance(share, (int, float)):
            made.roots |= _at(couplings, layer, share)
        elif explicit or not made.roots & {*roots}:
            lost = _lowest(couplings, layer, roots, float(share), scores, made, explicit=explicit)
            if explicit or even_counts(couplings, made.roots | lost):
                made.roots |= lost
            else:
                made.kept[layer] = "its groups would lose different numbers of them"
    _check(couplings, made)
    for layer, ids in couplings.layers.items():
        gone = np.flatnonzero(np.isin(couplings.roots(ids), [*made.roots]))
        if gone.size:
            made.layers[layer] = gone.tolist()
    return made


def _by_layer(weights: Weights, couplings: Couplings, amount: Amount | Mapping[str, Amount]) -> dict[str, Amount]:
    if not isinstance(amount, Mapping):
        return dict.fromkeys(_own_layers(weights, couplings), amount)
    made: dict[str, Amount] = {}
    for name, share in amount.items():
        layer = name if name in couplings.layers else weights[name].layer if name in weights else ""
        if layer not in couplings.layers:
            known = ", ".join(map(printable, _own_layers(weights, couplings)))
            raise ShapeError(f"{printable(name)} is not a layer with units of its own; those are {known or 'none'}")
        made[layer] = share
    return made


def _own_layers(weights: Weights, couplings: Couplings) -> list[str]:
    """Return the layers that have kernels, in order: others, such as norms, pass on the units of those."""
    with_kernels = {weight.layer for weight in weights.values() if weight.role in _KERNELS}
    return [
        layer
        for layer in couplings.layers
        if any(own == layer or own.startswith((f"{layer}/", f"{layer}.")) for own in with_kernels)
    ]


def _roots_of(couplings: Couplings, layer: str) -> list[int]:
    """Return the classes of a layer's units, in the order of the units."""
    return [root for root in dict.fromkeys(couplings.roots(couplings.layers[layer]).tolist()) if root != NEUTRAL]


def _at(couplings: Couplings, layer: str, indices: Iterable[int]) -> set[int]:
    """Return the classes of some units of a layer; raises where others of the layer would have to go with them."""
    ids = couplings.layers[layer]
    places = np.unique(np.array([*indices], dtype=np.int64))
    outside = places[(places < 0) | (places >= ids.size)]
    if outside.size:
        raise ShapeError(f"{printable(layer)} has {ids.size} units, and none with the index {outside[0]}")
    every = couplings.roots(ids)
    roots = {*every[places].tolist()}
    together = np.flatnonzero(np.isin(every, [*roots]))
    if together.size > places.size:
        more = np.setdiff1d(together, places)[:8].tolist()
        raise ShapeError(
            f"{printable(layer)} cannot lose {places[:8].tolist()} alone: {more} belong to the same heads or groups, "
            "and must be listed too"
        )
    for root in roots:
        if (why := couplings.why_fixed(root)) is not None:
            raise ShapeError(f"{printable(layer)} cannot lose these units: {why}")
    return roots


def _lowest(
    couplings: Couplings, layer: str, roots: list[int], share: float, scores: _Scores, made: Choice, *, explicit: bool
) -> set[int]:
    """Return a share of the classes of a layer, those with the lowest scores; each group loses equally many."""
    if not 0 <= share < 1:
        raise ShapeError(f"the share of the units of {printable(layer)} that go is {share}; it must be at least 0 and below 1")
    free = [root for root in roots if couplings.why_fixed(root) is None]
    if len(free) < len(roots):
        why = next(couplings.why_fixed(root) for root in roots if couplings.why_fixed(root) is not None)
        if not free and explicit:
            raise ShapeError(f"{printable(layer)} cannot lose units: {why}")
        made.kept[layer] = f"{why}"
    lost: set[int] = set()
    for group in _groups(couplings, free):
        order = sorted(group, key=lambda root: (scores.of(layer, root), root))
        lost |= {*order[: min(round(share * len(group)), len(group) - 1)]}
    return lost


def _groups(couplings: Couplings, roots: list[int]) -> list[list[int]]:
    """Return classes by the groups that must lose equally many, if they are in any."""
    for ids in couplings.even:
        rows = couplings.roots(ids)
        if {*roots} <= {*rows.reshape(-1).tolist()}:
            first = {root: int(np.flatnonzero((rows == root).any(axis=1))[0]) for root in roots}
            return [[root for root in roots if first[root] == row] for row in range(len(rows))]
    return [roots] if roots else []


def _check(couplings: Couplings, made: Choice) -> None:
    if not even_counts(couplings, made.roots):
        raise ShapeError(
            "the groups of a convolution, or the directions of a recurrent layer, would lose different numbers of units; "
            "list as many of each"
        )
    for axis, places in couplings.indices(made.roots).items():
        if places.size == couplings.axes[axis].size:
            raise ShapeError(f"{printable(axis.weight)} would lose all of its units")


class _Scores:
    """The score of each class: the L2 norm of all kernels that give its units, or the sizes of its batch norms' scales."""

    __slots__ = ("_couplings", "_made", "_score", "_weights")

    def __init__(self, weights: Weights, couplings: Couplings, score: str) -> None:
        self._weights = weights
        self._couplings = couplings
        self._score = score
        self._made: dict[int, float] | None = None

    def of(self, layer: str, root: int) -> float:
        if self._made is None:
            self._made = {}
            for roots, values in self._all():
                for each, value in zip(roots.tolist(), values.tolist(), strict=True):
                    self._made[each] = self._made.get(each, 0.0) + value
        if self._score == "bn" and root not in self._made:
            raise ShapeError(f"no batch norm scales the units of {printable(layer)}, so they have no score of it")
        return self._made.get(root, 0.0)

    def _all(self) -> Iterator[tuple[Array, Array]]:
        norms = {weight.layer for weight in self._weights.values() if weight.role is Role.VARIANCE}
        for axis, ids in self._couplings.axes.items():
            weight = self._weights.get(axis.weight)
            if weight is None or axis in self._couplings.reads:
                continue
            roots = self._couplings.roots(ids)
            if self._score == "bn":
                if weight.role is Role.SCALE and weight.layer in norms:
                    yield roots, np.abs(weight.numpy().astype(np.float64))
            elif weight.role in _KERNELS:
                others = tuple(each for each in range(len(weight.shape)) if each != axis.axis)
                yield roots, np.square(weight.numpy().astype(np.float64)).sum(axis=others)
