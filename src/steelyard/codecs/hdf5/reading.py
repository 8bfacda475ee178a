"""Reads HDF5 in Python alone: its tree, its attributes and its datasets, confined to the file itself.

HDF5's own library is C code that trusts the file: a changed byte can end the process or show its memory as numbers. Here a
damaged structure is an error. Soft and external links are listed and refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.hdf5.attributes import attribute, names, texts
from steelyard.codecs.hdf5.datasets import ChunkCache, dataset_weight, is_dataset, refused
from steelyard.codecs.hdf5.links import Link, is_group, links_of
from steelyard.codecs.hdf5.objects import ObjectHeader
from steelyard.codecs.hdf5.superblock import open_space
from steelyard.core.weight import Weight
from steelyard.errors import FormatError, UnsafeFileError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.space import Fields, Space
    from steelyard.storage.source import Source


class Hdf5File:
    """An open HDF5 file: its datasets by path, and the attributes of its groups."""

    __slots__ = ("_groups", "source", "tensors")

    def __init__(self, source: Source, groups: dict[str, ObjectHeader], tensors: dict[str, Weight]) -> None:
        self.source = source
        self._groups = groups
        self.tensors = tensors

    def attribute(self, path: str, name: str) -> str | list[str] | None:
        """Return the text or the list of texts in an attribute of a group; None where there is none that can be read."""
        try:
            held = self._attribute(path, name)
            return texts(held) if held else None
        except FormatError:
            return None

    def has_attribute(self, path: str, name: str) -> bool:
        """Whether a group has an attribute, of any type."""
        try:
            return self._attribute(path, name) is not None
        except FormatError:
            return False

    def root_texts(self) -> dict[str, str | list[str]]:
        """Return the attributes of the root that are texts or lists of texts; those that cannot be read are left out."""
        try:
            listed = names(self._groups[""]) if "" in self._groups else []
        except FormatError:
            return {}
        return {name: held for name in listed if (held := self.attribute("", name)) is not None}

    def _attribute(self, path: str, name: str) -> Fields | None:
        group = self._groups.get(path.strip("/"))
        return attribute(group, name) if group else None


class _Item(NamedTuple):
    """A dataset or a refused link: its path, the address of an object that can be read, and the weight that lists it."""

    path: str
    address: int | None
    weight: Weight


def open_hdf5(source: Source) -> Hdf5File:
    """List the datasets of a file in the order in which they were written.

    Raises `FormatError` for a damaged file.
    """
    space, root = open_space(source)
    groups: dict[str, ObjectHeader] = {}
    listed = _in_order([*_items(space, root, groups)], space.base)
    return Hdf5File(source, groups, {weight.name: weight for weight in _tied(listed)})


def by_path(hdf5: Hdf5File) -> list[Weight]:
    """Return every dataset by its full path, as HDF5 spells it: the layer is the group that holds it."""
    return [weight.replace(name=path, layer=path.rpartition("/")[0]) for path, weight in hdf5.tensors.items()]


LINK_COST = 1000
"""bytes of memory that a listed object takes, apart from its path"""


def _items(space: Space, root: int, groups: dict[str, ObjectHeader]) -> Iterator[_Item]:
    """Yield all datasets and refused links, and collect the groups. A group with several links is entered once."""
    chunks = ChunkCache(space)
    entered: dict[int, ObjectHeader] = {}
    stack = [("", Link(b"", root, ""))]
    while stack:
        path, link = stack.pop()
        if link.address in entered and not link.kind:
            groups[path] = entered[link.address]
            continue
        header = _header(space, link, path)
        if isinstance(header, FormatError):
            yield _Item(path, None, refused(path, header))
        elif is_group(header):
            entered[link.address] = groups[path] = header
            links = links_of(header)
            space.budget.spend(len(links) * (LINK_COST + len(path) * (2 + path.count("/"))))  # each keeps the paths above it
            prefix = f"{path}/" if path else ""
            stack.extend((prefix + child.name.decode("utf-8", "surrogateescape"), child) for child in reversed(links))
        else:
            yield _Item(path, link.address, _weight(chunks, header, path))


def _header(space: Space, link: Link, path: str) -> ObjectHeader | FormatError:
    """Return the object that a link leads to, or why it is refused. Raises `FormatError` for a damaged root."""
    name = space.source.name
    if link.kind:
        return UnsafeFileError(name, f"{printable(path)} is {link.kind} link, which is not followed")
    try:
        return ObjectHeader(space, link.address)
    except FormatError as error:
        if not path:
            raise
        return FormatError(name, f"{printable(path)} cannot be opened: {error}")


def _weight(chunks: ChunkCache, header: ObjectHeader, path: str) -> Weight:
    if is_dataset(header):
        return dataset_weight(chunks, header, path)
    why = f"{printable(path)} is a named type, which has no numbers"
    return refused(path, FormatError(chunks.space.source.name, why))


def _in_order(listed: list[_Item], base: int) -> Iterator[_Item]:
    """Sort by the offsets of the data, group by group: HDF5 lists by name, but allocates in the order of writing."""
    first: dict[str, int] = {}
    ranks = [_rank(item, base) for item in listed]
    for rank, item in zip(ranks, listed, strict=True):
        for group in _groups(item.path):
            first[group] = min(first.get(group, rank), rank)
    keys = [[*((first[g], g) for g in _groups(item.path)), (rank, item.path)] for rank, item in zip(ranks, listed, strict=True)]
    return (item for _, item in sorted(zip(keys, listed, strict=True), key=itemgetter(0)))


def _rank(item: _Item, base: int) -> int:
    if isinstance(item.weight.read, Stored):
        return item.weight.read.offset
    return sys.maxsize if item.address is None else base + item.address


def _groups(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _tied(listed: Iterable[_Item]) -> Iterator[Weight]:
    """Yield the weights; a dataset with several links is tied to its first link."""
    first: dict[int, str] = {}
    for path, address, weight in listed:
        owner = path if address is None else first.setdefault(address, path)
        yield weight if owner == path else weight.replace(tied=owner)
