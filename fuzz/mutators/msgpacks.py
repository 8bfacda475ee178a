"""MessagePack: values and keys are changed in the tree, and packed again; arrays in extensions as MessagePack of their own."""

import msgpack

from mutators import fields

OTHERS = (None, True, 0, -1, 1 << 63, 1.5, "", b"", "x", [], [0, 1], msgpack.ExtType(1, b""), msgpack.ExtType(3, b"\x93"))


class Pairs(list):
    """The pairs of a map: a key may be there twice."""


def recognises(data):
    """Whether the bytes are one packed map or list."""
    if data[0] & 0xE0 != 0x80 and data[0] not in (0xDC, 0xDD, 0xDE, 0xDF):
        return False
    try:
        _unpack(data)
    except Exception:  # noqa: BLE001 - every library has errors of its own
        return False
    return True


def _unpack(data):
    return msgpack.unpackb(data, object_pairs_hook=Pairs, strict_map_key=False, unicode_errors="surrogateescape")


def mutate(data, chance):
    """Return a changed tree, packed."""
    tree = _unpack(data)
    for _ in range(chance.choice((1, 1, 2))):
        tree = _changed(tree, chance)
    return b"".join(_pack(tree, msgpack.Packer(unicode_errors="surrogatepass")))


def _pack(tree, packer):
    if isinstance(tree, Pairs):
        yield packer.pack_map_header(len(tree))
        for key, value in tree:
            yield from _pack(key, packer)
            yield from _pack(value, packer)
    elif isinstance(tree, list):
        yield packer.pack_array_header(len(tree))
        for value in tree:
            yield from _pack(value, packer)
    else:
        yield packer.pack(tree)


def _changed(value, chance):
    if isinstance(value, msgpack.ExtType):
        if chance.random() < 0.1:
            return msgpack.ExtType(fields.number(chance, value.code, 7), value.data)
        change = mutate if recognises(value.data) else fields.mutate
        return msgpack.ExtType(value.code, change(value.data, chance))
    if isinstance(value, list) and value:
        return _changed_list(value, chance)
    return _other(value, chance)


def _changed_list(value, chance):
    at = chance.randrange(len(value))
    if chance.random() < 0.2:
        fields.pieces(chance, value)
    elif isinstance(value, Pairs):
        key, inner = value[at]
        value[at] = (_changed(key, chance), inner) if chance.random() < 0.2 else (key, _changed(inner, chance))
    else:
        value[at] = _changed(value[at], chance)
    return value


def _other(value, chance):
    if chance.random() < 0.2:
        return chance.choice(OTHERS)
    if isinstance(value, bytes):
        return fields.mutate(value, chance)
    if isinstance(value, str):
        return fields.text(chance, value)
    return fields.number(chance, value, 63) if isinstance(value, int) else chance.choice(OTHERS)
