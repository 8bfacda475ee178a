"""The smaller net, ready to run, and the proof that it equals the net in which what reads the removed units is zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.io import weights
from steelyard.transfers.proof import Proof

if TYPE_CHECKING:
    from steelyard.core.graph import Run
    from steelyard.core.weight import Array

_EXACT, _ROUNDED, _SINGLE = 1e-9, 1e-6, 1e-5
"""The largest relative difference of the outputs: in float64, where biases were rounded, and where only float32 is computed."""


def twin_of(net: Any, arrays: Mapping[str, Array]) -> Any:
    """Return a copy of a net with other numbers in some weights. Raises `ShapeError` for a net that cannot be copied."""
    made = next(iter(_maker(net)(net, {}, ())))
    return weights(made).assign({**weights(net).arrays(), **arrays})


def run_of(net: Any, inputs: Sequence[Array]) -> Run:
    """Run a live net."""
    framework: Any = framework_of(net)
    made: Run = framework.run(net, inputs)
    return made


def rebuilt(
    net: Any,
    arrays: Mapping[str, Array],
    expected: Run,
    inputs: Sequence[Array],
    *,
    counts: Sequence[tuple[int, int]],
    shaped: Mapping[str, tuple[int, ...]],
    rounded: bool,
) -> tuple[Any, Proof]:
    """Return a net of the same architecture with other arrays in all weights, and the proof that its outputs are those expected.

    `counts` are old and new numbers of units, and `shaped` has the new shapes that layers without weights give. `rounded`
    is whether some of the arrays are new numbers, which were rounded to their dtype. Raises `ShapeError` where it does
    not run, or has other outputs.
    """
    shapes = {name: array.shape for name, array in arrays.items()} | dict(shaped)
    problem = ""
    candidates = _maker(net)(net, shapes, counts)
    while True:
        try:
            candidate = next(candidates, None)
            if candidate is None:
                break
            made = weights(candidate).assign(arrays)
            proof = _compared(expected, run_of(made, inputs), rounded=rounded)
        except Exception as error:  # noqa: BLE001 - a size in the code of the net, which no attribute holds
            problem = problem or f"it does not run ({type(error).__name__}: {printable(error)})"
            continue
        if proof.proven:
            return made, proof
        problem = str(proof)
    raise ShapeError(f"the smaller {printable(type(net).__name__)} cannot be made: {problem}")


def _maker(net: Any) -> Any:
    maker = getattr(framework_of(net), "smaller", None)
    if maker is None:
        raise ShapeError(f"a {printable(type(net).__name__)} cannot be made smaller; `weights` of the result has the numbers")
    return maker


def _compared(wanted: Run, found: Run, *, rounded: bool) -> Proof:
    pairs = [*zip(wanted.outputs, found.outputs, strict=True)]
    if any(one.shape != other.shape for one, other in pairs):
        return Proof("its outputs have other shapes")
    apart = [float(np.abs(one.astype(np.float64) - other).max(initial=0)) for one, other in pairs]
    largest = [float(np.abs(one).max(initial=0)) or 1.0 for one, _ in pairs]
    wide = all(one.dtype == other.dtype == np.float64 for one, other in pairs)
    return Proof(
        max_abs=max(apart, default=0.0),
        max_rel=max((a / b for a, b in zip(apart, largest, strict=True)), default=0.0),
        tolerance=_SINGLE if not wide else _ROUNDED if rounded else _EXACT,
    )


def is_live(net: object) -> bool:
    """Whether an object is a model rather than a file or weights."""
    try:
        framework_of(net)
    except SteelyardError:
        return False
    return True
