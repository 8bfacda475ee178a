"""R's serializations: flags, lengths and texts of items are changed, and items moved; lines of those in ASCII."""

import struct

from mutators import fields, recorded

TYPES = (1, 2, 3, 4, 6, 9, 10, 13, 14, 15, 16, 19, 20, 21, 22, 24, 25, 238, 239, 242, 249, 251, 253, 254, 255)


def recognises(data):
    """Whether this is an uncompressed `.rds` or `.rda`."""
    return data.startswith((b"X\n\0\0\0", b"A\n", b"RDX", b"RDA", b"B\n"))


def mutate(data, chance):
    """Return a serialization with one to three changes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = _lines(data, chance) if data.startswith((b"A\n", b"RDA")) else _binary(data, chance)
    return data


def _lines(data, chance):
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    if chance.random() < 0.3:
        fields.pieces(chance, lines)
    elif lines[at].lstrip(b"-").isdigit():
        lines[at] = b"%d" % chance.choice((fields.number(chance, int(lines[at]), 33), -1, chance.choice(TYPES)))
    else:
        lines[at] = fields.text(chance, lines[at].decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _binary(data, chance):
    integers, texts = recorded.r_fields(data)
    what = chance.random()
    if texts and what < 0.2:
        at, length = chance.choice(texts)
        new = fields.text(chance, data[at : at + length].decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
        return data[: at - 4] + struct.pack(">i", len(new)) + new + data[at + length :]
    at = chance.choice(integers)
    if what < 0.35:  # another type, with the same attributes
        return data[: at + 3] + bytes((chance.choice(TYPES),)) + data[at + 4 :]
    if what < 0.75:
        return fields.in_place(chance, data, [(at, 4), (at, 4), (at + 2, 1)], "big")
    start, end = sorted((at, chance.choice(integers)))
    if what < 0.9:  # an item, or several, in another place
        return data[:at] + data[start : min(end, start + 400)] + data[at:]
    return data[:start] + data[min(end, start + 400) :] if what < 0.95 else fields.mutate(data, chance)
