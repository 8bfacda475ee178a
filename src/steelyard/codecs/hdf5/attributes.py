"""The attributes of an object, in its header or in a heap of their own.

Attribute message: version 1, flags 1 (1: shared type, 2: shared space), bytes of the name 2, of the type 2, of the space 2,
of version 3 the character set 1; then name, type, space and value, the first three padded to 8 bytes in version 1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.hdf5.dataspace import dataspace
from steelyard.codecs.hdf5.heaps import GlobalHeap, in_heap
from steelyard.codecs.hdf5.objects import ATTRIBUTE, ATTRIBUTE_INFO, DATASPACE, DATATYPE, SHARED, shared_fields
from steelyard.codecs.hdf5.space import Fields
from steelyard.codecs.hdf5.types import STRING, datatype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.hdf5.objects import ObjectHeader
    from steelyard.codecs.hdf5.types import Datatype

_BY_NAME = 8  # the type of the tree of an object's attributes by their names


def attribute(header: ObjectHeader, name: str) -> Fields | None:
    """Return the message of an attribute after its name; None where there is none."""
    word = name.encode()
    for fields in _messages(header):
        start = fields.at
        if _named(fields) == word:
            fields.at = start
            return fields
    return None


def names(header: ObjectHeader) -> list[str]:
    """Return the names of all attributes, in the order of the file."""
    return [_named(fields).decode("utf-8", "replace") for fields in _messages(header)]


def _messages(header: ObjectHeader) -> Iterator[Fields]:
    for message in header.messages.get(ATTRIBUTE, ()):
        yield header.message_fields(ATTRIBUTE, message)
    yield from _dense(header)


# Record of the tree by name: identifier in the heap 8, flags of the message 1, order 4, hash 4
def _dense(header: ObjectHeader) -> Iterator[Fields]:
    for heap, record in in_heap(header.fields(ATTRIBUTE_INFO), 2, _BY_NAME):
        identifier = record.take(8)
        if record.uint() & SHARED:
            raise header.space.error("keeps an attribute in the file's table of shared messages, which is not supported")
        yield Fields(header.space, heap.object(identifier), header.address)


def _named(fields: Fields) -> bytes:
    """Return the name, whose length is known before it."""
    version = fields.uint()
    fields.uint()
    length = fields.uint(2)
    fields.take(4 + (1 if version == 3 else 0))  # with a character set
    return fields.take(length).rstrip(b"\0")


def texts(fields: Fields) -> str | list[str] | None:
    """Return the text or the list of texts in an attribute; None for any other type, rank or length."""
    version, flags, name_bytes, type_bytes, space_bytes = (fields.uint(n) for n in (1, 1, 2, 2, 2))
    fields.take(1 if version == 3 else 0)  # the character set
    unit = 8 if version == 1 else 1
    fields.take(_padded(name_bytes, unit))
    kind = datatype(_part(fields, type_bytes, unit, DATATYPE if flags & 1 else 0))
    shape = dataspace(_part(fields, space_bytes, unit, DATASPACE if flags & 2 else 0))
    if shape is None or len(shape) > 1:
        return None
    count = shape[0] if shape else 1
    if count * kind.size > fields.rest() or not (kind.kind == STRING or kind.is_varying_text):
        return None
    items = _items(fields, kind, count)
    return items if shape or items is None else items[0]


def _items(fields: Fields, kind: Datatype, count: int) -> list[str] | None:
    """Return texts of a fixed length, or of varying ones in a global heap: length 4, address of the heap, index 4."""
    if kind.kind == STRING:
        return [_text(fields.take(kind.size)) for _ in range(count)]
    places = [(fields.uint(4), fields.offset(), fields.uint(4)) for _ in range(count)]
    if sum(length for length, _, _ in places) > limits.JSON:
        return None
    return [_text(_varying(fields, *place)) for place in places]


def _varying(fields: Fields, length: int, address: int | None, index: int) -> bytes:
    if not length or not address:
        return b""
    return GlobalHeap.at(fields.space, address).text(fields.space, index, length)


def _part(fields: Fields, length: int, unit: int, shared: int) -> Fields:
    """Return the fields of a type or a space inside the message."""
    inner = Fields(fields.space, fields.take(_padded(length, unit))[:length], fields.address)
    return shared_fields(inner, shared) if shared else inner


def _padded(length: int, unit: int) -> int:
    return -(-length // unit) * unit


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
