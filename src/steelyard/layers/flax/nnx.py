"""Roles and axes in the files of Flax NNX, which name no classes: cells and attentions are known by the layers inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from steelyard.core.roles import leaf_of
from steelyard.core.weight import Weight
from steelyard.layers.flax.roles import SUBLAYER_ROLES
from steelyard.layers.roles import ParameterRoles, axes_or_blank

_BY_PARTS = {frozenset(SUBLAYER_ROLES[name]): SUBLAYER_ROLES[name] for name in ("LSTMCell", "MultiHeadAttention")}
_STACKED = frozenset(("dense_i", "dense_h"))
_BY_GATES = {4: "OptimizedLSTMCell", 3: "GRUCell", 1: "SimpleCell"}
"""The class of a cell whose gates are stacked in one kernel, by their number."""


def with_nnx_facts(weights: Iterable[Weight]) -> list[Weight]:
    """Return the weights with the roles and axes that the layers inside a cell or an attention prove."""
    listed = list(weights)
    cells = _cells(listed)
    return [_explained(weight, cells.get(_above(weight), {}).get(leaf_of(weight.layer), {})) for weight in listed]


def _above(weight: Weight) -> str:
    return weight.layer.rpartition("/")[0]


def _cells(weights: Iterable[Weight]) -> dict[str, dict[str, ParameterRoles]]:
    """Return the roles of the layers inside of each cell or attention, by its name."""
    parts: dict[str, dict[str, Weight]] = {}
    for weight in weights:
        if leaf_of(weight.name) in ("kernel", "bias"):
            own = parts.setdefault(_above(weight), {})
            if leaf_of(weight.name) == "kernel" or leaf_of(weight.layer) not in own:
                own[leaf_of(weight.layer)] = weight
    return {above: _roles(found) for above, found in parts.items()}


def _roles(parts: Mapping[str, Weight]) -> dict[str, ParameterRoles]:
    """Return the roles of the layers inside; empty where they are not those of a known layer."""
    if parts.keys() != _STACKED:
        return _BY_PARTS.get(frozenset(parts), {})
    shape = parts["dense_h"].shape
    gates = shape[1] / shape[0] if len(shape) == 2 and shape[0] else 0
    return SUBLAYER_ROLES.get(_BY_GATES.get(int(gates), "") if gates == int(gates) else "", {})


def _explained(weight: Weight, known: ParameterRoles) -> Weight:
    role, axes = known.get(leaf_of(weight.name), (weight.role, weight.axes))
    return weight.replace(role=role, axes=axes_or_blank(axes, len(weight.shape)))
