"""Plain arrays in R's files: vectors, matrices and arrays in lists, and the arrays of a model that are not weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from steelyard.codecs.budget import check_json
from steelyard.codecs.metadata import parsed, with_facts
from steelyard.codecs.pickle.arrays import by_columns
from steelyard.codecs.r.layers import reader_of
from steelyard.codecs.r.values import S4, Opaque, Vector
from steelyard.codecs.r.walk import leaves
from steelyard.core.casting import casting
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import ITEMSIZES, UNKNOWN
from steelyard.errors import FormatError, printable
from steelyard.formats.r.writing import footer_facts
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from steelyard.codecs.r.layers import VectorSlice
    from steelyard.codecs.r.values import Value
    from steelyard.codecs.r.walk import Path
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

_NUMBERS = ("double", "integer", "complex", "logical")


def is_plain(value: Vector) -> bool:
    """Whether a vector is an array of numbers, not a factor, a date or another object with a class."""
    return value.kind in _NUMBERS and value.class_ in ((), ("integer64",))


def shape_of(vector: Vector, file: str) -> tuple[int, ...]:
    """Return the shape of an array. Raises `FormatError` if its dimensions do not match the number of its elements."""
    shape = vector.dim or (vector.length,)
    if min(shape) < 0 or prod(shape) != vector.length:
        raise FormatError(file, f"an array has the dimensions {list(shape)}, but {vector.length:,} elements")
    return shape


def plain_weight(name: str, vector: Vector, file: str) -> Weight:
    """Return a plain vector or array as a weight; of class integer64 as int64, whose bits R stores as doubles."""
    shape = shape_of(vector, file)
    weight = Weight(
        name=name,
        shape=shape,
        dtype=vector.dtype,
        read=reader_of([(vector, 0, vector.length)], shape),
        layer=layer_of(name),
    )
    return weight if vector.class_ != ("integer64",) else weight.replace(dtype="int64", read=_as_integers(vector, shape))


def _as_integers(vector: Vector, shape: tuple[int, ...]) -> Reader:
    if isinstance(vector.numbers, Stored):
        return by_columns(vector.numbers.source.numbers(vector.numbers.offset, "int64", vector.byteorder), shape)

    def flat(start: int, stop: int) -> Array:
        return vector.read(start, stop).view("int64")

    return by_columns(flat, shape)


def plain_weights(arrays: list[tuple[Path, Vector]], source: Source) -> list[Weight]:
    """Return plain arrays as weights, with the dtypes, roles and axes from the footer of a file that Steelyard wrote."""
    text, scalars = footer_facts(source)
    if text:
        check_json(text, source)
    facts = parsed(text) if text else {}
    plain = [
        with_original_dtype(plain_weight(name, vector, source.name), facts, scalars)
        for name, vector in _named(arrays, facts)
        if (vector.kind != "logical" and (vector.length or vector.dim)) or name in facts
    ]
    return with_facts(plain, text)


def _named(arrays: list[tuple[Path, Vector]], facts: Collection[str]) -> Iterator[tuple[str, Vector]]:
    """Yield arrays with their names; the place of one that was written without a name is no name of it."""
    place = str([*facts].index("") + 1) if "" in facts else ""
    blank = "" if place in facts else place
    for path, vector in arrays:
        name = ".".join(path)
        yield ("" if name == blank else name), vector


def with_original_dtype(weight: Weight, facts: dict[str, Any], scalars: frozenset[str]) -> Weight:
    """Return an array of R with the dtype and the shape that it had before it was written."""
    dtype = facts.get(weight.name, {}).get("dtype")
    if weight.name in scalars and weight.size == 1:
        weight = weight.replace(shape=())
    if dtype not in ITEMSIZES or dtype == weight.dtype:
        return weight
    return weight.replace(dtype=dtype, read=casting(weight, dtype), encoding=weight.dtype)


def unknown_objects(root: Value, names: set[str], file: str) -> Iterator[Weight]:
    """Yield a weight that cannot be read for each object that keeps numbers in a form that is not known, by its full path.

    These are compact vectors (ALTREP) of a package's own class, and S4 objects with arrays, such as sparse matrices.
    """
    for path, leaf in leaves(root, file):
        what = ""
        if isinstance(leaf, Opaque) and leaf.kind == "ALTREP":
            what = f"a compact vector of the unknown class {printable(leaf.name, 80)}"
        elif isinstance(leaf, S4) and any(isinstance(slot, Vector) and is_plain(slot) for slot in leaf.slots.values()):
            what = f"an S4 object of the class {printable(' '.join(leaf.class_), 80)}"
        name = ".".join(path)
        if what and name not in names:
            names.add(name)
            error = FormatError(file, f"{printable(name)} is {what}, which is not supported")
            yield Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer_of(name), encoding=what)


def other_arrays(root: Value, known: dict[str, list[VectorSlice]], names: set[str], file: str) -> Iterator[Weight]:
    """Yield every array of numbers that is not a weight, such as training data, by its full path."""
    taken = {id(vector) for slices in known.values() for vector, _, _ in slices}
    for path, leaf in leaves(root, file):
        if isinstance(leaf, Vector) and is_plain(leaf) and (leaf.length > 1 or leaf.dim) and id(leaf) not in taken:
            name = ".".join(path)
            name = name if name not in names else "/".join(path)
            if name not in names:
                names.add(name)
                yield plain_weight(name, leaf, file)
