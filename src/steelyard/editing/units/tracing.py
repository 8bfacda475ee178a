"""The units of a net that must go together: from a run of the net, or from its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.plugins import framework_of
from steelyard.editing.units.rules import couplings_of
from steelyard.errors import ShapeError
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.probes import inputs_of_net

if TYPE_CHECKING:
    from steelyard.core.coupling import Axis, Couplings
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights


def coupled(weights: Weights, net: Any, probe: object) -> tuple[Couplings, list[Array] | None]:
    """Return the units that must go together, and the inputs on which a live net is run; `net` is None for a file.

    Raises `ShapeError` where the data flow is not known.
    """
    framework: Any = None if net is None else framework_of(net)
    if hasattr(framework, "units"):
        inputs = inputs_of_net(probe, Net(weights, weights.graph))
        return framework.units(net, inputs), inputs
    graph = weights.graph
    if framework is not None and probe is not None and hasattr(framework, "graph"):
        graph = framework.graph(net, inputs_of_net(probe, Net(weights, graph)))
    if graph is None or not graph.is_execution_order:
        why = weights.why_no_graph or "weights alone do not show it"
        raise ShapeError(
            f"it is not known what reads the units, so none can go: {why}; pass the net itself, or a file with its graph"
        )
    couplings = couplings_of(weights, graph)
    return couplings, None if framework is None else inputs_of_net(probe, Net(weights, graph))


def constants_in(net: Any, inputs: list[Array], couplings: Couplings, indices: Mapping[Axis, Array]) -> dict[Axis, Array]:
    """Return the number of each unit at each axis that reads some of those that go, in a net; NaN where it varies."""
    framework: Any = framework_of(net)
    if hasattr(framework, "units"):
        return dict(framework.units(net, inputs).constants)
    outputs = framework.run(net, inputs).layers
    made: dict[Axis, Array] = {}
    for axis in indices:
        numbers = outputs.get(couplings.fed.get(axis, ""))
        length = couplings.axes[axis].size
        if numbers is not None and numbers.shape[-1] == length:
            flat = numbers.reshape(-1, length).astype(np.float64)
            same = np.ptp(flat, axis=0) <= 1e-6 * np.abs(flat).max(axis=0, initial=0.0)
            made[axis] = np.where(same, flat[0], np.nan)
    return made
