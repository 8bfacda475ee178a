"""The constants of our own elementary functions: minimax polynomials, whose coefficients are float32.

Each is the least error relative to its function, fitted by iteratively reweighted least squares; a coefficient was rounded before
the next was fitted, the lowest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

LOG2_E = 1.44269502162933349609375
LN2_HIGH, LN2_LOW = 0.693359375, -0.0002121944417012855410575866699
"""Their sum is the logarithm of 2; the first has 9 bits, so that its product with an exponent is exact."""
EXP_LARGEST, EXP_LEAST = 88.72283935546875, -104.0
"""Above the first the power has no float32, below the second it is 0."""
EXP = (0.5, 0.1666666567325592, 0.04166649281978607, 0.008333543315529823, 0.0013932380825281143, 0.00019764414173550904)
"""`(exp(r) - 1 - r) / r^2` for r of at most 0.3475."""
EXPM1_LARGEST, EXPM1_LEAST = 17.5, -17.5
"""Outside, 1 is lost in the power, or the power in 1."""
TANH_EDGE, TANH_LARGEST = 0.550000011920928955078125, 9.02000045776367187500
TANH = (-0.33333316445350647, 0.13332544267177582, -0.0538475476205349, 0.02105071395635605, -0.0062428489327430725)
"""`(tanh(x) / x - 1) / x^2` in x^2, for x of at most `TANH_EDGE`."""
LOG = (
    *(0.3333331346511841, -0.25000008940696716, 0.2000207155942917, -0.16667988896369934, 0.14220358431339264),
    *(-0.12406233698129654, 0.11883548647165298, -0.11670099198818207, 0.06749271601438522),
)
"""`(log(1 + f) - f + f^2 / 2) / f^3` for 1 + f between the roots of 1/2 and 2."""
ROOT_HALF, ROOT_HALF_BITS = 0.707106769084930419921875, 0x3F3504F3
"""The root of 1/2, and its bits."""
ERF_EDGE, ERF_LARGEST = 0.89999997615814208984375, 3.95000004768371582031250
ERF = (
    *(0.12837916612625122, -0.3761262893676758, 0.11283624172210693, -0.026855560019612312, 0.005191753152757883),
    *(-0.0008039752719923854, 7.943100354168564e-05),
)
"""`erf(x) / x - 1` in x^2, for x of at most `ERF_EDGE`."""
ERFC = (
    *(-1.1286370754241943, -0.6351980566978455, -0.10615896433591843, 0.023694444447755814, -0.003610258689150214),
    *(0.0003148308314848691, -1.0429694157210179e-05),
)
"""`log(1 - erf(x)) / x` for x from `ERF_EDGE` to `ERF_LARGEST`."""


def horner(variable: str, coefficients: Sequence[float], literal: Callable[[float], str]) -> str:
    """Return the text of a polynomial, the same in C and Rust.

    >>> horner("r", (1, 2, 3), "{:.1f}".format)
    '(1.0 + r * (2.0 + r * 3.0))'
    """
    first, *rest = coefficients
    return f"({literal(first)} + {variable} * {horner(variable, rest, literal)})" if rest else literal(first)
