"""Files of MATLAB 5 to 7.2: elements one after another, of which each is a variable.

0    116  a sentence                            element   u32 type, u32 bytes, content, padding to 8 bytes
116  8    offset of MATLAB's own data, or 0     small     u16 type (the low half), u16 bytes, content in 4 bytes
124  2    version 0x0100                        compressed: an element of type 15 is a stream of zlib with one element
126  2    "IM": little-endian, "MI": big-endian

A matrix is an element of type 14, with these elements in it:

    flags        u32: class, 0x800 complex, 0x200 logical; u32: numbers that are kept, of a sparse matrix
    shape        i32 for each axis, at least two
    name         letters
    numbers      column by column, in the smallest type that holds all of them; imaginary ones follow real ones
    sparse       rows i32, first of each column i32, then numbers
    cell         a matrix without a name for each element
    struct       bytes of a name, names, then a matrix for each field of each element
    text         letters in 1 or 2 bytes
    object       the name of its class, then as a struct; opaque ones have no shape

Source: "MAT-File Format", the document of The MathWorks.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import Inflated, is_compressed, plain
from steelyard.core.recent import RecentBlocks
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, cut_off, printable
from steelyard.formats.matlab.items import COST, DTYPES, Item, checked_shape, damaged, member, numbers, refused_object, text

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

_HEAD, _MATRIX, _COMPRESSED = 128, 14, 15
_TYPES = {1: "int8", 2: "uint8", 3: "int16", 4: "uint16", 5: "int32", 6: "uint32", 7: "float32", 9: "float64"}
_TYPES |= {12: "int64", 13: "uint64"}
_LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _OBJECT, _TEXT, _SPARSE, _FUNCTION, _OPAQUE, _NEW_OBJECT = 1, 2, 3, 4, 5, 16, 17, 18
_CLASSES = {6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32"}
_CLASSES |= {14: "int64", 15: "uint64"}
_COMPLEX, _LOGICAL = 8, 2
_BEGINNING = 1 << 14
"""bytes of a compressed variable that have its shape and its name, which is of 63 letters at most"""
_LONGEST = 4096
"""letters of a text that may be the name of a layer or a parameter"""
_KEPT = 1 << 27
_INFLATED = RecentBlocks()


class _Element(NamedTuple):
    """The type of an element, the bytes and the offset of its content, and the offset behind it."""

    kind: int
    size: int
    start: int
    end: int


class _Matrix(NamedTuple):
    """A matrix: its class, its flags, its shape and name, and the offsets of what follows these, and of its end."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str
    at: int
    end: int


class _Bytes:
    """A run of elements in a file, or in a stream that was inflated."""

    __slots__ = ("budget", "order", "source")

    def __init__(self, source: Source, order: str, budget: Budget) -> None:
        self.source = source
        self.order = order
        self.budget = budget

    def uint(self, at: int, width: int = 4) -> int:
        return int.from_bytes(self.source.read(at, width), "little" if self.order == "<" else "big")

    def element(self, at: int, end: int | None = None) -> _Element:
        """Return the element at an offset, which ends before `end`."""
        end = self.source.size if end is None else end
        first = self.uint(at)
        if first >> 16:
            kind, size, start, after = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            kind, size, start = first, self.uint(at + 4), at + 8
            after = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > end or (first >> 16 and size > 4):
            raise FormatError(self.source.name, f"is damaged: an element of {size:,} bytes reaches past its end", at)
        return _Element(kind, size, start, min(after, end))

    def integers(self, element: _Element, limit: int = limits.RANK) -> list[int]:
        """Return signed integers of four bytes."""
        if element.size > 4 * limit or element.size % 4:
            raise FormatError(self.source.name, f"is damaged: {element.size:,} bytes of a shape", element.start)
        found = [self.uint(at) for at in range(element.start, element.start + element.size, 4)]
        return [value - (1 << 32) if value >> 31 else value for value in found]

    def letters(self, element: _Element, limit: int = limits.TEXT) -> str:
        if element.size > limit:
            raise FormatError(self.source.name, f"is damaged: a name of {element.size:,} bytes", element.start)
        self.budget.spend(element.size)
        return self.source.read(element.start, element.size).decode("utf-8", "backslashreplace").rstrip("\0")

    def matrix(self, element: _Element) -> _Matrix:
        """Return what a matrix begins with; an opaque one has no shape."""
        if element.kind != _MATRIX:
            raise FormatError(
                self.source.name, f"is damaged: an element of type {element.kind} in place of a matrix", element.start
            )
        end = element.start + element.size
        if not element.size:  # an empty array, without even flags
            return _Matrix(6, 0, (0, 0), "", element.start, end)
        self.budget.spend(COST, element.start)
        flags = self.element(element.start, end)
        word = self.uint(flags.start)
        at = flags.end
        shape: tuple[int, ...] = (0, 0)
        if word & 0xFF != _OPAQUE:
            dims = self.element(at, end)
            shape, at = checked_shape(self.integers(dims), self.source.name, "an array"), dims.end
        name = self.element(at, end)
        return _Matrix(word & 0xFF, word >> 8 & 0xFF, shape, self.letters(name), name.end, end)


