"""Vectors that R keeps in a compact form (ALTREP): sequences, numbers not yet converted to text, and wrapped vectors.

The elements of a sequence are computed when they are read, so a sequence of 150 bytes never fills the memory. A class that
R itself does not write (of a package, or of a memory-mapped file) becomes an `Opaque` under its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.r.numerals import as_text
from steelyard.codecs.r.values import NA_INTEGER, CompactSequence, Opaque, Pairlist, Symbol, Vector

if TYPE_CHECKING:
    from steelyard.codecs.r.objects import Objects, Steps
    from steelyard.codecs.r.values import Value

MAX_LENGTH = (1 << 31) - 1  # elements of a sequence
WRAPPERS = tuple(f"wrap_{kind}" for kind in ("integer", "real", "string", "logical", "complex", "raw", "list"))
TEXT_COST = 170  # bytes of memory for a number as text, roughly


# ALTREP object (type 238)
#   int32     flags
#   pairlist  info: class (symbol), package (symbol), type of the vector (integer)
#   item      state, which each class defines (below)
#   item      attributes: a pairlist or NULL
#
#   class            state
#   compact_intseq   3 doubles: length, first element, step (1 or -1)
#   compact_realseq  3 doubles: length, first element, step (1 or -1)
#   deferred_string  pairlist cell: the numbers; its rest: R's option "scipen" (integer)
#   wrap_<type>      list or pairlist: the vector; 2 integers: how it is sorted, whether it is known to have no NA
def read_altrep(objects: Objects, flags: int) -> Steps:
    """Read the class, the state and the attributes, and return the vector that they describe."""
    info = yield objects.item()
    state = yield objects.item()
    attributes = yield objects.item()
    symbol = info.values[0] if isinstance(info, Pairlist) else None
    if not isinstance(symbol, Symbol):
        raise objects.error(f"holds an ALTREP object whose class is {symbol!r}")
    vector = _vector(objects, symbol.name, state)
    if attributes is not None:
        vector.attributes = objects.attributes(vector, attributes)
    return vector


def _vector(objects: Objects, name: str, state: Value) -> Vector | Opaque:
    if name in ("compact_intseq", "compact_realseq"):
        return _sequence(objects, name, state)
    if name == "deferred_string":
        return _deferred_string(objects, state)
    if name in WRAPPERS:
        return _unwrapped(objects, name, state)
    return Opaque("ALTREP", name, {"state": state})


def _sequence(objects: Objects, name: str, state: Value) -> Vector:
    """Return a sequence, whose state is its length, its first element and the step."""
    numbers = state.plain() if isinstance(state, Vector) and state.kind in ("double", "integer") and state.length == 3 else None
    if not numbers:
        raise objects.error(f"holds a {name} whose state is {state!r}")
    count, first, step = numbers
    if not (float(count).is_integer() and 0 <= count <= MAX_LENGTH and step in (1, -1)):
        raise objects.error(f"holds a {name} of {count} elements from {first} by {step}")
    objects.budget.spend_read(8 * int(count))
    last = first + step * max(count - 1, 0)
    if name == "compact_realseq":
        return Vector("double", int(count), numbers=CompactSequence(first, int(step), "float64"))
    if not (float(first).is_integer() and min(first, last) > NA_INTEGER and max(first, last) <= MAX_LENGTH):
        raise objects.error(f"holds a {name} from {first} to {last}, which are not 32-bit integers")
    return Vector("integer", int(count), numbers=CompactSequence(int(first), int(step), "int32"))


def _deferred_string(objects: Objects, state: Value) -> Vector:
    """Convert the numbers that R had not yet converted to text, with its penalty for scientific notation."""
    numbers = state.values[0] if isinstance(state, Pairlist) else None
    if not isinstance(numbers, Vector) or numbers.kind not in ("integer", "double"):
        raise objects.error(f"holds a deferred_string of {numbers!r}, not of numbers")
    objects.budget.spend(TEXT_COST * numbers.length)
    penalty = state.values[1] if isinstance(state, Pairlist) and len(state.values) == 2 else None
    scipen = penalty.plain() if isinstance(penalty, Vector) and penalty.kind == "integer" else []
    strings = as_text(numbers, (scipen or [0])[0] or 0)
    return Vector("character", numbers.length, strings=strings)


def _unwrapped(objects: Objects, name: str, state: Value) -> Vector:
    """Return the wrapped vector; the wrapper only records whether it is sorted and free of NA."""
    inner = state.values[0] if isinstance(state, Pairlist) else None
    if isinstance(state, Vector) and state.items:
        inner = state.items[0]
    if not isinstance(inner, Vector):
        raise objects.error(f"holds a {name} around {inner!r}")
    vector = Vector(inner.kind, inner.length, numbers=inner.numbers, strings=inner.strings, items=inner.items)
    vector.attributes = inner.attributes
    if not _is_neutral(state):
        vector.offset = None  # patched numbers would still be marked as sorted, and R would rely on it
    return vector


def _is_neutral(state: Value) -> bool:
    """Whether a wrapper records nothing about its numbers: neither that they are sorted nor that none is missing."""
    items = state.values if isinstance(state, Pairlist) else state.items if isinstance(state, Vector) else None
    known = items[1] if items and len(items) > 1 else None
    return isinstance(known, Vector) and known.kind == "integer" and all(word in (None, 0) for word in known.plain())
