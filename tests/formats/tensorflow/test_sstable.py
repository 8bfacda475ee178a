"""Sorted string tables by hand, sound and damaged."""

import pytest

from steelyard.codecs import limits
from steelyard.codecs.crc32c import crc32c, unmasked
from steelyard.errors import FormatError
from steelyard.formats.tensorflow.sstable import KEY_COST, MAGIC, entries
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


def table(*blocks, size=None, more=0):
    """A table of data blocks, whose index block and footer follow; the footer claims `more` bytes of the index block."""
    data, index = b"", b""
    for number, one in enumerate(blocks):
        handle = varint(len(data)) + varint(len(one) - 5 if size is None else size)
        index += entry(0, bytes([number]), handle)
        data += one
    handle = varint(len(data)) + varint(len(block(index)) - 5 + more)
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


ONE = block(entry(0, b"a", b"x"))


@pytest.mark.parametrize("more", [1, 5, 43, 48, 49])
def test_a_block_that_reaches_into_the_footer_or_out_of_the_file_is_refused_before_it_is_read(more):
    with pytest.raises(FormatError, match="reaches past the end of the index"):
        read(table(ONE, more=more))
    assert read(table(ONE)) == [(b"a", b"x")], "the index block ends where the footer begins"


def test_a_block_is_at_most_as_large_as_the_limit(monkeypatch):
    large = block(entry(0, b"a", b"x" * 100))
    monkeypatch.setattr(limits, "SNAPPY_BLOCK", len(large) - 5)
    assert read(table(large)) == [(b"a", b"x" * 100)]
    monkeypatch.setattr(limits, "SNAPPY_BLOCK", len(large) - 6)
    with pytest.raises(FormatError, match="reaches past the end of the index"):
        read(table(large))


def test_every_key_costs_memory():
    two = table(block(entry(0, b"a", b"") + entry(0, b"b", b"")))
    cost = 2 * (KEY_COST + 2 * len(b"a"))
    with limits.allow(MEMORY=cost, MEMORY_PER_BYTE=0):
        assert len(read(two)) == 2
    with limits.allow(MEMORY=cost - 1, MEMORY_PER_BYTE=0), pytest.raises(FormatError, match="takes more than"):
        read(two)


def test_a_block_may_have_no_entries_and_a_first_key_may_be_empty():
    assert read(table(block(b""), ONE)) == [(b"a", b"x")]
    assert read(table(block(b"", restarts=0), ONE)) == [(b"a", b"x")]
    assert read(table(block(entry(0, b"", b"x") + entry(0, b"a", b"")))) == [(b"", b"x"), (b"a", b"")]


def snappy(*elements, size):
    """A block that Snappy compressed into these elements, with the trailer of such a block."""
    data = varint(size) + b"".join(elements) + b"\1"
    crc = crc32c(data)
    return data + (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def literal(text, wide=0):
    """A literal whose length is in its tag, or in `wide` bytes that follow it."""
    tag = (59 + wide if wide else len(text) - 1) << 2
    return bytes([tag]) + ((len(text) - 1).to_bytes(wide, "little") if wide else b"") + text


def copy(length, back, kind):
    """A copy of earlier output, of `length` bytes from `back` bytes before."""
    if kind == 1:
        return bytes([1 | (length - 4) << 2 | back >> 8 << 5, back & 255])
    return bytes([kind | (length - 1) << 2]) + back.to_bytes({2: 2, 3: 4}[kind], "little")


TAIL = bytes(4) + (1).to_bytes(4, "little")  # one restart, and their number


def packed(value, *elements):
    """A table of one key whose value is compressed into these elements."""
    head = varint(0) + varint(1) + varint(len(value)) + b"a"
    return table(snappy(literal(head), *elements, literal(TAIL), size=len(head) + len(value) + len(TAIL)))


@pytest.mark.parametrize(("length", "wide"), [(1, 0), (60, 0), (1, 1), (61, 1), (256, 1), (257, 2), (70_000, 3), (300, 4)])
def test_a_literal_of_any_length_is_unpacked(length, wide):
    text = bytes(range(256)) * (length // 256 + 1)
    assert read(packed(text[:length], literal(text[:length], wide))) == [(b"a", text[:length])]


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize(("length", "back"), [(4, 4), (11, 11), (4, 1), (11, 3), (5, 20), (7, 300), (11, 511)])
def test_a_copy_repeats_what_is_before_it_and_may_overlap_itself(kind, length, back):
    text = bytearray(bytes(range(251)) * 3)
    wanted = bytearray(text)
    for _ in range(length):
        wanted.append(wanted[-back])
    assert read(packed(wanted, literal(bytes(text), 2), copy(length, back, kind))) == [(b"a", bytes(wanted))]


def test_the_longest_copy_has_sixty_four_bytes():
    assert read(packed(b"ab" * 33, literal(b"ab"), copy(64, 2, 2))) == [(b"a", b"ab" * 33)]


@pytest.mark.parametrize(
    ("elements", "size"),
    [
        ((literal(b"abc"), copy(4, 0, 2)), 7),
        ((literal(b"abc"), copy(4, 4, 2)), 7),
        ((literal(b"abc"),), 4),
        ((literal(b"abc"),), 2),
        ((literal(b"abcd")[:-1],), 4),
        ((literal(b"abc"), copy(4, 3, 2)[:-2]), 7),
        ((), 1),
    ],
    ids=["distance of zero", "before the output", "too little", "too much", "cut literal", "cut copy", "nothing"],
)
def test_a_compressed_block_that_does_not_unpack_to_its_size_is_refused(elements, size):
    with pytest.raises(FormatError, match="does not unpack to its size"):
        read(table(snappy(*elements, size=size)))


def test_a_small_block_that_would_unpack_to_a_large_one_is_refused(monkeypatch):
    sound = packed(b"x" * 4, literal(b"x" * 4))
    stored = len(varint(16)) + 1 + 4 + 1 + 4 + 1 + 8  # the size, and three literals with their tags
    monkeypatch.setattr(limits, "SNAPPY_RATIO", 1)
    assert read(sound) == [(b"a", b"xxxx")]
    with pytest.raises(FormatError, match=f"a block of {stored} bytes would unpack to {stored + 1}; refused"):
        read(table(snappy(bytes(stored - 1), size=stored + 1)))
