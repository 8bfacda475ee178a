"""Our own elementary functions: in float32, of additions, multiplications, divisions and bits, in one order in every language.

A device whose compiler contracts no products gives the same bits as NumPy's twin here, whatever its libm. The largest errors
against float64, of every float32 where a function is neither constant nor its argument, and of one in a thousand elsewhere; tanh
and erf are odd, and were run on positive numbers only:

| function | ulps |
|---|---|
| exp | 1.51, of powers below the least normal number; 0.96 of others |
| expm1 | 1.46 |
| tanh | 1.44 |
| log | 0.83 |
| log1p | 1.44 |
| erf | 1.19 |
| sqrt | 0.5, the nearest |

`coefficients` has the polynomials, `numbers` the twin, and `c`, `rust` and `python` the sources, each a text for every function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from steelyard.device.forward.math import coefficients

ULPS = 1.51
"""The largest error of any of the functions."""
NEEDS = {
    "scaled": (),
    "exp": ("scaled",),
    "expm1": ("exp",),
    "tanh": ("exp",),
    "log": (),
    "log1p": ("log",),
    "erf": ("exp",),
    "sqrt": (),
    "sqrt64": (),
}
"""The functions that each calls."""
_GIVEN = re.compile(r"\[(?:([a-z]) )?([A-Z][A-Z0-9_]*)\]")


def sources(wanted: Iterable[str], texts: Mapping[str, str], prefix: str, literal: Callable[[float], str]) -> Iterator[str]:
    """Yield the texts of functions, and of those that they call, each before those that call it.

    `literal` writes a constant in the language; @ in a text becomes the prefix, `[NAME]` a constant of `coefficients`, and
    `[r NAME]` a polynomial in r.

    Examples:
        >>> from steelyard.device.forward.math.c import TEXTS, literal
        >>> "".join(sources(["exp"], TEXTS, "net", literal)).count("static float net_")
        2
    """
    for name in needed(wanted):
        yield _GIVEN.sub(lambda found: _constant(found[1], found[2], literal), texts[name].replace("@", prefix))


def needed(wanted: Iterable[str]) -> list[str]:
    """Return the functions and those that they call, in the order of `NEEDS`.

    >>> needed(["tanh", "sqrt"])
    ['scaled', 'exp', 'tanh', 'sqrt']
    """
    found = set(wanted)
    for name in reversed(NEEDS):
        if name in found:
            found.update(NEEDS[name])
    return [name for name in NEEDS if name in found]


def _constant(variable: str | None, name: str, literal: Callable[[float], str]) -> str:
    value = getattr(coefficients, name)
    if variable:
        return coefficients.horner(variable, value, literal)
    return f"0x{value:08x}" if isinstance(value, int) else literal(value)
