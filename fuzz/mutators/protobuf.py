"""Protocol buffers without their schema: a field at any depth is changed, and the lengths around it repaired."""

from mutators import fields

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}


def recognises(data):
    """Whether the bytes are a message."""
    return bool(_parsed(data))


def mutate(data, chance):
    """Return a message with one to three changed fields."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = _changed(data, chance, 0)
    return data


def varint(value):
    """Return a number in groups of seven bits."""
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def _take(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("too long")


def _parsed(data):
    """Return the (number, wire type, content) of each field; None if this is not a message."""
    at, found = 0, []
    try:
        while at < len(data):
            tag, at = _take(data, at)
            number, wire = tag >> 3, tag & 7
            if wire == VARINT:
                value, at = _take(data, at)
            elif wire == LENGTH:
                size, at = _take(data, at)
                value, at = data[at : at + size], at + size
            else:
                value, at = data[at : at + WIDTHS[wire]], at + WIDTHS[wire]
            if not number or at > len(data):
                return None
            found.append((number, wire, value))
    except (IndexError, KeyError, ValueError):
        return None
    return found


def _written(message):
    return b"".join(
        varint(number << 3 | wire)
        + (varint(value) if wire == VARINT else varint(len(value)) + value if wire == LENGTH else value)
        for number, wire, value in message
    )


def _changed(data, chance, depth):
    message = _parsed(data)
    if not message:
        return fields.mutate(data, chance)
    if chance.random() < 0.12:
        fields.pieces(chance, message)
        return _written(message)
    at = chance.randrange(len(message))
    number, wire, value = message[at]
    what = chance.random()
    if what < 0.06:
        number = fields.number(chance, number, 6) or 1
    elif what < 0.08:
        wire, value = chance.choice(((VARINT, 1), (FIXED32, b"\0\0\0\1"), (FIXED64, b"\1" * 8), (LENGTH, b"x")))
    elif wire == VARINT:
        value = fields.number(chance, value)
    elif wire == LENGTH:
        value = _piece(value, chance, depth)
    else:
        value = fields.mutate(value, chance)[: len(value)].ljust(len(value), b"\0")
    message[at] = number, wire, value
    return _written(message)


def _piece(value, chance, depth):
    """Change a message, a text, packed numbers or raw bytes, which look alike."""
    if depth < 60 and chance.random() < 0.85 and _parsed(value):
        return _changed(value, chance, depth + 1)
    if chance.random() < 0.5:
        return fields.text(chance, value.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
    if chance.random() < 0.3:
        return b"".join(varint(fields.number(chance, byte)) for byte in value[:8])
    return fields.mutate(value, chance)
