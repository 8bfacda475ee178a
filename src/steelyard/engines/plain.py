"""Results as JSON and back, exactly: numbers, arrays, and the classes of a closed table, which are made without running code."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from importlib import import_module
from typing import Any

from steelyard.errors import FormatError, printable

CLASSES = {
    "Summary": "numerics.summary",
    "Moments": "numerics.moments",
    "Block": "numerics.moments",
    "Histogram": "numerics.histogram",
    "WeightStats": "numerics.weight_stats",
    "Subject": "numerics.weight_stats",
    "NonFinite": "numerics.nonfinite",
    "Stats": "measures.stats",
    "Digest": "measures.digest",
    "Check": "measures.check",
    "Finding": "measures.check.findings",
    "Sums": "measures.diff.entries",
    "Kinship": "measures.lineage",
    "Failure": "engines.tasks",
}
"""The module of each class of which results are made; nothing else is ever made of what a file says."""
_PLAIN = (str, int, bool, type(None))


def plain(value: Any) -> Any:
    """Return a value in JSON's types. Raises `TypeError` for one that is not in the table.

    >>> back(plain((1.5, b"x", [None, {"a": 2**200}]))) == (1.5, b"x", [None, {"a": 2**200}])
    True
    """
    if type(value) in _PLAIN:
        return value
    if type(value) is list:
        return [plain(each) for each in value]
    name = type(value).__name__
    if name in _WRITTEN:
        return {name: _WRITTEN[name](value)}
    if isinstance(value, str):  # a word of an enumeration, such as a role
        return str(value)
    if type(value).__module__ != f"steelyard.{CLASSES.get(name)}":
        raise TypeError(f"{name} is not among the results that can be kept")
    return {name: plain(_state(value))}


def _state(value: Any) -> Any:
    """Return what an object is made of: its bins, its fields, or its slots as far as they are set."""
    if hasattr(value, "__setstate__"):
        return dict(value.__getstate__())
    if isinstance(value, tuple):
        return tuple(value)
    return {slot: getattr(value, slot) for slot in type(value).__slots__ if hasattr(value, slot)}


def back(value: Any) -> Any:
    """Return the value of which `plain` made this. Raises `FormatError` if it made no such thing."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [back(each) for each in value]
    try:
        ((kind, held),) = value.items()
        return _back(kind, held)
    except (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError) as error:
        raise FormatError("the journal", f"holds what no measurement wrote: {printable(error, 200)}") from None


def _back(kind: str, held: Any) -> Any:
    if kind in _READ:
        return _READ[kind](held)
    found = getattr(import_module(f"steelyard.{CLASSES[kind]}"), kind)
    state = back(held)
    if isinstance(state, tuple):
        return found(*state)
    made = found.__new__(found)
    if hasattr(found, "__setstate__"):
        made.__setstate__(state)
        return made
    for slot, item in state.items():
        if slot not in found.__slots__:
            raise KeyError(slot)
        setattr(made, slot, item)
    return made


def _array(held: Any) -> Any:
    import numpy as np

    dtype = np.dtype(held[0])
    if dtype.hasobject:
        raise ValueError(dtype)
    return np.frombuffer(b64decode(held[2]), dtype).reshape(held[1]).copy()


_WRITTEN: dict[str, Callable[[Any], Any]] = {
    "float": float.hex,
    "bytes": lambda value: b64encode(value).decode(),
    "tuple": lambda value: [plain(each) for each in value],
    "dict": lambda value: [[plain(key), plain(each)] for key, each in value.items()],
    "ndarray": lambda value: [value.dtype.str, list(value.shape), b64encode(value.tobytes()).decode()],
}
_READ: dict[str, Callable[[Any], Any]] = {
    "float": float.fromhex,
    "bytes": b64decode,
    "tuple": lambda held: tuple(back(each) for each in held),
    "dict": lambda held: {back(key): back(each) for key, each in held},
    "ndarray": _array,
}
