"""Object headers: the messages that describe a group, a dataset or a named type.

Version 1                                      Version 2, from HDF5 1.8 on
0   1  version, 1                              0   4  "OHDR"
1   1  reserved                                4   1  version, 2
2   2  number of messages                      5   1  flags: 3 bits of the size's width, 4: order, 16: limits, 32: times
4   4  number of links to the object           6   n  four times (16 bytes), two limits (4 bytes), as flagged
8   4  bytes of messages                           n  bytes of messages
12  4  padding                                        messages, then the checksum of all
16     messages                                of a continued block: "OCHK", messages, checksum
message: type 2, size 2, flags 1, reserved 3   message: type 1, size 2, flags 1, order 2 if flagged
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from steelyard.codecs.hdf5.space import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.hdf5.space import Space

Parsed = TypeVar("Parsed")

DATASPACE, LINK_INFO, DATATYPE, OLD_FILL, FILL, LINK, EXTERNAL_FILES, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 11, 12, 16, 17, 21

_MESSAGE_1 = Struct("<HHB3x")
_KEPT = 256  # contents of messages of each type that are kept with what they say
SHARED = 2  # the flag of a message that is in another object, such as a named type


class Message(NamedTuple):
    """The content of one message, and whether it only says where the content is."""

    content: bytes
    shared: bool


class ObjectHeader:
    """The messages of one object, by their types, in the order in which they are stored."""

    __slots__ = ("address", "messages", "space")

    def __init__(self, space: Space, address: int) -> None:
        self.space = space
        self.address = address
        self.messages: dict[int, list[Message]] = {}
        old = space.read(address, 4) != b"OHDR"
        for kind, message in (_version_1 if old else _version_2)(space, address):
            self.messages.setdefault(kind, []).append(message)

    def fields(self, kind: int) -> Fields | None:
        """Return the fields of the first message of a type; None without one."""
        held = self.messages.get(kind)
        return self.message_fields(kind, held[0]) if held else None

    def parsed(self, kind: int, parse: Callable[[Fields], Parsed]) -> Parsed:
        """Return what the first message of a type says. Datasets repeat a few types and shapes, so each is parsed once.

        The object must have such a message; what it says must not depend on where it is.
        """
        message = self.messages[kind][0]
        if message.shared:
            return parse(self.message_fields(kind, message))
        known = self.space.parsed.setdefault(kind, {})
        if message.content not in known:
            if len(known) >= _KEPT:
                known.clear()
            known[message.content] = parse(self.message_fields(kind, message))
        found: Parsed = known[message.content]
        return found

    def message_fields(self, kind: int, message: Message) -> Fields:
        """Return the fields of a message, which may be shared with another object."""
        fields = Fields(self.space, message.content, self.address)
        return shared_fields(fields, kind) if message.shared else fields


# Shared message: version 1 (1: then 7 bytes of padding, 2: then 1), type, address of the object that has it.
# Version 3 has a type: 1 for a table of shared messages in the file, 2 for another object.
def shared_fields(fields: Fields, kind: int) -> Fields:
    """Return the fields of the message that a shared one refers to."""
    space, version, place = fields.space, fields.uint(), fields.uint()
    if version == 1:
        fields.take(6)
    elif version == 3 and place == 1:
        raise space.error("keeps a type in the file's table of shared messages, which is not supported", fields.address)
    address = fields.existing_offset()
    messages = [m for k, m in (_version_1 if space.read(address, 4) != b"OHDR" else _version_2)(space, address) if k == kind]
    if not messages or messages[0].shared:
        raise space.error("is damaged: a shared message is not where it should be", fields.address)
    return Fields(space, messages[0].content, address)


def _version_1(space: Space, address: int) -> Iterator[tuple[int, Message]]:
    head = space.fields(address, 12)
    if head.uint() != 1:
        raise space.error("is damaged: no object header where one is expected", address)
    head.take(7)
    blocks, entered = [(address + 16, head.uint(4))], {address + 16}
    for start, length in blocks:
        content = space.read(start, length)
        at = 0
        while at + 8 <= length:
            kind, size, flags = _MESSAGE_1.unpack_from(content, at)
            at += 8 + size
            if at > length:
                raise space.error("is damaged: a message reaches past the end of its object header", start)
            message = Message(content[at - size : at], bool(flags & SHARED))
            if kind == CONTINUATION:
                _continue(Fields(space, message.content, start), blocks, entered)
            elif kind:
                yield kind, message


def _continue(fields: Fields, blocks: list[tuple[int, int]], entered: set[int]) -> None:
    """Add the next block of an object header, which is in another place."""
    start, length = fields.existing_offset(), fields.length()
    if start in entered:
        raise fields.space.error("is damaged: an object header continues in itself", start)
    entered.add(start)
    blocks.append((start, length))


def _version_2(space: Space, address: int) -> Iterator[tuple[int, Message]]:
    head = space.fields(address, 6, b"OHDR")
    if head.uint() != 2:
        raise space.error("has an object header of an unknown version", address)
    flags = head.uint()
    before = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(space.read(address + before, width), "little")
    blocks, entered = [(address, before + width + length + 4)], {address}
    for start, size in blocks:
        fields = space.checked(start, size, b"OHDR" if start == address else b"OCHK")
        fields.take(before + width - 4 if start == address else 0)
        while fields.rest() - 4 >= 4 + (2 if flags & 4 else 0):
            kind, length, marks = fields.uint(), fields.uint(2), fields.uint()
            fields.take(2 if flags & 4 else 0)
            message = Message(fields.take(length), bool(marks & SHARED))
            if kind == CONTINUATION:
                _continue(Fields(space, message.content, start), blocks, entered)
            elif kind:
                yield kind, message
