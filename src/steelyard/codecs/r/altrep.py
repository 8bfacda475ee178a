"""Vectors that R keeps in another form (ALTREP): sequences, numbers to be written as text, and sorted ones in a wrapper.

Sequences are given as they are asked for, so one of 150 bytes that stands for gigabytes takes none. A class that R itself
does not write, of a package or of a file mapped into memory, is `Opaque` under its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.r.numerals import as_text
from steelyard.codecs.r.values import NA_INTEGER, Counting, Opaque, Pairlist, Symbol, Vector

if TYPE_CHECKING:
    from steelyard.codecs.r.objects import Objects, Steps
    from steelyard.codecs.r.values import Value

LONGEST = (1 << 31) - 1
"""Elements that a sequence may stand for."""
WRAPPERS = tuple(f"wrap_{kind}" for kind in ("integer", "real", "string", "logical", "complex", "raw", "list"))
TEXT = 170
"""Bytes of memory that a number written as text takes, more or less."""


def altrep(objects: Objects, flags: int) -> Steps:
    """Read what the class is, the state, and the attributes, and make of it the vector that it stands for."""
    info = yield objects.item()
    state = yield objects.item()
    attributes = yield objects.item()
    symbol = info.values[0] if isinstance(info, Pairlist) else None
    if not isinstance(symbol, Symbol):
        raise objects.error(f"holds an ALTREP object whose class is {symbol!r}")
    found = _vector(objects, symbol.name, state)
    if attributes is not None:
        found.attributes = objects.attributes(found, attributes)
    return found


def _vector(objects: Objects, name: str, state: Value) -> Vector | Opaque:
    if name in ("compact_intseq", "compact_realseq"):
        return _sequence(objects, name, state)
    if name == "deferred_string":
        return _written(objects, state)
    if name in WRAPPERS:
        return _unwrapped(objects, name, state)
    return Opaque("ALTREP", name, {"state": state})


def _sequence(objects: Objects, name: str, state: Value) -> Vector:
    """A length, the first number and the step, as three doubles."""
    facts = state.plain() if isinstance(state, Vector) and state.kind in ("double", "integer") and state.length == 3 else None
    if not facts:
        raise objects.error(f"holds a {name} whose state is {state!r}")
    count, first, step = facts
    if not (float(count).is_integer() and 0 <= count <= LONGEST and step in (1, -1)):
        raise objects.error(f"holds a {name} of {count} elements from {first} by {step}")
    last = first + step * max(count - 1, 0)
    if name == "compact_realseq":
        return Vector("double", int(count), numbers=Counting(first, int(step), "float64"))
    if not (float(first).is_integer() and min(first, last) > NA_INTEGER and max(first, last) <= LONGEST):
        raise objects.error(f"holds a {name} from {first} to {last}, which are no integers")
    return Vector("integer", int(count), numbers=Counting(int(first), int(step), "int32"))


def _written(objects: Objects, state: Value) -> Vector:
    """Numbers that R had yet to write as text, and its penalty for scientific notation."""
    numbers = state.values[0] if isinstance(state, Pairlist) else None
    if not isinstance(numbers, Vector) or numbers.kind not in ("integer", "double"):
        raise objects.error(f"holds texts yet to be written of {numbers!r}")
    objects.budget.charge(TEXT * numbers.length)
    penalty = state.values[1] if isinstance(state, Pairlist) and len(state.values) == 2 else None
    scipen = penalty.plain() if isinstance(penalty, Vector) and penalty.kind == "integer" else []
    strings = as_text(numbers, (scipen or [0])[0] or 0)
    return Vector("character", numbers.length, strings=strings)


def _unwrapped(objects: Objects, name: str, state: Value) -> Vector:
    """The vector itself; the wrapper only says whether it is sorted and without NA."""
    inner = state.values[0] if isinstance(state, Pairlist) else None
    if isinstance(state, Vector) and state.items:
        inner = state.items[0]
    if not isinstance(inner, Vector):
        raise objects.error(f"holds a {name} around {inner!r}")
    found = Vector(inner.kind, inner.length, numbers=inner.numbers, strings=inner.strings, items=inner.items)
    found.attributes = inner.attributes
    if not _is_neutral(state):
        found.offset = None  # other numbers would make R believe that they are sorted
    return found


def _is_neutral(state: Value) -> bool:
    """Tell whether a wrapper says nothing of its numbers: not how they are sorted, nor that none is missing."""
    items = state.values if isinstance(state, Pairlist) else state.items if isinstance(state, Vector) else None
    known = items[1] if items and len(items) > 1 else None
    return isinstance(known, Vector) and known.kind == "integer" and all(word in (None, 0) for word in known.plain())
