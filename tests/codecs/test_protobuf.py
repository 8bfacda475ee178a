"""The wire format, compared with Google's own library."""

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from steelyard.codecs.protobuf import BYTES, VARINT, Replacement, message, replaced, tag, unpacked, varint
from steelyard.errors import FormatError
from steelyard.storage.source import Source, from_bytes


@given(st.text(), st.integers(-(2**31), 2**31 - 1), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_texts_numbers_and_nested_messages_are_read_as_the_official_library_wrote_them(name, number, path):
    proto = descriptor_pb2.FileDescriptorProto(name=name)
    proto.source_code_info.location.add(path=path)
    proto.message_type.add(name="m").field.add(number=number)
    found = {field.number: field for field in message(from_bytes(proto.SerializeToString()))}
    assert found[1].text() == name
    (described,) = [field for field in found[4].message() if field.number == 2]
    assert [field.signed() for field in described.message() if field.number == 3] == [number]
    (location,) = [field for field in found[9].message() if field.number == 1]
    assert [n for field in location.message() for n in field.integers()] == path


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_a_packed_run_decodes_to_the_numbers_that_were_packed(numbers):
    def varint(value):
        while value > 127:
            yield value & 127 | 128
            value >>= 7
        yield value

    packed = bytes(byte for number in numbers for byte in varint(number))
    assert unpacked(packed, len(numbers)).tolist() == numbers
    if packed:
        with pytest.raises(ValueError, match="numbers"):
            unpacked(packed, len(numbers) - 1)
        with pytest.raises(ValueError, match="cut off"):
            unpacked(packed + b"\x80", len(numbers) + 1)


def test_a_field_of_a_gigabyte_is_skipped_without_being_read():
    size, head, tail = 1 << 30, b"\x0a\x80\x80\x80\x80\x04", b"\x10\x07"
    asked = []

    def fill(offset, buffer):
        asked.append(len(buffer))
        whole = head if offset == 0 else b"\0" * (len(head) + size - offset) + tail
        buffer[: len(whole)] = whole[: len(buffer)]

    source = Source("big", len(head) + size + len(tail), fill, lambda name: None)
    fields = [(f.number, f.wire, f.length, f.value) for f in message(source)]
    assert fields == [(1, BYTES, size, 0), (2, VARINT, 0, 7)]
    assert sum(asked) < 100_000


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x0a\x05ab", "claims 5 bytes"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "claims"),
        (b"\x08\x80", "cut off"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "64 bits"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "64 bits"),
        (b"\x00\x01", "field number 0"),
        (b"\x0e", "wire type 6"),
        (b"\x0b\x08\x01", "not closed"),
        (b"\x0c", "not opened"),
        (b"\x0b" * 200, "too deep"),
    ],
)
def test_bytes_that_do_not_follow_the_wire_format_are_refused(data, what):
    with pytest.raises(FormatError, match=what):
        list(message(from_bytes(data)))


def test_a_group_is_skipped():
    assert [f.number for f in message(from_bytes(b"\x0b\x08\x01\x12\x01a\x0c\x18\x02"))] == [3]


def test_messages_a_hundred_levels_deep_are_read_and_deeper_ones_refused():
    def nested(levels):
        data = b""
        for _ in range(levels):
            length = len(data)
            data = b"\x0a" + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + data
        return data

    def depth(fields):
        return sum(1 + depth(field.message()) for field in fields)

    assert depth(message(from_bytes(nested(100)))) == 100
    with pytest.raises(FormatError, match="levels deep"):
        depth(message(from_bytes(nested(102))))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        for field in message(from_bytes(data)):
            assert field.offset + field.length <= len(data)
    except FormatError:
        pass


def test_a_number_of_a_packed_run_has_at_most_ten_bytes():
    assert unpacked(b"\xff" * 9 + b"\x01", 1).tolist() == [2**64 - 1]
    with pytest.raises(ValueError, match="longer than ten bytes"):
        unpacked(b"\x80" * 10 + b"\x00", 1)


def test_an_empty_run_unpacks_to_no_numbers():
    assert unpacked(b"", 0).dtype == np.uint64


def described(outer, names):
    proto = descriptor_pb2.FileDescriptorProto(name=outer)
    for name in names:
        proto.message_type.add(name="m").field.add(name=name, number=7)
    return proto.SerializeToString()


def renamed(field, name):
    new = tag(field.number, BYTES) + varint(len(name)) + name.encode()
    return Replacement(field.begin, field.offset + field.length, len(new), lambda: [new])


@pytest.mark.parametrize("length", [0, 1, 100, 130, 20_000])
def test_fields_are_replaced_at_any_depth_and_the_lengths_around_them_follow(length):
    source = from_bytes(described("outer", ["one", "two", "three"]))
    (outer, *inner) = message(source)
    fields = [field for each in inner for field in each.message() if field.number == 2]
    names = [field for each in fields for field in each.message() if field.number == 1]
    new = ["x" * length, "two", "y" * (length + 1)]
    replacements = [renamed(names[2], new[2]), renamed(outer, "new"), renamed(names[0], new[0])]
    assert b"".join(replaced(source, replacements)) == described("new", new)
    assert b"".join(replaced(source, [])) == described("outer", ["one", "two", "three"])


def test_fields_are_removed_by_an_empty_replacement():
    source = from_bytes(described("outer", ["one", "two"]))
    (_, first, second) = message(source)
    removed = Replacement(first.begin, second.begin, 0, list)
    assert b"".join(replaced(source, [removed])) == described("outer", ["two"])


@pytest.mark.parametrize("number", [0, 1 << 62, (1 << 63) - 1, -1, -(1 << 62) - 1, -(1 << 63)])
def test_signed_integers_have_64_bits(number):
    unsigned = number % (1 << 64)
    (field,) = message(from_bytes(tag(1, VARINT) + varint(unsigned)))
    assert (field.signed(), field.unsigned(), field.integers()) == (number, unsigned, [number])
    (run,) = message(from_bytes(tag(1, BYTES) + varint(len(varint(unsigned))) + varint(unsigned)))
    assert run.integers() == [number]


def test_a_field_across_the_end_of_a_page_is_read():
    text = b"t" * 300
    for shift in range(8):
        filling = bytes((1 << 14) - shift - 4)
        data = tag(1, BYTES) + varint(len(filling)) + filling + tag(1000, BYTES) + varint(len(text)) + text + b"\x08\x07"
        small = tag(2, VARINT) + varint(5) + data  # the first page begins with a field before the long one
        for whole in (data, small):
            assert [(field.number, field.length) for field in message(from_bytes(whole))][-2:] == [(1000, 300), (1, 0)]
