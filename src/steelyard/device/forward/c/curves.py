"""Activations, each as the expressions of `device.program.activations` in their order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from steelyard.device.forward.c.kernels import Call, Function, Kernel, literal
from steelyard.device.program.activations import SELU_ALPHA, SELU_SCALE, Activation

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.arithmetic import Arithmetic

_SIGMOID = "return 1.0R / (1.0R + expR(-x));"
_RELU = "return x > 0.0R ? x : 0.0R;"
_CURVES = {
    "relu": _RELU,
    "relu6": "return x > 0.0R ? (x < 6.0R ? x : 6.0R) : 0.0R;",
    "clipped_relu": "return x > 0.0R ? (x < {highest} ? x : {highest}) : 0.0R;",
    "leaky_relu": "return x > 0.0R ? x : x * {negative_slope};",
    "elu": "return x > 0.0R ? x : {alpha} * expm1R(x);",
    "celu": "return x > 0.0R ? x : {alpha} * expm1R(x / {alpha});",
    "selu": "return {selu_scale} * (x > 0.0R ? x : {selu_alpha} * expm1R(x));",
    "gelu": "return x * (1.0R + erfR(x / {sqrt2})) / 2.0R;",
    "gelu_tanh": "return x * (1.0R + tanhR({gelu} * (x + {cubic} * x * x * x))) / 2.0R;",
    "silu": "return x * (1.0R / (1.0R + expR(-x)));",
    "mish": "return x * tanhR((x > 0.0R ? x : 0.0R) + log1pR(expR(-fabsR(x))));",
    "tanh": "return tanhR(x);",
    "exponential": "return expR(x);",
    "sigmoid": _SIGMOID,
    "nnet_sigmoid": f"if (x < -15.0R) return 0.0R;\nif (x > 15.0R) return 1.0R;\n{_SIGMOID}",
    "log_sigmoid": "return (x < 0.0R ? x : 0.0R) - log1pR(expR(-fabsR(x)));",
    "softsign": "return x / (1.0R + fabsR(x));",
    "tanh_shrink": "return x - tanhR(x);",
    "soft_shrink": "return x > {threshold} ? x - {threshold} : x < -{threshold} ? x + {threshold} : 0.0R;",
    "hard_shrink": "return fabsR(x) > {threshold} ? x : 0.0R;",
    "hard_sigmoid": "x = x * {alpha} + {beta};\nreturn x < 0.0R ? 0.0R : x > 1.0R ? 1.0R : x;",
    "hard_silu": "REAL share = x * {sixth} + 0.5R;\n"
    "share = share < 0.0R ? 0.0R : share > 1.0R ? 1.0R : share;\nreturn x * share;",
    "erf": "return erfR(x);",
    "absolute": "return fabsR(x);",
    "square_root": "return sqrtR(x);",
    "threshold": "return x > {threshold} ? x : {value};",
    "thresholded_relu": "return x > {alpha} ? x : 0.0R;",
}
_SOFTPLUS = "return ((scaled > 0.0R ? scaled : 0.0R) + log1pR(expR(-fabsR(scaled)))) / {beta};"
_FACTS = {
    "selu_scale": SELU_SCALE,
    "selu_alpha": SELU_ALPHA,
    "sqrt2": math.sqrt(2),
    "gelu": math.sqrt(2 / math.pi),
    "cubic": 0.044715,
    "sixth": 1 / 6,
}
_EACH = """
for (size_t i = 0; i < count; i++)
    y[i] = CALL_{word}(x[i]);
"""
LIBM = frozenset(
    word for word, body in _CURVES.items() if any(f"{name}R(" in body for name in ("exp", "expm1", "tanh", "erf"))
) | {"softplus"}
"""The activations that call functions whose last digit differs between libraries."""


def curve(word: str, settings: Mapping[str, float], arithmetic: Arithmetic) -> Function:
    """Return the function of an activation by its word; "linear" is refused, since it is none."""
    body = _CURVES["relu"] if word == "clipped_relu" and math.isinf(settings["highest"]) else _CURVES.get(word, "")
    if word == "hard_tanh":
        low = "" if math.isinf(settings["lowest"]) else "x < {lowest} ? {lowest} : "
        body = f"return {low}{'' if math.isinf(settings['highest']) else 'x > {highest} ? {highest} : '}x;"
    if word == "softplus":
        limited = "" if math.isinf(settings["threshold"]) else "if (scaled > {threshold}) return x;\n"
        body = f"const REAL scaled = x * {{beta}};\n{limited}{_SOFTPLUS}"
    values = {name: literal(value, arithmetic.numbers) for name, value in {**_FACTS, **settings}.items() if not math.isinf(value)}
    return Function(word, body.format(**values))


def activation(at: At, operation: Activation) -> list[Call]:
    """Return the call for an activation of each number."""
    function = curve(operation.word, operation.settings, at.arithmetic)
    kernel = Kernel(f"each_{operation.word}", ("const REAL *x", "REAL *y"), _EACH.format(word=operation.word), (function,))
    return [Call(kernel, (at.input(), at.output), {"count": at.size})]