def items(source: Source) -> Iterator[Item]:
    """List all arrays in the variables of a file, in their order. Raises `FormatError` for a file that is cut off."""
    order = "<" if source.read(126, 2) == b"IM" else ">"
    run = _Bytes(source, order, Budget(source))
    own, at = run.uint(116, 8), _HEAD
    while at + 8 <= source.size:
        size = run.uint(at + 4)
        if at + 8 + size > source.size and not run.uint(at) >> 16:
            raise cut_off(source.name, source.size, at + 8 + size)
        element = run.element(at)
        if at != own:  # what objects refer to, in a layout that is not public
            yield from _variable(run, element)
        at = element.end


def _variable(run: _Bytes, element: _Element) -> Iterator[Item]:
    if element.kind != _COMPRESSED:
        matrix = run.matrix(element)
        yield from _array(run, matrix, matrix.name)
        return
    part = run.source.part(element.start, element.size)
    if not is_compressed(part):
        raise FormatError(run.source.name, "is damaged: a variable that should be a stream of zlib is not", element.start)
    stream = Inflated(part)
    stream.reach(_BEGINNING)
    head = _Bytes(stream.plain, run.order, run.budget)
    size = head.uint(4) + 8
    if size > stream.limit:
        what = f"a variable of {size:,} bytes in {part.size:,}; refused, see steelyard.limits"
        raise FormatError(run.source.name, what, element.start)
    matrix = head.matrix(_Element(head.uint(0), size - 8, 8, size))
    if matrix.kind in _CLASSES and not matrix.flags & _COMPLEX:
        yield _inflating(part, head, matrix)
        return
    stream.reach(size)
    yield from _array(head, matrix, matrix.name)


def _inflating(part: Source, run: _Bytes, matrix: _Matrix) -> Item:
    """List a compressed array of numbers, which is inflated when they are read, and kept for the next read."""
    first = run.uint(matrix.at)
    start, size = (matrix.at + 4, first >> 16) if first >> 16 else (matrix.at + 8, run.uint(matrix.at + 4))
    stored, dtype = _TYPES.get(first & 0xFFFF, ""), _dtype(matrix)
    count, order, key = prod(matrix.shape), run.order, object()
    if not stored or size != count * itemsize(stored):
        return damaged(matrix.name, run.source.name, f"has {size:,} bytes for the shape {list(matrix.shape)}")

    def inflate() -> Array:
        import numpy as np

        data = plain(part).read(start, size)
        found = np.frombuffer(data, numpy_dtype(stored))
        return (found.byteswap() if order == ">" else found).astype(numpy_dtype(dtype))

    def read(begin: int, stop: int) -> Array:
        return _INFLATED.get(key, inflate, _KEPT)[begin:stop].copy()

    return numbers(matrix.name, matrix.shape, dtype, read, stored if stored != dtype else "")


def _array(run: _Bytes, matrix: _Matrix, name: str, depth: int = 0) -> Iterator[Item]:
    """Yield an array, or all arrays in a cell or a struct; one that cannot be read is listed with the reason."""
    if depth > limits.RECURSION:
        raise FormatError(run.source.name, f"arrays are nested more than {limits.RECURSION} levels deep", matrix.at)
    run.budget.spend(COST + 2 * len(name), matrix.at)
    if matrix.kind == _CELL:
        yield from _cells(run, matrix, name, depth)
    elif matrix.kind == _STRUCT:
        yield from _fields(run, matrix, name, depth)
    elif matrix.kind in _CLASSES or matrix.kind in (_SPARSE, _TEXT):
        read = {_SPARSE: _sparse, _TEXT: _letters}.get(matrix.kind, _full)
        try:
            yield read(run, matrix, name)
        except SteelyardError as error:
            yield damaged(name, run.source.name, f"cannot be read: {error}")
    else:
        yield refused_object(name, run.source.name, _class_of(run, matrix))


def _class_of(run: _Bytes, matrix: _Matrix) -> str:
    if matrix.kind == _FUNCTION:
        return "function_handle"
    if matrix.kind not in (_OBJECT, _OPAQUE, _NEW_OBJECT):
        return f"number {matrix.kind}"
    element = run.element(matrix.at, matrix.end)
    if matrix.kind == _OPAQUE:  # the system of types comes first
        element = run.element(element.end, matrix.end)
    return run.letters(element)


def _cells(run: _Bytes, matrix: _Matrix, name: str, depth: int) -> Iterator[Item]:
    at = matrix.at
    for number in range(_count(run, matrix)):
        element = run.element(at, matrix.end)
        yield from _array(run, run.matrix(element), f"{name}{{{number + 1}}}", depth + 1)
        at = element.end


