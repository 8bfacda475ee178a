"""The links of a group: to objects of this file, and soft or external ones, which are never followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.hdf5.btrees import GROUP, leaves
from steelyard.codecs.hdf5.heaps import in_heap, local_heap
from steelyard.codecs.hdf5.objects import LINK, LINK_INFO, SYMBOL_TABLE
from steelyard.codecs.hdf5.space import Fields

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.objects import ObjectHeader

_BY_NAME = 5  # the type of the tree of a group's links by their names
_SOFT_CACHE = 2  # a symbol of an old group that is a soft link
_KINDS = {0: "", 1: "a soft", 64: "an external"}


class Link(NamedTuple):
    """A link: its name, the address of the object's header, and its kind, which is blank for a link to an object here."""

    name: bytes
    address: int
    kind: str


def is_group(header: ObjectHeader) -> bool:
    """Whether an object is a group."""
    return not header.messages.keys().isdisjoint((SYMBOL_TABLE, LINK_INFO, LINK))


def links_of(header: ObjectHeader) -> list[Link]:
    """Return the links of a group, by their names in the order of bytes."""
    found = [*_symbols(header), *_messages(header), *_dense(header)]
    return sorted(found, key=lambda link: link.name)


# Symbol table: address of the B-tree, address of the local heap with the names.
# Symbol node: "SNOD", version 1, reserved 1, number 2, then symbols:
# offset of the name in the heap, address of the object, kind 4 (2 for a soft link), reserved 4, scratch 16
def _symbols(header: ObjectHeader) -> Iterator[Link]:
    fields = header.fields(SYMBOL_TABLE)
    if fields is None:
        return
    space = header.space
    tree, heap = fields.existing_offset(), local_heap(space, fields.existing_offset())
    entered: set[int] = set()
    for _, node in leaves(space, tree, GROUP, space.length_bytes):
        if node in entered:
            raise space.error("is damaged: a group lists the same symbols twice", node)
        entered.add(node)
        head = space.fields(node, 8, b"SNOD")
        head.take(2)
        count, width = head.uint(2), 2 * space.address_bytes + 24
        symbols = space.fields(node + 8, count * width)
        for _ in range(count):
            yield _symbol(symbols, heap)


def _symbol(symbols: Fields, heap: Fields) -> Link:
    at, address, kind = symbols.uint(symbols.space.address_bytes), symbols.offset(), symbols.uint(4)
    symbols.take(20)
    name = Fields(heap.space, heap.data, heap.address, at).text()
    if kind == _SOFT_CACHE or address is None:
        return Link(name, 0, _KINDS[1])
    return Link(name, address, "")


def _messages(header: ObjectHeader) -> Iterator[Link]:
    for message in header.messages.get(LINK, ()):
        yield _link(header.message_fields(LINK, message))


# Link message: version 1; flags: 2 bits of the width of the name's length, 4: order, 8: kind, 16: character set;
# kind 1, order 8, character set 1, each if flagged; length of the name, name; of a link to an object here: its address
def _link(fields: Fields) -> Link:
    fields.uint()
    flags = fields.uint()
    kind = fields.uint() if flags & 8 else 0
    fields.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = fields.take(fields.uint(1 << (flags & 3)))
    if kind == 0:
        return Link(name, fields.existing_offset(), "")
    return Link(name, 0, _KINDS.get(kind, "an unknown"))


# Record of the tree by name: hash 4, identifier in the heap
def _dense(header: ObjectHeader) -> Iterator[Link]:
    for heap, record in in_heap(header.fields(LINK_INFO), 8, _BY_NAME):
        record.take(4)
        yield _link(Fields(header.space, heap.object(record.take(record.rest())), header.address))
