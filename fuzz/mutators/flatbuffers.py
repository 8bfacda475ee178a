"""FlatBuffers without their schema: fields of tables, found from the root, and vtables, offsets and lengths of vectors."""

import struct

from mutators import fields

TABLES = 2000


def recognises(data):
    """Whether this is a model of TensorFlow Lite."""
    return data[4:8] == b"TFL3"


def mutate(data, chance):
    """Return a buffer with another number in a field of a table, or an offset that leads to another table."""
    spans, places = _walked(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if chance.random() < 0.2:
            at, width = chance.choice(spans)
            target = chance.choice(places)
            if width == 4 and target > at:
                data = data[:at] + struct.pack("<I", target - at) + data[at + 4 :]
                continue
        data = fields.in_place(chance, data, spans)
    return data if chance.random() < 0.97 else data[: chance.randrange(8, len(data))]


def _walked(data):
    """Return the (offset, width) of fields, and the places of tables and vectors."""
    spans, places, left = [(0, 4)], [], [struct.unpack_from("<I", data)[0]]
    while left and len(places) < TABLES:
        at = left.pop()
        if at in places or at + 4 > len(data):
            continue
        places.append(at)
        vtable = at - struct.unpack_from("<i", data, at)[0]
        if 0 <= vtable <= len(data) - 4 and 4 <= (size := struct.unpack_from("<H", data, vtable)[0]) <= 256 and size % 2 == 0:
            spans += [(at, 4), (vtable, 2), (vtable + 2, 2)]
            for entry in range(vtable + 4, min(vtable + size, len(data) - 1), 2):
                spans.append((entry, 2))
                offset = struct.unpack_from("<H", data, entry)[0]
                if offset and at + offset + 4 <= len(data):
                    spans += [(at + offset, width) for width in (1, 4, 4)]
                    left += _followed(data, at + offset)
        else:
            spans.append((at, 4))
            count = struct.unpack_from("<I", data, at)[0]
            for item in range(at + 4, min(at + 4 + 4 * count, len(data) - 3), 4):
                spans.append((item, 4))
                left += _followed(data, item)
                if item > at + 400:
                    break
    return spans, places


def _followed(data, at):
    """Return where a field leads to, if it is an offset."""
    target = at + struct.unpack_from("<I", data, at)[0]
    return [target] if at < target <= len(data) - 4 else []
