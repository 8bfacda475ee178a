"""The a-priori bound of the error of a forward pass: operation by operation, for any order of the sums, also with FMA.

For each number that a program computes, the bound of its error follows from those of what it is computed from:

`error_out <= |W| error_in + g(n + 1) (|W| (|x| + error_in) + |b|)` with `g(n) = n u / (1 - n u)`

for sums of n products with the unit roundoff u [1, section 3.1], and from the Lipschitz constant of what is not a sum, with the
ulps of an elementary function. It holds for these inputs only, and is usually thousands of times the error that is measured.

[1] N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, SIAM 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.device.forward.bound import attention, curves, norms, recurrent, shaping, sums
from steelyard.device.forward.bound.bounded import MATH_ULPS, Bounded, Roundings
from steelyard.device.program.activations import Activation
from steelyard.device.program.attention import Attention, MatMul
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.resampling import Resample
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.program import Program

    Rule = Callable[[Any, Sequence[Bounded], Roundings], Bounded]

__all__ = ["RULES", "error_bound"]


def error_bound(
    program: Program, *inputs: Array, dtype: str = "float32", accumulate: str | None = None, ulps: float = MATH_ULPS
) -> float:
    """Return the largest error that a program in `dtype` can have on these inputs, as a share of the largest output.

    The error is that against exact arithmetic, whatever the order of the sums, which are accumulated in `accumulate`, by default
    `dtype`. `ulps` is the largest error of an elementary function. The bound is infinite where the numbers are so large, or the
    net so deep, that nothing can be said. Raises `ShapeError` for an operation without a rule.

    Examples:
        >>> import numpy as np
        >>> from steelyard.device.program import Program, Step
        >>> net = Program(["x"], [(3,)], [Step("fc", Dense(np.ones((2, 3), "float32"), None), (0,), (2,))], [1])
        >>> x = np.array([[0.1, 0.2, 0.3]], "float32")
        >>> error = np.abs(net.run(x) - net.run(x, dtype="float64")).max() / 0.6
        >>> bool(error <= error_bound(net, x) <= 4.01 * 2.0**-24)
        True
    """
    import numpy as np

    roundings = Roundings.of(dtype, accumulate or dtype, ulps)
    values = [roundings.stored(np.asarray(each)) for each in inputs]
    with np.errstate(all="ignore"):  # infinite bounds are results
        for step in program.steps:
            rule = RULES.get(type(step.operation))
            if rule is None:
                raise ShapeError(f"{quoted(step.name)}: the error of {type(step.operation).__name__} is not bounded")
            values.append(rule(step.operation, [values[place] for place in step.inputs], roundings))
        return max(_relative(values[place]) for place in program.outputs)


def _relative(output: Bounded) -> float:
    import numpy as np

    largest = float(np.abs(output.value).max(initial=0)) or 1.0
    worst = float(np.nan_to_num(output.error, nan=np.inf).max(initial=0))
    return worst / largest if np.isfinite(largest) else float("inf")


RULES: dict[type, Rule] = {
    Dense: sums.kernel,
    Conv: sums.kernel,
    ConvTranspose: sums.kernel,
    Affine: sums.affine,
    Prelu: sums.prelu,
    Resample: sums.resample,
    Embedding: shaping.embedding,
    Pool: sums.pool,
    GlobalPool: sums.global_pool,
    Activation: curves.activation,
    Softmax: norms.softmax,
    LayerNorm: norms.layer_norm,
    GroupNorm: norms.group_norm,
    Recurrent: recurrent.recurrent,
    Attention: attention.attention,
    MatMul: attention.matmul,
    Combine: shaping.combine,
    Scale: shaping.scale,
    Constant: shaping.constant,
    Pad: shaping.pad,
    **dict.fromkeys((Reshape, Permute, Select, Concatenate, Upsample), shaping.moved),
}
"""The rule of each operation: from its inputs with their errors to its output with its errors."""
