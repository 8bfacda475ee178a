"""Align two nets by the permutation of their hidden units that matches best, found by linear assignment.

If the hidden units of a dense or convolutional layer and the inputs of the next layer are permuted in the same way, the net
computes the same function. All axes that share one order form a `UnitGroup`. With the other groups fixed, the best order of a
group maximises the sum of the products of both nets' weights over all its axes, which is a linear assignment problem. Solving
these in turn until nothing improves is coordinate ascent (Ainsworth, Hayase and Srinivasa, Git Re-Basin, 2023, section 3.2). It
finds only a local maximum, so two starts are tried. Permuted copies of a net are recovered exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isqrt, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.core.readers import array_reader
from steelyard.errors import MissingExtraError, ShapeError, printable
from steelyard.measures.diff.pairing import Couple, Coupling
from steelyard.numerics.matrices import as_float64, one_blas_thread
from steelyard.text.units import in_units
from steelyard.transfers.pairing.dataflow import flowing_into
from steelyard.transfers.pairing.net import Net

if TYPE_CHECKING:
    from steelyard.core.axes import Part
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.transfers.layers.layer_weights import LayerWeights

MATRICES = ("dense", "conv", "conv transpose")
VECTORS = ("batch norm", "layer norm", "instance norm", "rms norm", "prelu")
SWEEPS = 50  # rounds over all groups; similar nets need only a few
BYTES = 1 << 31  # maximum memory of a search; a hidden layer takes 8 bytes for each pair of its units
PAIRS = 1 << 31  # pairs of units that all assignments may weigh, some minutes; no further round begins beyond it
_ROWS = 1 << 24  # gains that are computed at a time
BREAKING = ("merge", "reshape", "other")  # kinds of layers that may give the order of units a meaning


class Use(NamedTuple):
    """An axis of a part that is indexed by a group's units, each `width` times: consecutively if `inside`, else interleaved."""

    part: Part
    axis: int
    width: int = 1
    inside: bool = True


class UnitGroup:
    """Units whose order is free, unless `fixed`: all axes indexed by them, and the name of the layer that outputs them."""

    __slots__ = ("fixed", "name", "size", "uses")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.uses: list[Use] = []
        self.fixed = False


def aligned(coupling: Coupling, other: Weights) -> tuple[Coupling, dict[str, list[int]]]:
    """Return the couples with the hidden units of the second side in the order that matches the first best, and the orders.

    Entry i of an order is the unit of the second side that matches unit i of the first. Raises `ShapeError`
    if the graph is not known or the search would need more than `BYTES`, and `MissingExtraError` without SciPy.
    """
    groups, note = _unit_groups(Net(other, other.graph))
    partners = {
        each.other.name: each for each in coupling.couples if each.one and each.other and each.one.shape == each.other.shape
    }
    free = [group for group in groups if not group.fixed and all(use.part.weight.name in partners for use in group.uses)]
    if not free:
        raise ShapeError("no layer has hidden units whose order is free, or their weights have no partners")
    _require_room(free)
    alignment = _Alignment(free, partners)
    with one_blas_thread():
        orders = alignment.best()
    if not alignment.settled:
        note = [*note, "the search ended before it settled, so a better order of units may exist"]
    moved = {group.name: orders[nth].tolist() for nth, group in enumerate(free)}
    permuted = alignment.permuted(orders)
    couples = [_with(each, permuted) for each in coupling.couples]
    return coupling._replace(couples=couples, notes=[*coupling.notes, *note]), moved


