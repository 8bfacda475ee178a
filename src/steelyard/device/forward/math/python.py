"""The elementary functions in Python, as MicroPython has it; `ldexp` and `frexp` are those of `math`, which are exact.

A constant is an element of an array that was made of bytes, since MicroPython reads decimals with a small error. Where a float
has 32 bits the functions give the bits of the twin, and where it has 64 they are as near.
"""

from __future__ import annotations

import struct

_EXP = """\
def @_exp(x):
    if x != x:
        return x
    if x > [EXP_LARGEST] or x < [EXP_LEAST]:
        return 0.0 if x < 0 else @_infinity
    k = int(x * [LOG2_E] + (-0.5 if x < 0 else 0.5))
    r = (x - k * [LN2_HIGH]) - k * [LN2_LOW]
    return ldexp(1 + (r + r * r * [r EXP]), k)
"""
_EXPM1 = """\
def @_expm1(x):
    if x > [EXPM1_LARGEST] or x < [EXPM1_LEAST]:
        return @_exp(x) - 1
    if x != x:
        return x
    k = int(x * [LOG2_E] + (-0.5 if x < 0 else 0.5))
    r = (x - k * [LN2_HIGH]) - k * [LN2_LOW]
    s = ldexp(1.0, k)
    r = r + r * r * [r EXP]
    return s * r + (s - 1)
"""
_TANH = """\
def @_tanh(x):
    a, z = abs(x), x * x
    if a < [TANH_EDGE]:
        return x + x * z * [z TANH]
    t = 1.0 if a > [TANH_LARGEST] else 1 - 2 / (@_exp(2 * a) + 1)
    return -t if x < 0 else t
"""
_LOG = """\
def @_log(x):
    if not x > 0 or x == @_infinity:
        return -@_infinity if x == 0 else (@_infinity - @_infinity if x < 0 else x)
    f, k = frexp(x)
    if f < [ROOT_HALF]:
        f, k = 2 * f, k - 1
    f = f - 1
    return (f + ((f * f * f * [f LOG] + k * [LN2_LOW]) - 0.5 * (f * f))) + k * [LN2_HIGH]
"""
_LOG1P = """\
def @_log1p(x):
    u = 1 + x
    if u == 1:
        return x
    if not x > -1 or u == @_infinity:
        return @_log(u)
    return @_log(u) + (x - (u - 1)) / u
"""
_ERF = """\
def @_erf(x):
    a, z = abs(x), x * x
    if a < [ERF_EDGE]:
        return x + x * [z ERF]
    t = 1.0 if a > [ERF_LARGEST] else 1 - @_exp(a * [a ERFC])
    return -t if x < 0 else t
"""
TEXTS = {
    "scaled": "",
    "exp": _EXP,
    "expm1": _EXPM1,
    "tanh": _TANH,
    "log": _LOG,
    "log1p": _LOG1P,
    "erf": _ERF,
    "sqrt": "",
    "sqrt64": "",
}
"""`ldexp` is `scaled`, and `sqrt` is that of `math`."""


class Constants:
    r"""The constants of a module, in one array: a float32 each, of which MicroPython keeps all bits.

    >>> constants = Constants("net_c")
    >>> constants.literal(0.5), constants.literal(0.1), constants.literal(0.5)
    ('net_c[0]', 'net_c[1]', 'net_c[0]')
    >>> constants.definition()
    'net_c = array("f", b"\\x00\\x00\\x00\\x3f\\xcd\\xcc\\xcc\\x3d")'
    """

    __slots__ = ("_name", "_places")

    def __init__(self, name: str) -> None:
        self._name = name
        self._places: dict[bytes, int] = {}

    def literal(self, value: float) -> str:
        """Return what stands for a constant in the text."""
        place = self._places.setdefault(struct.pack("<f", value), len(self._places))
        return f"{self._name}[{place}]"

    def definition(self) -> str:
        """Return the line that defines the array."""
        data = "".join(f"\\x{byte:02x}" for byte in b"".join(self._places))
        return f'{self._name} = array("f", b"{data}")'
