"""Layers of R's networks as weights: matrices that lie column by column in R's vectors, in one run or in several.

What a package's object holds is a `Net`: weights under names of their own, and the facts that a prediction needs.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from steelyard.codecs.pickle.arrays import by_columns
from steelyard.codecs.r.values import Opaque, Vector
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard.codecs.r.values import Value
    from steelyard.core.weight import Array, Reader

    Run = tuple[Vector, int, int]
    """A vector, the element from which on the numbers lie in it, and how many they are."""

FLOATS = ("float64", "complex128")


class Net:
    """One network of an R object.

    `runs` says by the name of a weight where its numbers lie, column by column; a weight without is made of them in
    another way. `training` names what the object keeps of the data it was fitted to, `derived` what it keeps that was made
    with the weights, `notes` what a user should know, `module` the R object of a net of R torch.
    `facts` has these keys, as far as the object tells them: "package" and "class"; "units" of each layer, the inputs
    first; "inputs" and "outputs", their names (of a classifier the levels); "hidden" and "output", the activation of
    the hidden units (a list where layers differ) and of the outputs ("softmax", "logistic", "linear"); "skip", whether
    inputs feed nnet's outputs; "cut", where its sigmoid is cut off; "entropy" and "censored", how it was fitted;
    "preprocess", what is done to inputs before ("method", and by input "center" and "scale"), and "targets", to outputs
    after ("center", "scale").
    """

    __slots__ = ("derived", "facts", "module", "notes", "runs", "training", "weights")

    def __init__(self, package: str, value: Any) -> None:
        self.weights: list[Weight] = []
        self.runs: dict[str, list[Run]] = {}
        self.facts: dict[str, Any] = {"package": package, "class": list(value.class_)}
        self.training: list[str] = []
        self.derived: list[str] = []
        self.notes: list[str] = []
        self.module: Any = None

    def add(self, name: str, runs: list[Run], shape: tuple[int, ...], **facts: Any) -> None:
        """Add a weight whose numbers lie in R's vectors, column by column."""
        dtype = runs[0][0].dtype if runs else "float64"
        facts = {"role": Role.KERNEL, "layer": name, "encoding": dtype} | facts
        self.weights.append(Weight(name=name, shape=shape, dtype=dtype, read=reader_of(runs, shape), **facts))
        self.runs[name] = runs


def reader_of(runs: list[Run], shape: tuple[int, ...]) -> Reader:
    """Read an array of this shape that lies column by column in runs of vectors, one after another."""
    flat = _stretch(*runs[0]) if len(runs) == 1 else _joined([_stretch(*run) for run in runs], [run[2] for run in runs])
    return by_columns(flat, shape)


def _stretch(vector: Vector, first: int, count: int) -> Reader:
    """Read a run of a vector; where it lies in the file as it is in memory, as such."""
    if isinstance(vector.numbers, Stored):
        stored = vector.numbers
        return stored.source.numbers(stored.offset + first * _itemsize(vector), stored.dtype, stored.byteorder)
    return lambda start, stop: vector.read(first + start, first + stop)


def _itemsize(vector: Vector) -> int:
    return {"double": 8, "complex": 16, "raw": 1}.get(vector.kind, 4)


def _joined(readers: Sequence[Reader], counts: Sequence[int]) -> Reader:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        blocks = [reader(0, count) for reader, count in zip(readers, counts, strict=True)]
        return np.concatenate(blocks or [np.zeros(0)])[start:stop]

    return read


def doubles(value: Value, what: str, file: str) -> Vector:
    """Return a vector of doubles. Raises `FormatError`, which says `what` it should have been, for anything else."""
    if isinstance(value, Vector) and value.kind == "double":
        return value
    raise FormatError(file, f"{what} {'is' if value is not None else 'is missing, and not'} {_kind(value)}vector of doubles")


def _kind(value: Value) -> str:
    if value is None:
        return "a "
    if isinstance(value, Vector):
        return f"a vector of type {value.kind}, not a "
    return f"a {value.kind}, not a " if isinstance(value, Opaque) else f"{printable(value, 60)}, not a "


def matrix(value: Value, what: str, file: str) -> tuple[Vector, tuple[int, int]]:
    """Return a matrix of doubles and its shape. Raises `FormatError` for anything else."""
    vector = doubles(value, what, file)
    dim = vector.dim
    if dim is None or len(dim) != 2 or prod(dim) != vector.length:
        raise FormatError(file, f"{what} has the dimensions {dim}, and is no matrix of its {vector.length:,} numbers")
    return vector, (dim[0], dim[1])


def whole(value: Value, what: str, file: str) -> list[int]:
    """Return numbers that must be whole, whether R keeps them as integers or as doubles."""
    if not isinstance(value, Vector) or value.kind not in ("integer", "double"):
        raise FormatError(file, f"{what} is no vector of whole numbers")
    found = value.plain()
    if any(n is None or n != n or abs(n) > 1 << 53 or n != int(n) for n in found):  # noqa: PLR0124 - NaN alone differs
        raise FormatError(file, f"{what} holds a number that is not whole")
    return [int(n) for n in found]


def texts(value: Value) -> list[str]:
    """Return the texts of a character vector; nothing for anything else."""
    return [text or "" for text in value.strings] if isinstance(value, Vector) and value.strings is not None else []


def flag(value: Value) -> bool | None:
    """Return a logical of length one; None for anything else, and for NA."""
    if isinstance(value, Vector) and value.kind == "logical" and value.length == 1:
        found: bool | None = value.plain()[0]
        return found
    return None


def floats(value: Value) -> list[float]:
    """Return the numbers of a short vector of doubles or integers; nothing for anything else."""
    if isinstance(value, Vector) and value.kind in ("double", "integer"):
        return [float("nan") if n is None else float(n) for n in value.plain()]
    return []


def by_name(value: Value) -> dict[str, float]:
    """Return the numbers of a named vector by their names."""
    return dict(zip(value.names or [], floats(value), strict=False)) if isinstance(value, Vector) else {}


def present(value: Any, names: Iterable[str]) -> list[str]:
    """Return those of the names under which a list has something."""
    return [name for name in names if value.get(name) is not None]


def items(value: Value, what: str, file: str) -> list[Any]:
    """Return the items of a list. Raises `FormatError` for anything else."""
    if isinstance(value, Vector) and value.items is not None:
        return value.items
    raise FormatError(file, f"{what} is no list")
