"""What the removal of units does to a net: a plan that prints, the smaller weights, and the smaller model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weights import Weights
from steelyard.editing.units.constants import shifted_biases, without_kernels
from steelyard.editing.units.cutting import cuts_of, shape_after, without, zeroed
from steelyard.editing.units.rebuilding import rebuilt, run_of, twin_of
from steelyard.editing.units.tracing import constants_in
from steelyard.errors import ShapeError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.coupling import Axis, Couplings
    from steelyard.core.weight import Array, Weight
    from steelyard.editing.units.choosing import Choice
    from steelyard.transfers.proof import Proof

_SHOWN = 12
"""Maximum indices that are printed of a layer."""


class UnitPlan:
    """What goes when units are removed, and what is left.

    `removed` has the indices of the units that each layer loses, also those that lose them along with others. `cuts` has, for
    each weight, the indices that each of its axes loses (`UnitPlan.cuts[name][axis]`). `kept` has the layers of which units must
    stay, with the reason. `weights` has the smaller weights, read on demand. `model` is the smaller net, ready to run, made and
    proven on first access; `proof` is its comparison with the net in which the weights that read the removed units are zero, with
    `fold` with the net in which the kernels that give them are.
    """

    __slots__ = ("_couplings", "_cuts", "_fold", "_indices", "_inputs", "_made", "_net", "_roots", "_source", "kept", "removed")

    def __init__(
        self, source: Weights, net: Any, couplings: Couplings, choice: Choice, inputs: list[Array] | None, *, fold: bool
    ) -> None:
        self.removed = dict(choice.layers)
        self.kept = dict(choice.kept)
        self._source = source
        self._net = net
        self._couplings = couplings
        self._roots = frozenset(choice.roots)
        self._indices: Mapping[Axis, Array] = couplings.indices(choice.roots)
        self._cuts = cuts_of(source, self._indices)
        self._inputs = inputs
        self._fold = _Fold(self) if fold else None
        self._made: tuple[Any, Proof] | None = None

    @property
    def cuts(self) -> dict[str, dict[int, list[int]]]:
        """The indices that each axis of each weight loses; those of a grouped convolution count the inputs of all groups."""
        return {name: {cut.axis: [*cut.indices] for cut in sorted(cuts)} for name, cuts in self._cuts.items()}

    @property
    def weights(self) -> Weights:
        """The weights of the smaller net, read on demand; tied weights stay one array."""
        made: dict[str, Weight] = {}
        for weight in self._source.values():
            own = self._fold.weight(weight) if self._fold else weight
            cut = without(own, self._cuts[weight.name]) if weight.name in self._cuts else own
            owner = made.get(weight.tied or "")
            made[weight.name] = cut if owner is None else cut.replace(read=owner.read)
        return Weights(made.values(), meta=self._source.meta, live=self._source.live)

    @property
    def model(self) -> Any:
        """The smaller net, ready to run. Raises `ShapeError` where there is none, or where it would not be equal."""
        return self._proven()[0]

    @property
    def proof(self) -> Proof:
        """The comparison of the smaller net with the original one, in which the removed units are not read."""
        return self._proven()[1]

    def _proven(self) -> tuple[Any, Proof]:
        if self._made is None:
            if self._net is None or self._inputs is None:
                raise ShapeError("only a live net has a smaller model; `weights` has the numbers of a file's")
            expected = run_of(twin_of(self._net, self._fold.zeroed if self._fold else self._unread()), self._inputs)
            facts: Any = {"counts": self._counts(), "shaped": self._shaped(), "rounded": self._fold is not None}
            self._made = rebuilt(self._net, self.weights.arrays(), expected, self._inputs, **facts)
        return self._made

    def _unread(self) -> dict[str, Array]:
        """Return the weights that read the removed units, with zeros for these."""
        reads = {axis: places for axis, places in self._indices.items() if axis in self._couplings.reads}
        return {name: zeroed(self._source[name].numpy(), cuts) for name, cuts in cuts_of(self._source, reads).items()}

    def _shaped(self) -> dict[str, tuple[int, ...]]:
        """Return the new shapes of what layers without weights give, such as a reshape of some channels."""
        made = {}
        for layer, labels in self._couplings.shaped.items():
            gone = np.isin(self._couplings.roots(labels), [*self._roots])
            axes = [tuple(other for other in range(gone.ndim) if other != axis) for axis in range(gone.ndim)]
            made[layer] = tuple(int((~gone.all(axis=others)).sum()) for others in axes)
        return made

    def _counts(self) -> list[tuple[int, int]]:
        """Return old and new numbers of units, and of groups of units that go together, of the layers that lose some."""
        made = []
        for layer, gone in self.removed.items():
            roots = self._couplings.roots(self._couplings.layers[layer])
            left = [root for place, root in enumerate(roots.tolist()) if place not in {*gone}]
            made += [(len(roots), len(left)), (len({*roots.tolist()}), len({*left}))]
        return [pair for pair in dict.fromkeys(made) if pair[0] != pair[1]]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        cut = {self._source[name].layer for name in self._cuts}  # an activation loses them too, but has nothing to cut
        gone = [f"{printable(layer)} loses {len(units)} of {self._couplings.layers[layer].size} units: {_listed(units)}"
                for layer, units in self.removed.items() if layer in cut]  # fmt: skip
        rows = [("weight", "before", "after")]
        rows += [
            (printable(name), _spelled(weight.shape), _spelled(shape_after(weight.shape, self._cuts[name])))
            for name, weight in self._source.items()
            if name in self._cuts
        ]
        wide = [max(len(row[nth]) for row in rows) for nth in range(2)]
        table = [f"{row[0].ljust(wide[0])}  {row[1].ljust(wide[1])}  {row[2]}" for row in rows] if self._cuts else []
        before, after = self._source.size, self.weights.size
        share = f", {1 - after / before:.0%} fewer" if before else ""
        kept = [f"{printable(layer)} keeps its units: {why}" for layer, why in self.kept.items()]
        return [*gone, *table, f"{before:,} elements before, {after:,} after{share}", *kept]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain Python, for JSON; axes are texts."""
        cuts = {name: {str(axis): places for axis, places in axes.items()} for name, axes in self.cuts.items()}
        sizes = {"elements_before": self._source.size, "elements_after": self.weights.size}
        return {"removed": self.removed, "cuts": cuts, "kept": self.kept, **sizes}


class _Fold:
    """The biases that take the constants of the removed units; `zeroed` are the kernels without these units."""

    __slots__ = ("_biases", "zeroed")

    def __init__(self, plan: UnitPlan) -> None:
        source, couplings, indices = plan._source, plan._couplings, plan._indices
        if plan._net is None or plan._inputs is None:
            raise ShapeError("fold needs a live net, since the constants of units are found by running it")
        self.zeroed = without_kernels(source, couplings, indices)
        constants = constants_in(twin_of(plan._net, self.zeroed), plan._inputs, couplings, indices)
        self._biases = shifted_biases(source, source.graph, couplings, indices, constants)

    def weight(self, weight: Weight) -> Weight:
        """Return a weight with the constants, if it is a bias that takes some."""
        array = self._biases.get(weight.name)
        return weight if array is None else weight.replace(read=lambda start, stop: array.reshape(-1)[start:stop])


def _listed(units: list[int]) -> str:
    return first_of(units, _SHOWN)


def _spelled(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
