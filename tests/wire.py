"""Protocol buffers and FlatBuffers made of bytes, for the tests of the audit."""

import struct

from steelyard.codecs.protobuf import BYTES, VARINT, tag, varint


def field(number, *contents):
    """Return a field: a text, a number, or a message of fields."""
    if len(contents) == 1 and isinstance(contents[0], int):
        return tag(number, VARINT) + varint(contents[0])
    content = b"".join(part.encode() if isinstance(part, str) else part for part in contents)
    return tag(number, BYTES) + varint(len(content)) + content


class _Flat:
    def __init__(self):
        self.data = bytearray(8)

    def root(self, fields, identifier=b"\0\0\0\0"):
        at = self.table(fields)
        self.data[:8] = struct.pack("<I", at) + identifier
        return bytes(self.data)

    def table(self, fields):
        places = sorted(fields)
        size = 4 + 4 * len(places)
        count = (max(places, default=2) - 4) // 2 + 1
        vtable = struct.pack("<2H", 4 + 2 * count, size) + b"".join(
            struct.pack("<H", 4 + 4 * places.index(4 + 2 * slot) if 4 + 2 * slot in places else 0) for slot in range(count)
        )
        begin = len(self.data)
        self.data += vtable
        self.data += bytes(-len(self.data) % 4)
        at = len(self.data)
        self.data += struct.pack("<i", at - begin) + bytes(4 * len(places))
        for number, place in enumerate(places):
            self.point(at + 4 + 4 * number, fields[place])
        return at

    def point(self, at, value):
        if isinstance(value, int):
            struct.pack_into("<I", self.data, at, value)
            return
        if isinstance(value, str):
            target = len(self.data)
            self.data += struct.pack("<I", len(value)) + value.encode() + b"\0"
            self.data += bytes(-len(self.data) % 4)
        elif isinstance(value, list):
            target = len(self.data)
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for number, each in enumerate(value):
                self.point(target + 4 + 4 * number, each)
        else:
            target = self.table(value)
        struct.pack_into("<I", self.data, at, target - at)


def flat_file(fields, identifier):
    """Return a file of FlatBuffers: tables are dicts of texts, numbers, tables and vectors (lists) by their vtable places."""
    return _Flat().root(fields, identifier)
