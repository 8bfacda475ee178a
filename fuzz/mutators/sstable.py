"""Indexes of TensorFlow checkpoints: keys and messages are changed, and the table is written again with true checksums."""

from mutators import fields, protobuf
from steelyard.codecs.crc32c import crc32c

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48


def recognises(data):
    """Whether the file ends as such a table does."""
    return data[-8:] == MAGIC


def mutate(data, chance):
    """Return a table with a changed entry, list of entries or block."""
    _, at = protobuf._take(data, len(data) - FOOTER)
    _, at = protobuf._take(data, at)
    entries = [entry for _, handle in _entries(_block(data, at)) for entry in _entries(_block(handle, 0, data))]
    what = chance.random()
    at = chance.randrange(len(entries))
    key, value = entries[at]
    if what < 0.6:
        entries[at] = key, protobuf.mutate(value, chance)
    elif what < 0.75:
        entries[at] = fields.text(chance, key.decode("utf-8", "replace")).encode("utf-8", "surrogatepass"), value
    elif what < 0.85:
        fields.pieces(chance, entries)
    return _table(entries if chance.random() < 0.2 else sorted(entries), chance if what >= 0.85 else None)


def _block(data, at, file=None):
    start, at = protobuf._take(data, at)
    size, _ = protobuf._take(data, at)
    return (file or data)[start : start + size]


def _entries(block):
    """Yield the keys and values of a block, whose keys share the beginning of those before."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = protobuf._take(block, at)
        fresh, at = protobuf._take(block, at)
        size, at = protobuf._take(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + size]
        at += fresh + size


def _table(entries, chance):
    """Write a table of one block; with `chance` its bytes are changed before the checksum."""
    out = b""

    def written(block):
        nonlocal out
        if chance and chance.random() < 0.5:
            block = fields.mutate(block, chance)
        start, out = len(out), out + block + b"\0" + _masked(crc32c(block + b"\0")).to_bytes(4, "little")
        return protobuf.varint(start) + protobuf.varint(len(block))

    handle = written(_packed(entries))
    empty = written(_packed([]))
    index = written(_packed([((entries or [(b"", b"")])[-1][0] + b"\xff", handle)]))
    return out + (empty + index).ljust(FOOTER - 8, b"\0") + MAGIC


def _packed(entries):
    out, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        out += b"".join(map(protobuf.varint, (shared, len(key) - shared, len(value)))) + key[shared:] + value
        before = key
    return out + bytes(4) + b"\1\0\0\0"


def _masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
