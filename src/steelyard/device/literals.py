"""The text of numbers, in lines, a few thousand at a time, so that a large table is never in memory as text.

A decimal has 9 digits of a float32 and 17 of a float64. A shortest decimal may have fewer, but is read wrong where a program
reads it as a float64 and rounds it again, as Python, R and JavaScript do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from steelyard.dtypes import is_floating

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

    Text = Callable[[Array], list[str]]

LINE = 8  # numbers
CHUNK = 1024 * LINE
"""Numbers that are text at a time."""
_FEW = 64
"""Numbers up to which a call of NumPy takes longer than looking at each."""
_DIGITS = {"float32": 9, "float64": 17}
_ZEROS = re.compile(r"\.?0*p")


def lines(weight: Weight, text: Callable[[Array], list[str]], indent: str = "    ") -> Iterator[str]:
    """Yield the numbers of a weight as lines that end with a comma; `text` returns that of each number."""
    for block in weight.blocks():
        for start in range(0, block.size, CHUNK):
            words = text(block[start : start + CHUNK])
            rows = (", ".join(words[at : at + LINE]) for at in range(0, len(words), LINE))
            yield "".join([f"{indent}{row},\n" for row in rows])


def decimals(run: Array, ending: str = "") -> list[str]:
    """Return floats as decimals that every correct reader turns into the same bits; each has a point or an exponent.

    >>> import numpy as np
    >>> decimals(np.array([1, -0.0, 0.1, 1e-45, 3.4028235e38, 16777216], "float32"), "f")
    ['1.0f', '-0.0f', '0.100000001f', '1.40129846e-45f', '3.40282347e+38f', '16777216.0f']
    """
    import numpy as np

    digits = _DIGITS[run.dtype.name]
    if run.size > _FEW and not (run == np.trunc(run)).any():
        formats = _formats(digits, ending, run.size)
    else:
        limit = 10.0**digits
        fixed, other = f"%.1f{ending}", f"%.{digits}g{ending}"
        formats = "\n".join([fixed if x.is_integer() and -limit < x < limit else other for x in run.tolist()])
    return (formats % tuple(run.tolist())).split("\n") if run.size else []


@lru_cache(maxsize=8)
def _formats(digits: int, ending: str, count: int) -> str:
    return "\n".join([f"%.{digits}g{ending}"] * count)


def hexadecimals(run: Array, ending: str = "") -> list[str]:
    """Return floats in hexadecimal, without the zeros at the end of a mantissa.

    >>> import numpy as np
    >>> hexadecimals(np.array([1.5, -0.0]), "f")
    ['0x1.8p+0f', '-0x0p+0f']
    """
    text = "\n".join(map(float.hex, run.tolist()))
    return [f"{word}{ending}" for word in _ZEROS.sub("p", text).split("\n")] if run.size else []


def integers(run: Array, ending: str = "") -> list[str]:
    """Return integers as decimals.

    >>> import numpy as np
    >>> integers(np.array([1, -2], "int8"), "u")
    ['1u', '-2u']
    """
    return ("\n".join([f"%d{ending}"] * run.size) % tuple(run.tolist())).split("\n") if run.size else []


def bits(run: Array, ending: str = "") -> list[str]:
    """Return the bits of numbers in hexadecimal.

    >>> import numpy as np
    >>> bits(np.array([1, -0.0], "float32"), "u")
    ['0x3f800000u', '0x80000000u']
    """
    size = run.dtype.itemsize
    words = run.view(f"u{size}").tolist()
    return ("\n".join([f"0x%0{2 * size}x{ending}"] * run.size) % tuple(words)).split("\n") if run.size else []


def escapes(weight: Weight, count: int = 32) -> Iterator[str]:
    r"""Yield the little-endian bytes of a weight as lines of escapes, `count` bytes each: ``\x00\x01``."""
    import numpy as np

    for block in weight.blocks(CHUNK):
        run = np.ascontiguousarray(block)
        data = run.astype(run.dtype.newbyteorder("<"), copy=False).tobytes()
        for start in range(0, len(data), count):
            yield "\\x" + data[start : start + count].hex("x").replace("x", "\\x")


def is_float(weight: Weight) -> bool:
    """Whether a weight of a native type has fractions."""
    return is_floating(weight.dtype)
