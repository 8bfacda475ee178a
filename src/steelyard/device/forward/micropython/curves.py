"""Activations in Python, each as the expressions of `device.program.activations` in their order."""

from __future__ import annotations

_SIGMOID = "1 / (1 + own_exp(-x))"
_SOFT = "(({0} if {0} > 0 else 0.0) + own_log1p(own_exp(-abs({0}))))"
CURVES = {
    "relu": "x if x > 0 else 0.0",
    "relu6": "between(x, 0.0, 6.0)",
    "clipped_relu": "between(x, 0.0, [highest])",
    "leaky_relu": "x if x > 0 else x * [negative_slope]",
    "elu": "x if x > 0 else [alpha] * own_expm1(x)",
    "celu": "x if x > 0 else [alpha] * own_expm1(x / [alpha])",
    "selu": "[SELU_SCALE] * (x if x > 0 else [SELU_ALPHA] * own_expm1(x))",
    "gelu": "x * (1 + own_erf(x / [ROOT_2])) / 2",
    "gelu_tanh": "x * (1 + own_tanh([GELU] * (x + [CUBIC] * x * x * x))) / 2",
    "silu": f"x * ({_SIGMOID})",
    "mish": f"x * own_tanh({_SOFT.format('x')})",
    "tanh": "own_tanh(x)",
    "exponential": "own_exp(x)",
    "sigmoid": _SIGMOID,
    "nnet_sigmoid": f"0.0 if x < -15 else 1.0 if x > 15 else {_SIGMOID}",
    "log_sigmoid": "(x if x < 0 else 0.0) - own_log1p(own_exp(-abs(x)))",
    "softplus": f"x if x * [beta] > [threshold] else {_SOFT.format('(x * [beta])')} / [beta]",
    "softsign": "x / (1 + abs(x))",
    "tanh_shrink": "x - own_tanh(x)",
    "soft_shrink": "x - [threshold] if x > [threshold] else x + [threshold] if x < -[threshold] else 0.0",
    "hard_shrink": "x if abs(x) > [threshold] else 0.0",
    "hard_sigmoid": "between(x * [alpha] + [beta], 0.0, 1.0)",
    "hard_silu": "x * between(x * [SIXTH] + 0.5, 0.0, 1.0)",
    "hard_tanh": "between(x, [lowest], [highest])",
    "erf": "own_erf(x)",
    "absolute": "abs(x)",
    "square_root": "sqrt(x)",
    "threshold": "x if x > [threshold] else [value]",
    "thresholded_relu": "x if x > [alpha] else 0.0",
    "linear": "x",
    "add": "x + [value]",
    "subtract": "x - [value]",
    "multiply": "x * [value]",
    "divide": "x / [value]",
    "maximum": "x if x > [value] else [value]",
    "minimum": "x if x < [value] else [value]",
}
"""The value of each activation, and of a combination with one value."""
PAIRS = {
    "add": "lambda a, b: a + b",
    "subtract": "lambda a, b: a - b",
    "multiply": "lambda a, b: a * b",
    "divide": "lambda a, b: a / b",
    "maximum": "lambda a, b: a if a > b else b",
    "minimum": "lambda a, b: a if a < b else b",
}
TEXTS = {
    "between": "def between(x, low, high):\n    x = x if x > low else low\n    return x if x < high else high\n",
}
