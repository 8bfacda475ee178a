"""TIES whose greatest deltas are those of the whole model, as in the paper's code: one cut for all weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from steelyard.editing.merging.cuts import Cut, common_cuts
from steelyard.editing.merging.deltas import ties_within
from steelyard.editing.merging.inputs import computed, once
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.editing.merging.inputs import Inputs
    from steelyard.editing.merging.plan import Plan


def ties_of_model(plan: Plan) -> Callable[[Sequence[Weight]], Weight]:
    """Return the function that makes each weight of a merge by TIES; when the first is read, all are read for the cuts."""
    merged: list[Inputs] = []
    density: list[tuple[float, ...]] = []
    cuts = _shared(lambda: common_cuts(merged, density[0]))

    def make(found: Sequence[Weight]) -> Weight:
        dtype = plan.type_of(found)
        if dtype is None:
            return found[0]
        inputs, options = plan.inputs(found)
        merged.append(inputs)
        density.append(options.density)
        if options.density != density[0]:
            raise ShapeError('scope="model" takes one density for all weights of a model')
        return computed(inputs.weights, once(lambda: ties_within(inputs, options, cuts())), dtype, exact=plan.exact)

    return make


def _shared(make: Callable[[], list[Cut]]) -> Callable[[], list[Cut]]:
    lock = Lock()
    made: list[list[Cut]] = []

    def get() -> list[Cut]:
        with lock:
            if not made:
                made.append(make())
        return made[0]

    return get
