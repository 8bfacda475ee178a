"""How far a program is from the outputs that its net gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.errors import ProofError

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.program import Program

TOLERANCE = 1e-6
"""The largest difference of a program in float64 from its net, as a share of the largest output, that proves it."""


def prove(program: Program, name: str, inputs: Sequence[Array], answers: Sequence[Array]) -> None:
    """Compare the program in float64 with the outputs of its net, and note both, with the error of the program in float32.

    Raises `ProofError` if they differ.
    """
    if not is_proven(program, inputs, answers):
        apart = _apart(program.run(*inputs, dtype="float64"), answers)
        raise ProofError(
            f"the program of {name} gives outputs that are off by {apart:.2g} of the largest, so its graph does not list "
            "all that it does"
        )
    program.error = _apart(program.run(*inputs), answers)
    program.probe, program.answers = tuple(inputs), tuple(answers)


def is_proven(program: Program, inputs: Sequence[Array], answers: Sequence[Array]) -> bool:
    """Whether the program in float64 gives the outputs of its net."""
    single = any(each.dtype.itemsize < 8 for each in answers)
    return _apart(program.run(*inputs, dtype="float64"), answers) <= (10 * TOLERANCE if single else TOLERANCE)


def _apart(made: Array | list[Array], wanted: Sequence[Array]) -> float:
    """Return the largest difference as a share of the largest output; infinite for other shapes."""
    import numpy as np

    listed = made if isinstance(made, list) else [made]
    if len(listed) != len(wanted):
        return float("inf")
    worst = 0.0
    for one, other in zip(listed, (each.astype(np.float64) for each in wanted), strict=True):
        if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
            return float("inf")
        largest = float(np.abs(other).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(one.astype(np.float64) - other).max(initial=0)) / largest)
    return worst
