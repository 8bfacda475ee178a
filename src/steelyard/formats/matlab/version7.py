"""Files of MATLAB 7.3, which are HDF5 after a sentence of 512 bytes.

An array is a dataset with its axes in reverse order. Attributes have what HDF5 does not know:

    MATLAB_class           the class of an array: "double", "cell", "struct", "char" ... or that of an object
    MATLAB_empty           the dataset has the shape of an array without numbers
    MATLAB_sparse          a group with the datasets data, ir (rows) and jc (columns); the number of rows
    MATLAB_fields          the names of the fields of a struct in their order
    MATLAB_object_decode   the dataset belongs to an object, whose layout is not public

A struct is a group; an array of structs is one with a dataset of references for each field. A cell is a dataset of references
to the group "#refs#".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.hdf5.attributes import attribute, names, texts
from steelyard.codecs.hdf5.datasets import ChunkCache, dataset_weight, is_dataset, references
from steelyard.codecs.hdf5.links import is_group, links_of
from steelyard.codecs.hdf5.objects import ObjectHeader
from steelyard.codecs.hdf5.superblock import open_space
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, UnsafeFileError, printable
from steelyard.formats.matlab.items import COST, DTYPES, Item, checked_shape, damaged, member, numbers, refused_object, text

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.links import Link
    from steelyard.codecs.hdf5.space import Space
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

_CLASS, _EMPTY, _SPARSE, _FIELDS, _OBJECT = (f"MATLAB_{word}" for word in ("class", "empty", "sparse", "fields", "object_decode"))
_OWN = (b"#refs#", b"#subsystem#")
_LONGEST = 4096
"""letters of a text that may be the name of a layer or a parameter"""
_REFERENCES = 10_000_000
"""elements of a cell"""


def items(source: Source) -> Iterator[Item]:
    """List all arrays of a file, by the names of their variables. Raises `FormatError` for a damaged file."""
    space, root = open_space(source)
    walk = _Walk(space)
    for link in links_of(ObjectHeader(space, root)):
        if link.name not in _OWN:
            yield from walk.link(link, _word(link), 0)


def _word(link: Link) -> str:
    return link.name.decode("utf-8", "surrogateescape")


class _Walk:
    """A walk through the arrays of a file; each step is charged, since many cells may refer to one array."""

    __slots__ = ("chunks", "file", "space")

    def __init__(self, space: Space) -> None:
        self.space = space
        self.chunks = ChunkCache(space)
        self.file = space.source.name

    def link(self, link: Link, name: str, depth: int) -> Iterator[Item]:
        if link.kind:
            error = UnsafeFileError(self.file, f"{printable(name)} is {link.kind} link, which is not followed")
            yield Item(Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error)))
        else:
            yield from self.array(link.address, name, depth)

    def array(self, address: int, name: str, depth: int) -> Iterator[Item]:
        """Yield an array, or all arrays in a cell or a struct."""
        self.space.budget.spend(COST + 2 * len(name), address)
        if depth > limits.RECURSION:
            raise self.space.error(f"arrays are nested more than {limits.RECURSION} levels deep", address)
        try:
            header = ObjectHeader(self.space, address)
            kind = self.text(header, _CLASS)
        except FormatError as error:
            yield damaged(name, self.file, f"cannot be read: {error}")
            return
        if is_group(header) and attribute(header, _SPARSE) is None:
            yield from self.fields(header, name, depth)
        elif kind == "cell" and is_dataset(header) and attribute(header, _EMPTY) is None:
            for number, place in enumerate(references(self.chunks, header, name, _REFERENCES)):
                yield from self.array(place, f"{name}{{{number + 1}}}", depth + 1)
        else:
            yield self.single(header, kind, name)

    def text(self, header: ObjectHeader, key: str) -> str:
        held = attribute(header, key)
        found = texts(held) if held else None
        return found if isinstance(found, str) else ""

    def single(self, header: ObjectHeader, kind: str, name: str) -> Item:
        """Return an array of numbers, a text or an object."""
        try:
            if attribute(header, _OBJECT) is not None or (kind and kind not in (*DTYPES, "char", "cell", "struct")):
                return refused_object(name, self.file, kind or "unknown")
            if is_group(header):
                return self.sparse(header, kind, name)
            found = dataset_weight(self.chunks, header, name)
            return self.empty(found, kind, name) if attribute(header, _EMPTY) is not None else self.full(found, kind, name)
        except SteelyardError as error:
            return damaged(name, self.file, f"cannot be read: {error}")

    def full(self, found: Weight, kind: str, name: str) -> Item:
        shape, read = found.shape[::-1], found.read
        if kind == "char":
            is_short = found.size <= _LONGEST and found.dtype in ("uint8", "uint16", "uint32")
            letters = "".join(map(chr, read(0, found.size).tolist())) if is_short else None
            return text(name, self.file, letters)
        if isinstance(read, Refused):
            return damaged(name, self.file, f"cannot be read: {read.error}")
        if kind != "logical" or found.dtype == "bool":
            return numbers(name, shape, found.dtype, read)

        def truths(start: int, stop: int) -> Array:
            return read(start, stop).astype(numpy_dtype("bool"))

        return numbers(name, shape, "bool", truths, found.dtype)

    def empty(self, found: Weight, kind: str, name: str) -> Item:
        """Return an array without numbers, of which the file has the shape."""
        dims = found.read(0, found.size).tolist() if found.size <= limits.RANK else []
        shape = checked_shape([int(length) for length in dims], self.file, name)
        if kind in ("char", "cell", "struct") or 0 not in shape:
            return text(name, self.file, "") if kind == "char" else damaged(name, self.file, f"is an empty {printable(kind)}")
        dtype = DTYPES.get(kind, "float64")

        def read(_start: int, _stop: int) -> Array:
            import numpy as np

            return np.empty(0, numpy_dtype(dtype))

        return numbers(name, shape, dtype, read)

    def sparse(self, header: ObjectHeader, kind: str, name: str) -> Item:
        from steelyard.formats.matlab.sparse import columns

        held = {link.name: link.address for link in links_of(header) if not link.kind}
        mark = attribute(header, _SPARSE)
        firsts = self.part(held, b"jc", name)
        found = [self.part(held, key, name) if key in held else None for key in (b"ir", b"data")]
        rows = int.from_bytes(mark.data[-8:], "little") if mark else 0
        shape = checked_shape((rows, firsts.size - 1), self.file, name)
        dtype = DTYPES["logical" if kind == "logical" else "double"]
        count = found[1].size if found[1] else 0
        if not found[0] or not found[1]:  # it has no numbers at all
            return columns(self.space.source, name, shape, dtype, (firsts.read, firsts.read, firsts.read), 0)

        def values(start: int, stop: int) -> Array:
            stored = found[1].read(start, stop) if found[1] else firsts.read(0, 0)
            return stored if stored.dtype.kind == "c" else stored.astype(numpy_dtype(dtype))

        word = found[1].dtype if found[1].dtype.startswith("complex") else dtype
        return columns(self.space.source, name, shape, word, (found[0].read, firsts.read, values), count)

    def part(self, held: dict[bytes, int], key: bytes, name: str) -> Weight:
        """Return a dataset of a sparse matrix."""
        if key not in held:
            raise FormatError(self.file, f"{printable(name)} is sparse and lacks {key.decode()}")
        found = dataset_weight(self.chunks, ObjectHeader(self.space, held[key]), f"{name}.{key.decode()}")
        if isinstance(found.read, Refused) or len(found.shape) != 1:
            raise FormatError(self.file, f"{printable(name)} is sparse, and its {key.decode()} are no list of numbers")
        return found

    def fields(self, header: ObjectHeader, name: str, depth: int) -> Iterator[Item]:
        """Yield the arrays of a struct, or of an array of structs, whose fields are lists of references."""
        links = {_word(link): link for link in links_of(header)}
        held = attribute(header, _FIELDS)
        order = texts(held) if held else None
        listed = [key for key in order if key in links] if isinstance(order, list) else []
        keys = [*dict.fromkeys([*listed, *links])]
        self.space.budget.spend(len(keys) * (COST + len(name)))
        many = {key: found for key in keys if (found := self.elements(links[key], name)) is not None}
        count = max(map(len, many.values()), default=0)
        if len(many) < len(keys) or {len(found) for found in many.values()} != {count}:
            for key in keys:
                yield from self.link(links[key], f"{name}.{key}", depth + 1)
            return
        for number in range(count):
            for key in keys:
                yield from self.array(many[key][number], f"{member(name, number, count)}.{key}", depth + 1)

    def elements(self, link: Link, name: str) -> list[int] | None:
        """Return where the values of a field are in an array of structs; None for a field of a single struct."""
        if link.kind:
            return None
        header = ObjectHeader(self.space, link.address)
        if not is_dataset(header) or any(key.startswith("MATLAB_") for key in names(header)):
            return None
        try:
            return references(self.chunks, header, f"{name}.{_word(link)}", _REFERENCES)
        except FormatError:
            return None