def _fields(run: _Bytes, matrix: _Matrix, name: str, depth: int) -> Iterator[Item]:
    width = run.element(matrix.at, matrix.end)
    longest = run.integers(width, 1)
    words = run.element(width.end, matrix.end)
    joined = run.source.read(words.start, words.size) if words.size <= limits.TEXT else b""
    if not longest or longest[0] < 1 or len(joined) != words.size or words.size % longest[0]:
        raise FormatError(run.source.name, f"{printable(name)} is damaged: the names of its fields", matrix.at)
    run.budget.spend(10 * words.size)
    parts = [joined[at : at + longest[0]].partition(b"\0")[0] for at in range(0, words.size, longest[0])]
    keys = [part.decode("utf-8", "backslashreplace") for part in parts]
    at, count = words.end, _count(run, matrix) if keys else 0
    for number in range(count):
        for key in keys:
            element = run.element(at, matrix.end)
            yield from _array(run, run.matrix(element), f"{member(name, number, count)}.{key}", depth + 1)
            at = element.end


def _count(run: _Bytes, matrix: _Matrix) -> int:
    """Return the number of elements, each of which takes eight bytes at least."""
    count = prod(matrix.shape)
    if count * 8 > matrix.end - matrix.at:
        raise FormatError(run.source.name, f"is damaged: {count:,} elements in {matrix.end - matrix.at:,} bytes", matrix.at)
    return count


def _dtype(matrix: _Matrix) -> str:
    if matrix.flags & _LOGICAL:
        return "bool"
    dtype = DTYPES[_CLASSES[matrix.kind]]
    return {"float64": "complex128", "float32": "complex64"}.get(dtype, dtype) if matrix.flags & _COMPLEX else dtype


def _full(run: _Bytes, matrix: _Matrix, name: str) -> Item:
    dtype, count = _dtype(matrix), prod(matrix.shape)
    if matrix.at == matrix.end and not count:
        return numbers(name, matrix.shape, dtype, _nothing(dtype))
    real = run.element(matrix.at, matrix.end)
    read = _cast(run, real, count, dtype)
    stored = _TYPES[real.kind]
    if matrix.flags & _COMPLEX:
        if not dtype.startswith("complex"):
            raise FormatError(run.source.name, f"{printable(name)} has complex integers, which are not supported", matrix.at)
        read = _complex(read, _cast(run, run.element(real.end, matrix.end), count, dtype))
    return numbers(name, matrix.shape, dtype, read, stored if stored != dtype else "")


def _cast(run: _Bytes, element: _Element, count: int, dtype: str) -> Reader:
    """Return a reader of numbers in the type that they are stored in, which gives them in theirs."""
    stored = _TYPES.get(element.kind, "")
    if not stored or element.size != count * itemsize(stored):
        what = f"is damaged: {element.size:,} bytes of type {element.kind} for {count:,} numbers"
        raise FormatError(run.source.name, what, element.start)
    read = run.source.numbers(element.start, stored, run.order)
    return read if stored == dtype else lambda start, stop: read(start, stop).astype(numpy_dtype(dtype))


def _complex(real: Reader, imaginary: Reader) -> Reader:
    def read(start: int, stop: int) -> Array:
        made = real(start, stop)
        made.imag = imaginary(start, stop).real
        return made

    return read


def _nothing(dtype: str) -> Reader:
    def read(_start: int, _stop: int) -> Array:
        import numpy as np

        return np.empty(0, numpy_dtype(dtype))

    return read


def _letters(run: _Bytes, matrix: _Matrix, name: str) -> Item:
    content = run.element(matrix.at, matrix.end) if matrix.at < matrix.end else None
    if content is None or content.size > 4 * _LONGEST or content.kind not in _LETTERS:
        return text(name, run.source.name, None if content else "")
    code = _LETTERS[content.kind]
    code += {"<": "-le", ">": "-be"}[run.order] if code in ("utf-16", "utf-32") else ""
    return text(name, run.source.name, run.source.read(content.start, content.size).decode(code, "backslashreplace"))


def _sparse(run: _Bytes, matrix: _Matrix, name: str) -> Item:
    from steelyard.formats.matlab.sparse import columns

    rows = run.element(matrix.at, matrix.end)
    firsts = run.element(rows.end, matrix.end)
    real = run.element(firsts.end, matrix.end)
    dtype = "bool" if matrix.flags & _LOGICAL else "complex128" if matrix.flags & _COMPLEX else "float64"
    kept = run.uint(firsts.start + firsts.size - 4) if firsts.size >= 4 else 0
    count = real.size // itemsize(_TYPES.get(real.kind, "uint8"))
    if firsts.size != 4 * (matrix.shape[-1] + 1) or len(matrix.shape) != 2 or kept > min(count, rows.size // 4):
        raise FormatError(run.source.name, f"{printable(name)} is damaged: the columns of a sparse matrix", matrix.at)
    values = _cast(run, real, count, dtype)
    if matrix.flags & _COMPLEX:
        values = _complex(values, _cast(run, run.element(real.end, matrix.end), count, dtype))
    places = [run.source.numbers(part.start, "int32", run.order) for part in (rows, firsts)]
    return columns(run.source, name, matrix.shape, dtype, (places[0], places[1], values), kept)
