"""Layers of R's networks as weights: column-major matrices whose numbers are slices of R's vectors.

The object of a package becomes a `Network`: weights under their own names, and the facts that a prediction needs.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from steelyard.codecs.pickle.arrays import by_columns
from steelyard.codecs.r.values import Opaque, Vector, classes_of, member
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard.codecs.r.values import Value
    from steelyard.core.weight import Array, Reader

    VectorSlice = tuple[Vector, int, int]
    """A vector, the index of the first element of the slice, and the number of its elements."""

FLOATS = ("float64", "complex128")


class Network:
    """One network of an R object.

    `slices` maps the name of a weight to the slices of R's vectors that are its numbers, column-major; a weight that is not
    in it is computed in another way. `training` names the members of the object that are training data, `derived` those
    computed with the weights. `notes` are remarks for the user. `module` is the R object of a network of R torch.

    `facts` has these keys, as far as the object has them: "package" and "class"; "units", the sizes of the layers, inputs
    first; "inputs" and "outputs", their names (the levels of a classifier); "hidden" and "output", the activations of the
    hidden units (a list if layers differ) and of the outputs ("softmax", "logistic", "linear"); "skip", whether inputs feed
    nnet's outputs directly; "cut", the cutoff of its sigmoid; "entropy" and "censored", its loss; "preprocess", the scaling
    of the inputs ("method", and by input "center" and "scale"), and "targets", that of the outputs ("center", "scale").
    """

    __slots__ = ("derived", "facts", "module", "notes", "slices", "training", "weights")

    def __init__(self, package: str, value: Value) -> None:
        self.weights: list[Weight] = []
        self.slices: dict[str, list[VectorSlice]] = {}
        self.facts: dict[str, Any] = {"package": package, "class": list(classes_of(value))}
        self.training: list[str] = []
        self.derived: list[str] = []
        self.notes: list[str] = []
        self.module: Value = None

    def add(self, name: str, slices: list[VectorSlice], shape: tuple[int, ...], **facts: Any) -> None:
        """Add a weight whose column-major numbers are these slices, one after another."""
        dtype = slices[0][0].dtype if slices else "float64"
        facts = {"role": Role.KERNEL, "layer": name, "encoding": dtype} | facts
        self.weights.append(Weight(name=name, shape=shape, dtype=dtype, read=reader_of(slices, shape), **facts))
        self.slices[name] = slices


def reader_of(slices: list[VectorSlice], shape: tuple[int, ...]) -> Reader:
    """Return the reader of a column-major array of this shape, whose numbers are these slices one after another."""
    readers = [_slice_reader(*piece) for piece in slices]
    flat = readers[0] if len(readers) == 1 else _concatenated(readers, [count for _, _, count in slices])
    return by_columns(flat, shape)


def _slice_reader(vector: Vector, first: int, count: int) -> Reader:
    """Return the reader of a slice, which reads the file itself if that has the numbers in binary."""
    if isinstance(vector.numbers, Stored):
        stored = vector.numbers
        return stored.source.numbers(stored.offset + first * _itemsize(vector), stored.dtype, stored.byteorder)
    return lambda start, stop: vector.read(first + start, first + stop)


def _itemsize(vector: Vector) -> int:
    return {"double": 8, "complex": 16, "raw": 1}.get(vector.kind, 4)


def _concatenated(readers: Sequence[Reader], counts: Sequence[int]) -> Reader:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        blocks = [reader(0, count) for reader, count in zip(readers, counts, strict=True)]
        return np.concatenate(blocks or [np.zeros(0)])[start:stop]

    return read


def doubles(value: Value, what: str, file: str) -> Vector:
    """Return a vector of doubles. Raises `FormatError`, which names `what`, for any other value."""
    if isinstance(value, Vector) and value.kind == "double":
        return value
    if value is None:
        raise FormatError(file, f"{what} is missing; a vector of doubles is expected")
    raise FormatError(file, f"{what} is {_described(value)}, not a vector of doubles")


def _described(value: Value) -> str:
    if isinstance(value, Vector):
        return f"a vector of type {value.kind}"
    return f"a {value.kind}" if isinstance(value, Opaque) else printable(value, 60)


def matrix(value: Value, what: str, file: str) -> tuple[Vector, tuple[int, int]]:
    """Return a matrix of doubles and its shape. Raises `FormatError` for any other value."""
    vector = doubles(value, what, file)
    dim = vector.dim
    if dim is None or len(dim) != 2 or prod(dim) != vector.length:
        raise FormatError(file, f"{what} is not a matrix: it has the dimensions {dim} and {vector.length:,} numbers")
    return vector, (dim[0], dim[1])


def whole(value: Value, what: str, file: str) -> list[int]:
    """Return whole numbers, which R may store as integers or as doubles. Raises `FormatError` for any others."""
    if not isinstance(value, Vector) or value.kind not in ("integer", "double"):
        raise FormatError(file, f"{what} is not a vector of whole numbers")
    numbers = value.plain()
    if any(n is None or n != n or abs(n) > 1 << 53 or n != int(n) for n in numbers):  # noqa: PLR0124 - NaN alone differs
        raise FormatError(file, f"{what} holds a number that is not whole")
    return [int(n) for n in numbers]


def texts(value: Value) -> list[str]:
    """Return the texts of a character vector; an empty list for any other value."""
    return [text or "" for text in value.strings] if isinstance(value, Vector) and value.strings is not None else []


def flag(value: Value) -> bool | None:
    """Return a logical of length one; None for NA and for any other value."""
    if isinstance(value, Vector) and value.kind == "logical" and value.length == 1:
        logical: bool | None = value.plain()[0]
        return logical
    return None


def floats(value: Value) -> list[float]:
    """Return the numbers of a short vector of doubles or integers; an empty list for any other value."""
    if isinstance(value, Vector) and value.kind in ("double", "integer"):
        return [float("nan") if n is None else float(n) for n in value.plain()]
    return []


def by_name(value: Value) -> dict[str, float]:
    """Return the numbers of a named vector by their names."""
    return dict(zip(value.names or [], floats(value), strict=False)) if isinstance(value, Vector) else {}


def present(value: Value, names: Iterable[str]) -> list[str]:
    """Return those of the names that are members of the list and not NULL."""
    return [name for name in names if member(value, name) is not None]


def items(value: Value, what: str, file: str) -> list[Value]:
    """Return the items of a list. Raises `FormatError` for any other value."""
    if isinstance(value, Vector) and value.items is not None:
        return value.items
    raise FormatError(file, f"{what} is not a list")
