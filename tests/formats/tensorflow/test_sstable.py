"""Sorted string tables by hand, sound and damaged."""

import pytest

from steelyard.errors import FormatError
from steelyard.formats.tensorflow.crc32c import crc32c, unmasked
from steelyard.formats.tensorflow.sstable import MAGIC, entries
from steelyard.storage.source import from_bytes


def varint(value):
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def entry(shared, key, value):
    return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


def block(content, restarts=1, kind=0, change=0):
    """A block with its trailer: compression and masked checksum."""
    data = content + bytes(4 * restarts) + restarts.to_bytes(4, "little") + bytes([kind])
    crc = crc32c(data) ^ change
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert unmasked(masked) == crc
    return data + masked.to_bytes(4, "little")


def table(*blocks, size=None):
    """A table of data blocks, whose index block and footer follow."""
    data, index = b"", b""
    for number, one in enumerate(blocks):
        handle = varint(len(data)) + varint(len(one) - 5 if size is None else size)
        index += entry(0, bytes([number]), handle)
        data += one
    handle = varint(len(data)) + varint(len(block(index)) - 5)
    return data + block(index) + (varint(300) + varint(8) + handle).ljust(40, b"\0") + MAGIC


def read(data):
    return list(entries(from_bytes(data, "model.index")))


def test_a_key_shares_its_beginning_with_the_key_before_it():
    first = block(entry(0, b"dense/bias", b"1") + entry(6, b"kernel", b"22") + entry(12, b"/m", b""), restarts=2)
    assert read(table(first, block(entry(0, b"last", b"x" * 200)))) == [
        (b"dense/bias", b"1"),
        (b"dense/kernel", b"22"),
        (b"dense/kernel/m", b""),
        (b"last", b"x" * 200),
    ]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (table(block(entry(0, b"b", b"") + entry(0, b"a", b""))), "not in order"),
        (table(block(entry(0, b"a", b"") + entry(0, b"a", b""))), "not in order"),
        (table(block(entry(0, b"b", b"")), block(entry(0, b"a", b""))), "not in order"),
        (table(block(entry(0, b"a", b"") + entry(2, b"b", b""))), "shares more than there is"),
        (table(block(varint(0) + varint(1) + varint(2) + b"a" + b"1")), "reaches past its block"),
        (table(block(b"\0\0")), "cut off, or too long"),
        (table(block(entry(0, b"a", b""), change=1)), "does not match its checksum"),
        (table(block(entry(0, b"a", b""), kind=2)), "compressed by method 2"),
        (table(block(entry(0, b"a", b"")), size=1 << 20), "past the end of the index"),
        (table(block(entry(0, b"a", b"")))[:-1], "does not end as an index"),
    ],
)
def test_a_table_that_is_damaged_is_refused(data, what):
    with pytest.raises(FormatError, match=what):
        read(data)


def test_more_restarts_than_the_block_has_room_for_are_refused():
    content = entry(0, b"a", b"")
    sound = block(content)
    claimed = content + bytes(4) + (99).to_bytes(4, "little") + b"\0"
    masked = crc32c(claimed)
    masked = ((masked >> 15 | masked << 17) + 0xA282EAD8) & 0xFFFFFFFF
    with pytest.raises(FormatError, match="claims 99 restarts"):
        read(table(claimed + masked.to_bytes(4, "little")))
    assert read(table(sound)) == [(b"a", b"")]
