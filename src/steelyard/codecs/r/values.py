"""The objects of an R serialization as inert values: data to inspect, nothing to run.

A `Value` is one of `Vector`, `Pairlist`, `Environment`, `S4`, `Symbol`, `Opaque`, or None for R's NULL. Promises, closures,
calls, bytecode and pointers are `Opaque`: they keep their attributes and are never evaluated. Objects may be nested to any
depth, and environments may contain themselves, so code that walks them needs a stack of its own instead of recursion.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

from steelyard.dtypes import itemsize
from steelyard.errors import FormatError
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from steelyard.core.weight import Array, Reader

    Value: TypeAlias = "Vector | Pairlist | Environment | S4 | Symbol | Opaque | None"
    Attributes = dict[str, Value]

DTYPES = {"logical": "int32", "integer": "int32", "double": "float64", "complex": "complex128", "raw": "uint8"}
"""The kinds of vectors that hold numbers, and the dtype of each. A logical is 0, 1 or NA."""

NA_INTEGER = -(1 << 31)
"""R's missing integer or logical. Its missing double is the NaN whose low word is 1954."""

MAX_PLAIN = 1 << 20  # numbers that `Vector.plain` returns as Python objects

_CODES = {"logical": "i", "integer": "i", "double": "d", "complex": "d", "raw": "B"}


class Vector:
    """An R vector: atomic, a list or an expression, with its attributes.

    `kind` is R's own word: logical, integer, double, complex, raw, character, list, expression. `length` is in
    elements. Numbers are read on demand by `read` and `plain`. `strings` is a list of texts, None for NA, and `items`
    a list of values; both are None in a vector of another kind. Bytes that are invalid in the encoding of a text are
    kept as lone surrogates.

    `source` is the decoded stream of a vector of numbers or texts, and `offset` the position of the first number in it; None
    if the stream does not contain the numbers in binary (ASCII, compact sequences). `byteorder` is that of the stream,
    "<" or ">". `shape` is the attribute "dim" where it was read already, to be checked.
    """

    __slots__ = ("attributes", "byteorder", "items", "kind", "length", "numbers", "offset", "shape", "source", "strings")

    def __init__(
        self,
        kind: str,
        length: int,
        *,
        numbers: Reader | None = None,
        strings: list[str | None] | None = None,
        items: list[Value] | None = None,
    ) -> None:
        self.kind = kind
        self.length = length
        self.numbers = numbers
        self.strings = strings
        self.items = items
        self.attributes: Attributes = {}
        self.shape: tuple[int, ...] | None = None
        stored = numbers if isinstance(numbers, Stored) else None
        self.source: Source | None = stored.source if stored else None
        self.offset: int | None = stored.offset if stored else None
        self.byteorder = stored.byteorder if stored else "<"

    def __repr__(self) -> str:
        return f"<R {self.kind} of length {self.length:,}>"

    @property
    def dtype(self) -> str:
        """The dtype of the numbers, such as "float64"; blank for character, list and expression."""
        return DTYPES.get(self.kind, "")

    @property
    def names(self) -> list[str] | None:
        """The names of the elements, blank for an element without one; None for a vector without names."""
        attribute = self.attributes.get("names")
        if not isinstance(attribute, Vector) or attribute.strings is None:
            return None
        names = [name or "" for name in attribute.strings[: self.length]]
        return names + [""] * (self.length - len(names))

    @property
    def dim(self) -> tuple[int, ...] | None:
        """The shape of a matrix or array, whose numbers are column-major; None for a plain vector."""
        if self.shape is not None:
            return self.shape
        extents = self.attributes.get("dim")
        return tuple(int(n) for n in extents.plain()) if isinstance(extents, Vector) and extents.numbers else None

    @property
    def class_(self) -> tuple[str, ...]:
        """The words of the class attribute."""
        return class_words(self.attributes)

    def get(self, name: str) -> Value:
        """Return the first item of a list with this name, or None (like R's `x$name`, but without partial matching)."""
        names = self.names or []
        return self.items[names.index(name)] if self.items is not None and name in names else None

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Yield the name (blank if there is none) and the value of each item of a list."""
        if self.items is not None:
            yield from zip(self.names or [""] * self.length, self.items, strict=True)

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Return the numbers [start, stop) as a flat array of `dtype`, in column-major order; the bits of NA are kept."""
        return self._reader()(start, self.length if stop is None else stop)

    def plain(self, start: int = 0, stop: int | None = None) -> list[Any]:
        """Return the numbers [start, stop) as Python numbers, without NumPy: for short vectors such as shapes and indices.

        A missing logical or integer is None, a missing double a NaN. Raises `FormatError` for more than `MAX_PLAIN`.
        """
        count = (self.length if stop is None else stop) - start
        if count > MAX_PLAIN:
            raise FormatError("an R vector", f"has {count:,} numbers where a few are expected")
        reader = self._reader()
        if isinstance(reader, CompactSequence):
            return [reader.first + reader.step * n for n in range(start, start + count)]
        if not isinstance(reader, Stored):
            return [value.item() for value in reader(start, start + count)]
        numbers = array(_CODES[self.kind], bytes(count * itemsize(self.dtype)))
        reader.fill(start, memoryview(numbers).cast("B"))
        if (reader.byteorder == ">") == (sys.byteorder == "little"):
            numbers.byteswap()
        return _as_python(self.kind, numbers)

    def _reader(self) -> Reader:
        if self.numbers is None:
            raise FormatError("an R vector", f"holds {self.kind}s where numbers are expected")
        return self.numbers


