"""Numbers as R prints them: at most 15 significant digits, in scientific notation where that is shorter."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.codecs.r.values import Vector

DIGITS = 15
BATCH = 1 << 16  # elements that are converted at a time


def as_text(numbers: Vector, scipen: int) -> list[str | None]:
    """Return integers or doubles as texts, as R's `as.character` does.

    `scipen` is R's penalty for scientific notation, in characters. NA becomes None.
    """
    texts: list[str | None] = []
    for start in range(0, numbers.length, BATCH):
        values = numbers.plain(start, min(start + BATCH, numbers.length))
        if numbers.kind == "integer":
            texts += [None if n is None else str(n) for n in values]
        else:
            texts += [double_text(x, scipen) for x in values]
    return texts


def double_text(x: float, scipen: int = 0) -> str | None:
    """Return a double with the fewest digits that are exact to 15 significant ones; None for NA.

    >>> double_text(0.1 + 0.2), double_text(100000.0), double_text(123456.0), double_text(1e-5)
    ('0.3', '1e+05', '123456', '1e-05')
    """
    if math.isnan(x):
        return None if struct.pack("<d", x)[:4] == b"\xa2\x07\x00\x00" else "NaN"
    if math.isinf(x):
        return "Inf" if x > 0 else "-Inf"
    mantissa, _, exponent = f"{abs(x):.{DIGITS - 1}e}".partition("e")
    digits, power = mantissa.replace(".", "").rstrip("0") or "0", int(exponent)
    decimals = max(len(digits) - 1 - power, 0)
    fixed = max(power + 1, 1) + (decimals + 1 if decimals else 0)
    scientific = len(digits) + (len(digits) > 1) + (5 if abs(power) >= 100 else 4)
    sign = "-" if x < 0 else ""
    if fixed <= scientific + scipen:
        return f"{sign}{abs(x):.{decimals}f}"
    return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{power:+03d}"