def _require_room(groups: list[UnitGroup]) -> None:
    """Raise before anything is allocated: the gains of a layer, both sides in float64, and copies of the largest part."""
    sizes = {id(use.part): prod(use.part.shape) for group in groups for use in group.uses}
    held = 8 * (2 * sum(sizes.values()) + 4 * max(sizes.values()) + _ROWS)
    widest = max(groups, key=lambda group: group.size)
    needed = held + 8 * widest.size**2
    if needed > BYTES:
        fits = isqrt(max(BYTES - held, 0) // 8)
        most = f"a layer of at most {fits:,} units would fit" if fits else f"its weights alone take {in_units(held)}"
        raise ShapeError(
            f"{printable(widest.name) or 'the widest layer'} has {widest.size:,} hidden units, whose alignment needs "
            f"{in_units(needed)} of at most {in_units(BYTES)}; {most}"
        )


def _with(each: Couple, permuted: Mapping[str, Array]) -> Couple:
    if each.other is None or each.other.name not in permuted:
        return each
    return each._replace(other=each.other.replace(read=array_reader(permuted[each.other.name])))


def _unit_groups(net: Net) -> tuple[list[UnitGroup], list[str]]:
    """Return the groups of a net, and notes on how they were found."""
    units = [unit for unit in net.layers if unit.parts and not unit.tied]
    before = flowing_into(net.graph, units) if net.graph else None
    _refuse_unknown(net, known=before is not None)
    note = []
    if before is None:
        before = _as_chain(units)
        why = f" ({net.why_no_graph})" if net.why_no_graph else ""
        note = [f"there is no graph{why}: layers were taken as a chain, in the order in which they are listed"]
    made: dict[int, UnitGroup | None] = {}
    groups: list[UnitGroup] = []
    for unit in units:
        incoming = [made[each] for each in before[id(unit)] if made.get(each)]
        # a sum or a concatenation ties the orders of its inputs to each other, so they stay as they are
        if len(before[id(unit)]) > 1:
            _fix(incoming)
        group = incoming[0] if len(incoming) == 1 == len(before[id(unit)]) else None
        made[id(unit)] = _through(unit, group, net.channels, groups)
    # units that no layer takes are the outputs of the net, whose order has a meaning
    used = {each for unit in units for each in before[id(unit)]}
    _fix(made[id(unit)] for unit in units if id(unit) not in used)
    _fix(made.get(each) for layer in _breaking(net, units) for each in layer)
    return groups, note


def _refuse_unknown(net: Net, *, known: bool) -> None:
    """Raise if the inputs of a layer that joins or mixes units are not known."""
    for layer in net.graph.layers if net.graph else ():
        if layer.kind in BREAKING and (layer.inputs is None or not known):
            where = f"{printable(layer.name)} ({printable(layer.class_name)})"
            raise ShapeError(f"the graph does not show how data flows into {where}, so no order of units is known to be free")


def _fix(groups: Iterable[UnitGroup | None]) -> None:
    for group in groups:
        if group is not None:
            group.fixed = True


def _breaking(net: Net, units: list[LayerWeights]) -> list[list[int]]:
    """Return, for each layer that gives the order of its inputs a meaning, the ids of the units that flow into it."""
    if net.graph is None:
        return []
    makers: dict[str, list[int]] = {}
    for unit in units:
        if unit.graph_layer is not None:
            makers.setdefault(unit.graph_layer.name, []).append(id(unit))
    layers = {layer.name: layer for layer in net.graph.layers}
    breaking = []
    for layer in layers.values():
        pending = list(layer.inputs or ()) if layer.kind in BREAKING else []
        seen, reached = set[str](), list[int]()
        while pending:
            name = pending.pop()
            if name in makers:
                reached += makers[name]
            elif name in layers and name not in seen:
                seen.add(name)
                pending += layers[name].inputs or ()
        breaking.append(reached)
    return breaking


def _as_chain(units: list[LayerWeights]) -> dict[int, list[int]]:
    """Connect each unit to the one listed before it; raises if the sizes do not match."""
    before: dict[int, list[int]] = {}
    last, width = None, 0
    for unit in units:
        before[id(unit)] = [] if last is None else [id(last)]
        if unit.kind in MATRICES and ("kernel", "") in unit.parts:
            if width and _inputs(unit) % width:
                raise ShapeError(
                    f"{printable(unit.name)} has {_inputs(unit)} inputs, the layer listed before it {width} outputs: "
                    "the layers do not form a chain, and there is no graph; pass live models"
                )
            width = _outputs(unit)
        elif unit.kind not in VECTORS:
            raise ShapeError(
                f"{printable(unit.name)} is {unit.kind}, and there is no graph that shows how data flows around it; "
                "pass live models, or compare without align"
            )
        last = unit
    return before


def _kernel(unit: LayerWeights) -> Part:
    return unit.parts["kernel", ""]


def _inputs(unit: LayerWeights) -> int:
    part = _kernel(unit)
    return part.shape[part.labels.index("in")]


def _outputs(unit: LayerWeights) -> int:
    part = _kernel(unit)
    return part.shape[part.labels.index("out")]


def _through(unit: LayerWeights, group: UnitGroup | None, channels: str, groups: list[UnitGroup]) -> UnitGroup | None:
    """Add the axes of a unit to its input group, and return its output group."""
    if unit.kind in VECTORS and group is not None:
        parts = list(unit.parts.values())
        if all(part.shape == (group.size,) for part in parts):
            group.uses += [Use(part, 0) for part in parts]
            return group
    if unit.kind not in MATRICES or ("kernel", "") not in unit.parts or int(unit.settings.get("groups") or 1) != 1:
        _fix([group])
        return None
    if group is not None and group.size:
        # after a flatten the next layer takes each unit, a channel, once for every pixel
        width, rest = divmod(_inputs(unit), group.size)
        if rest or (width > 1 and not channels):
            _fix([group])
        group.uses.append(Use(_kernel(unit), _kernel(unit).labels.index("in"), width, channels != "last"))
    out = UnitGroup(unit.name, _outputs(unit))
    out.uses.append(Use(_kernel(unit), _kernel(unit).labels.index("out")))
    others = [part for (slot, _), part in unit.parts.items() if slot != "kernel"]
    out.uses += [Use(part, 0) for part in others if part.shape == (out.size,)]
    out.fixed = any(part.shape != (out.size,) for part in others) or bool(unit.computed) or not out.size
    groups.append(out)
    return out


class _Alignment:
    """The weights of both sides that are indexed by free groups, with canonical axes, in float64."""

    def __init__(self, groups: list[UnitGroup], partners: Mapping[str, Couple]) -> None:
        self.groups = groups
        self.partners = partners
        self.parts = {id(use.part): use.part for group in groups for use in group.uses}
        self.one = {key: self._read(part, "one") for key, part in self.parts.items()}
        self.other = {key: self._read(part, "other") for key, part in self.parts.items()}
        self.settled = True
        self._pairs = 0
        self.axes: dict[int, list[tuple[int, Use]]] = {}
        for nth, group in enumerate(groups):
            for use in group.uses:
                self.axes.setdefault(id(use.part), []).append((nth, use))

    def _read(self, part: Part, side: str) -> Array:
        weight = getattr(self.partners[part.weight.name], side)
        # one NaN would spread to all gains of its row, and linear assignment refuses NaN and Inf
        return np.nan_to_num(as_float64(part.read(weight.numpy())), posinf=0.0, neginf=0.0)

    def best(self) -> list[Array]:
        """Return the best orders from two starts: the present order, and the best match of the incoming weights only."""
        asis = [np.arange(group.size) for group in self.groups]
        # layers in order: the incoming weights of each depend on the orders before it only, which are matched by then
        first = [order.copy() for order in asis]
        for nth, group in enumerate(self.groups):
            first[nth] = self._assigned(nth, first, [use for use in group.uses if _incoming(use)])
        return max((self._improved(orders) for orders in (asis, first)), key=self._product)

    def _improved(self, orders: list[Array]) -> list[Array]:
        orders = list(orders)
        product = self._product(orders)
        for _ in range(SWEEPS):
            for nth, group in enumerate(self.groups):
                orders[nth] = self._assigned(nth, orders, group.uses)
            # each assignment can only raise the product, so the rounds end; the tolerance is for rounding
            now = self._product(orders)
            if now <= product + 1e-12 * abs(product):
                break
            product = now
            if self._pairs > PAIRS:
                self.settled = False
                break
        else:
            self.settled = False
        return orders

    def _assigned(self, nth: int, orders: list[Array], uses: list[Use]) -> Array:
        """Return the best order of one group while the others are fixed."""
        size = self.groups[nth].size
        self._pairs += size * size
        costs = np.zeros((size, size))  # of negative gains, since a search for the greatest sum would copy them
        rows = max(_ROWS // size, 1)
        for use in uses:
            # costs[i, j] is the loss of the product if unit j of the second side is put at place i
            mine = _by_unit(self.one[id(use.part)], use, size)
            theirs = _by_unit(self._ordered(use.part, orders, but=nth), use, size).conj().T
            for start in range(0, size, rows):
                costs[start : start + rows] -= (mine[start : start + rows] @ theirs).real
        return _assignment(costs)

    def _ordered(self, part: Part, orders: list[Array], but: int = -1) -> Array:
        values = self.other[id(part)]
        for nth, use in self.axes[id(part)]:
            if nth != but:
                values = values.take(_indices(orders[nth], use), axis=use.axis)
        return values

    def _product(self, orders: list[Array]) -> float:
        return sum(float((self.one[key] * self._ordered(part, orders).conj()).real.sum()) for key, part in self.parts.items())

    def permuted(self, orders: list[Array]) -> dict[str, Array]:
        """Return the arrays of the second side with their units in these orders; the numbers keep their bits."""
        made: dict[str, Array] = {}
        for part in self.parts.values():
            name = part.weight.name
            if name not in made:
                weight = self.partners[name].other
                made[name] = weight.numpy().copy() if weight else np.empty(0)
            values = part.read(made[name]).copy()
            for nth, use in self.axes[id(part)]:
                values = values.take(_indices(orders[nth], use), axis=use.axis)
            part.write(made[name], values)
        return made


def _incoming(use: Use) -> bool:
    return use.part.labels[use.axis] != "in"


def _indices(order: Array, use: Use) -> Array:
    """Return the order of an axis on which each unit occurs `width` times."""
    inner = np.arange(use.width)
    if use.inside:
        return (order[:, None] * use.width + inner).reshape(-1)
    return (inner[:, None] * len(order) + order).reshape(-1)


def _by_unit(values: Array, use: Use, size: int) -> Array:
    """Return a row for each unit."""
    split = (size, use.width) if use.inside else (use.width, size)
    before, after = values.shape[: use.axis], values.shape[use.axis + 1 :]
    parted = values.reshape(*before, *split, *after)
    return np.moveaxis(parted, use.axis + (not use.inside), 0).reshape(size, -1)


def _assignment(costs: Array) -> Array:
    """Return the column assigned to each row, so that the sum is minimal."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingExtraError("a comparison up to permutation", "permutation") from None
    columns: Array = linear_sum_assignment(costs)[1]
    return columns