def _as_python(kind: str, numbers: array[Any]) -> list[Any]:
    if kind == "complex":
        return [complex(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    if kind == "integer":
        return [None if n == NA_INTEGER else n for n in numbers]
    if kind == "logical":
        return [None if n == NA_INTEGER else bool(n) for n in numbers]
    return list(numbers)


class CompactSequence:
    """The reader of a sequence with step 1 or -1, which R stores without its elements; doubles are rounded once."""

    __slots__ = ("dtype", "first", "step")

    def __init__(self, first: float, step: int, dtype: str) -> None:
        self.first = first
        self.step = step
        self.dtype = dtype

    def __call__(self, start: int, stop: int) -> Array:
        import numpy as np

        return (self.first + self.step * np.arange(start, stop, dtype=np.int64)).astype(self.dtype)


class Pairlist:
    """R's linked list, which holds arguments and attributes: its `values` and their `names`, blank without a tag."""

    __slots__ = ("attributes", "names", "values")

    def __init__(self, names: list[str], values: list[Value]) -> None:
        self.names = names
        self.values = values
        self.attributes: Attributes = {}

    def __repr__(self) -> str:
        return f"<R pairlist of length {len(self.values):,}>"

    @property
    def class_(self) -> tuple[str, ...]:
        """The words of the class attribute."""
        return class_words(self.attributes)

    def get(self, name: str) -> Value:
        """Return the first value with this name, or None."""
        return self.values[self.names.index(name)] if name in self.names else None

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Yield the name and the value of each item."""
        yield from zip(self.names, self.values, strict=True)


class Environment:
    """An environment as data: `frame` maps its own names to values; names are not looked up in the `enclosing` one.

    A name bound to a promise or to an active binding maps to an `Opaque`.
    """

    __slots__ = ("attributes", "enclosing", "frame", "locked")

    def __init__(self, *, locked: bool) -> None:
        self.frame: dict[str, Value] = {}
        self.enclosing: Value = None
        self.attributes: Attributes = {}
        self.locked = locked

    def __repr__(self) -> str:
        return f"<R environment of {len(self.frame):,} names>"

    @property
    def class_(self) -> tuple[str, ...]:
        """The words of the class attribute, which R6 objects have."""
        return class_words(self.attributes)

    def get(self, name: str) -> Value:
        """Return the value that this environment itself binds to a name, or None."""
        return self.frame.get(name)

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Yield the name and the value of each binding."""
        yield from self.frame.items()


class S4:
    """An S4 object: its slots, including "class"."""

    __slots__ = ("attributes",)

    def __init__(self) -> None:
        self.attributes: Attributes = {}

    def __repr__(self) -> str:
        return f"<R S4 object of class {' '.join(self.class_) or 'unknown'}>"

    @property
    def slots(self) -> Attributes:
        """The slots by name, which R stores as attributes."""
        return self.attributes

    @property
    def class_(self) -> tuple[str, ...]:
        """The words of the class attribute."""
        return class_words(self.attributes)

    def get(self, name: str) -> Value:
        """Return a slot, or None."""
        return self.attributes.get(name)

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Yield the name and the value of each slot."""
        yield from self.attributes.items()


class Symbol:
    """A symbol of R's language."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<R symbol {self.name}>"


OPAQUE = (
    "closure",
    "promise",
    "language",
    "dots",
    "bytecode",
    "builtin",
    "special",
    "external pointer",
    "weak reference",
    "active binding",
    "namespace",
    "package",
    "persistent name",
    "global environment",
    "base environment",
    "empty environment",
    "base namespace",
    "unbound value",
    "missing argument",
    "ALTREP",
)
"""The kinds of `Opaque`."""


class Opaque:
    """An object that is not data: a function, a promise, a call, a pointer. It keeps its attributes and is never run.

    `kind` is one of `OPAQUE`. `name` is R's name for a builtin, a namespace, a package or an unknown ALTREP class. `parts`
    are its components, inert too: of a closure its "formals", "body" and "environment"; of a promise its "value" (an
    unbound value until R has forced it), "expression" and "environment"; of a call or a formula its "function" and
    "arguments" (a `Pairlist`); of an external pointer its "protected" object and "tag" (a file never has its address, so
    the pointer is always dead).
    """

    __slots__ = ("attributes", "kind", "name", "parts")

    def __init__(self, kind: str, name: str = "", parts: dict[str, Value] | None = None) -> None:
        self.kind = kind
        self.name = name
        self.parts = parts if parts is not None else {}
        self.attributes: Attributes = {}

    def __repr__(self) -> str:
        return f"<R {self.kind}{f' {self.name}' if self.name else ''}>"

    @property
    def class_(self) -> tuple[str, ...]:
        """The words of the class attribute: "keras.src.models.sequential.Sequential" explains a dead pointer."""
        return class_words(self.attributes)


VALUES = (Vector, Pairlist, Environment, S4, Symbol, Opaque)
"""The classes of values, besides None."""


def class_words(attributes: Attributes) -> tuple[str, ...]:
    """Return the words of the class attribute; empty for an object without a class."""
    attribute = attributes.get("class")
    words = attribute.strings if isinstance(attribute, Vector) else None
    return tuple(word for word in words or () if word is not None)


def classes_of(value: Value) -> tuple[str, ...]:
    """Return the words of the class of any value; empty for NULL and for a symbol."""
    return () if value is None or isinstance(value, Symbol) else value.class_


def member(value: Value, name: str) -> Value:
    """Return the member of a list, environment or S4 object with this name; None if there is none."""
    return value.get(name) if isinstance(value, (Vector, Pairlist, Environment, S4)) else None
