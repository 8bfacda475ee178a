"""The proof of a forward pass: inputs, the outputs that the net gives for them, and how far those that are computed are off."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward.bound import RULES, error_bound
from steelyard.device.forward.bound.bounded import MATH_ULPS
from steelyard.device.forward.math import ULPS
from steelyard.device.forward.preparing import counting
from steelyard.device.program.linear import Embedding
from steelyard.errors import ProofError, ShapeError
from steelyard.transfers.probes import listed_inputs

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.forward.forward import Forward
    from steelyard.device.program.arithmetic import Arithmetic
    from steelyard.device.program.program import Program

SEED, EXAMPLES = 0, 8
"""The seed and the number of random examples."""
STORED = 4096
"""Numbers of inputs and outputs that a test stores; it has at least one example."""
LIMITS = {"float32": 1e-5, "float64": 1e-10}
"""The largest error, as a share of the largest output, that is taken as rounding."""
ROOM = {"float32": 1e-6, "float64": 1e-13}
"""The least tolerance of a test: another libm, or fused products, change the last digits."""


class Proof(NamedTuple):
    """What a test compares: `inputs` and `outputs` of some examples, the outputs in float64.

    `error` is the largest difference of the same operations computed by NumPy from the net's outputs for all `examples`, as a
    share of the largest output; a test fails above `tolerance`. `bound` is the largest that the error against exact arithmetic
    can be on these examples, None if it is not known. `is_run` is whether the net itself was run; else its graph gave the
    outputs, in float64.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    error: float
    tolerance: float
    examples: int
    is_run: bool
    bound: float | None = None


def proven(program: Program, known: Program, arithmetic: Arithmetic, probe: object) -> Proof:
    """Return the proof of a program that was made of `known`, on a probe or on random inputs.

    Raises `ProofError` if the outputs are off by more than rounding, and `ShapeError` for a probe that does not fit.
    """
    import numpy as np

    inputs = known.probe if known.probe is not None else _inputs(known, probe)
    outputs = known.answers if known.answers is not None else _listed(known.run(*inputs, dtype="float64"))
    if not all(np.isfinite(each).all() for each in outputs):
        raise ProofError("the net has NaN or Inf among its outputs for the probe; pass other inputs as probe=")
    made = _listed(program.run(*inputs, dtype=arithmetic.numbers, accumulate=arithmetic.sums, libm=arithmetic.libm))
    error = _apart(made, outputs)
    limit = LIMITS[arithmetic.numbers]
    if not error <= limit:
        remedy = '; dtype="float64" computes them in double' if arithmetic.numbers == "float32" else ""
        raise ProofError(
            f"in {arithmetic.numbers} the outputs are off by {error:.2g} of the largest, more than {limit:g}{remedy}"
        )
    kept = _kept(program, outputs)
    stored = tuple(each[:kept].astype(np.float64) for each in outputs)
    given = tuple(np.ascontiguousarray(each[:kept]) for each in inputs)
    tolerance = max(ROOM[arithmetic.numbers], 4 * error)
    bound = _bound(program, inputs, arithmetic)
    return Proof(given, stored, error, tolerance, len(inputs[0]), known.answers is not None, bound)


def twin(forward: Forward) -> tuple[Array, ...]:
    """Return the outputs of the same operations in NumPy for the stored inputs."""
    arithmetic = forward.arithmetic
    given = {"dtype": arithmetic.numbers, "accumulate": arithmetic.sums}
    return _listed(forward.program.run(*forward.proof.inputs, **given, libm=arithmetic.libm))


def _bound(program: Program, inputs: Sequence[Array], arithmetic: Arithmetic) -> float | None:
    """Return the a-priori bound, None if there is none."""
    if any(type(step.operation) not in RULES for step in program.steps):
        return None
    ulps = MATH_ULPS if arithmetic.libm else ULPS
    bound = error_bound(program, *inputs, dtype=arithmetic.numbers, accumulate=arithmetic.sums, ulps=ulps)
    return bound if isfinite(bound) else None


def _inputs(program: Program, probe: object) -> tuple[Array, ...]:
    """Return the probe, or random inputs; those that count rows of a table count the rows that it has."""
    import numpy as np

    if probe is not None:
        return tuple(listed_inputs(probe))
    rng = np.random.default_rng(SEED)
    rows = {step.inputs[0]: len(step.operation.table) for step in program.steps if isinstance(step.operation, Embedding)}
    if counting(program) - set(rows):
        raise ShapeError("it is not known which integers the net takes; pass some as probe=")
    return tuple(
        rng.integers(0, rows[place], (EXAMPLES, *shape))
        if place in rows
        else rng.standard_normal((EXAMPLES, *shape)).astype(np.float32)
        for place, shape in enumerate(program.input_shapes)
    )


def _kept(program: Program, outputs: Sequence[Array]) -> int:
    """Return how many examples a test stores."""
    numbers = sum(map(prod, program.input_shapes)) + sum(prod(each.shape[1:]) for each in outputs)
    return min(len(outputs[0]), max(1, int(STORED // max(numbers, 1))))


def _listed(made: Array | list[Array]) -> tuple[Array, ...]:
    return tuple(made) if isinstance(made, list) else (made,)


def _apart(made: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Return the largest difference as a share of the largest number of the same output."""
    import numpy as np

    worst = 0.0
    for one, other in zip(made, wanted, strict=True):
        if one.shape != other.shape:
            raise ShapeError(f"the net has an output of shape {other.shape}, its program one of shape {one.shape}")
        wide = other.astype(np.float64)
        largest = float(np.abs(wide).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(one.astype(np.float64) - wide).max(initial=0)) / largest)
    return worst
