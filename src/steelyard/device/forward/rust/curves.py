"""Activations in Rust, each as the expressions of `device.program.activations` in their order."""

from __future__ import annotations

_SIGMOID = "1.0 / (1.0 + own_exp(-x))"
_SOFT = "(if {0} > 0.0 {{ {0} }} else {{ 0.0 }} + own_log1p(own_exp(-absolute({0}))))"
CURVES = {
    "relu": "if x > 0.0 { x } else { 0.0 }",
    "relu6": "least(if x > 0.0 { x } else { 0.0 }, 6.0)",
    "clipped_relu": "least(if x > 0.0 { x } else { 0.0 }, [highest])",
    "leaky_relu": "if x > 0.0 { x } else { x * [negative_slope] }",
    "elu": "if x > 0.0 { x } else { [alpha] * own_expm1(x) }",
    "celu": "if x > 0.0 { x } else { [alpha] * own_expm1(x / [alpha]) }",
    "selu": "[SELU_SCALE] * if x > 0.0 { x } else { [SELU_ALPHA] * own_expm1(x) }",
    "gelu": "x * (1.0 + own_erf(x / [ROOT_2])) / 2.0",
    "gelu_tanh": "x * (1.0 + own_tanh([GELU] * (x + [CUBIC] * x * x * x))) / 2.0",
    "silu": f"x * ({_SIGMOID})",
    "mish": f"x * own_tanh({_SOFT.format('x')})",
    "tanh": "own_tanh(x)",
    "exponential": "own_exp(x)",
    "sigmoid": _SIGMOID,
    "nnet_sigmoid": f"if x < -15.0 {{ 0.0 }} else if x > 15.0 {{ 1.0 }} else {{ {_SIGMOID} }}",
    "log_sigmoid": "least(x, 0.0) - own_log1p(own_exp(-absolute(x)))",
    "softplus": f"let s = x * [beta];\n    if s > [threshold] {{ x }} else {{ {_SOFT.format('s')} / [beta] }}",
    "softsign": "x / (1.0 + absolute(x))",
    "tanh_shrink": "x - own_tanh(x)",
    "soft_shrink": "if x > [threshold] { x - [threshold] } else if x < -[threshold] { x + [threshold] } else { 0.0 }",
    "hard_shrink": "if absolute(x) > [threshold] { x } else { 0.0 }",
    "hard_sigmoid": "between(x * [alpha] + [beta], 0.0, 1.0)",
    "hard_silu": "x * between(x * [SIXTH] + 0.5, 0.0, 1.0)",
    "hard_tanh": "between(x, [lowest], [highest])",
    "erf": "own_erf(x)",
    "absolute": "absolute(x)",
    "square_root": "own_sqrt(x)",
    "threshold": "if x > [threshold] { x } else { [value] }",
    "thresholded_relu": "if x > [alpha] { x } else { 0.0 }",
    "linear": "x",
    "add": "x + [value]",
    "subtract": "x - [value]",
    "multiply": "x * [value]",
    "divide": "x / [value]",
    "maximum": "if x > [value] { x } else { [value] }",
    "minimum": "if x < [value] { x } else { [value] }",
}
"""The body of each activation, and of a combination with one value."""
PAIRS = {
    "add": "|a, b| a + b",
    "subtract": "|a, b| a - b",
    "multiply": "|a, b| a * b",
    "divide": "|a, b| a / b",
    "maximum": "|a, b| if a > b { a } else { b }",
    "minimum": "|a, b| if a < b { a } else { b }",
}
_SIZE = """\
/// the absolute value
fn absolute(x: f32) -> f32 {
    if x < 0.0 { -x } else { x }
}
"""
TEXTS = {
    "absolute": _SIZE,
    "least": "fn least(x: f32, most: f32) -> f32 {\n    if x < most { x } else { most }\n}\n",
    "between": "fn between(x: f32, low: f32, high: f32) -> f32 {\n    least(if x > low { x } else { low }, high)\n}\n",
}
