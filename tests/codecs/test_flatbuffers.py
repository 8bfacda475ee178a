"""FlatBuffers, written by the official builder, and damaged ones."""

import struct
from contextlib import suppress

import flatbuffers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.codecs import flatbuffers as flatbuffers_of_ours
from steelyard.codecs import limits
from steelyard.codecs.flatbuffers import TABLE_COST, root
from steelyard.errors import FormatError
from steelyard.storage.source import Source, from_bytes


def built(name, numbers, repeats=1):
    """A table with a text, a vector, an absent number, and a vector that has the same table several times."""
    builder = flatbuffers.Builder()
    text = builder.CreateString(name)
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependInt32(number)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependInt16Slot(0, 7, 0)
    child = builder.EndObject()
    builder.StartVector(4, repeats, 4)
    for _ in range(repeats):
        builder.PrependUOffsetTRelative(child)
    children = builder.EndVector()
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    builder.PrependInt32Slot(2, 0, 0)
    builder.PrependUOffsetTRelativeSlot(3, children, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


@given(st.builds(str.__mul__, st.text(max_size=20), st.integers(0, 2000)), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_texts_vectors_and_tables_are_read_as_the_official_builder_wrote_them(name, numbers):
    table = root(from_bytes(built(name, numbers, 3)))
    assert table.text(4) == name
    assert list(table.numbers(6, "i")) == numbers
    assert table.number(8, "i", 5) == 5
    assert table.number(40, "i", 9) == 9
    assert [child.number(4, "h") for child in table.tables(10)] == [7, 7, 7]


def test_a_table_that_is_listed_repeatedly_is_counted_each_time():
    with limits.allow(MEMORY=1000 * TABLE_COST, MEMORY_PER_BYTE=0):
        table = root(from_bytes(built("a", [], 600)))
    assert sum(1 for _ in table.tables(10)) == 600
    with pytest.raises(FormatError, match="takes more than 100,000 bytes"):
        list(table.tables(10))


@given(st.data())
def test_any_damage_is_read_or_refused(data):
    whole = bytearray(built("name", [1, 2, 3]))
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FormatError):
        table = root(from_bytes(bytes(whole)))
        table.text(4)
        table.numbers(6, "i")
        list(table.tables(10))


@pytest.mark.parametrize("offset", [0, 3, 1 << 20, (1 << 32) - 1])
def test_a_root_that_is_not_a_table_is_refused(offset):
    with pytest.raises(FormatError):
        root(from_bytes(struct.pack("<I", offset) + bytes(20)))


FIELDS, TEXT = struct.pack("<Ii", 8, -5), struct.pack("<I", 3) + b"abc\0"


def by_hand(vtable=(8, 12, 4, 8), fields=FIELDS, rest=TEXT):
    """A root table of two fields: a text that follows the table, and a number."""
    begin = 4 + 2 * len(vtable)
    data = struct.pack("<I", begin) + struct.pack(f"<{len(vtable)}H", *vtable)
    return data + struct.pack("<i", 2 * len(vtable)) + fields + rest


def test_fields_are_at_the_places_in_the_vtable():
    table = root(from_bytes(by_hand()))
    assert (table.text(4), table.number(6, "i"), table.number(8, "i", 7)) == ("abc", -5, 7)
    swapped = root(from_bytes(by_hand(vtable=(8, 12, 8, 4), fields=struct.pack("<iI", -5, 4))))
    assert (swapped.text(4), swapped.number(6, "i")) == ("abc", -5)
    absent = root(from_bytes(by_hand(vtable=(8, 12, 0, 8))))
    assert (absent.text(4), absent.table(4), list(absent.tables(4)), absent.number(6, "i")) == ("", None, [], -5)


@pytest.mark.parametrize(
    ("data", "read", "what"),
    [
        (by_hand(vtable=(7, 12, 4, 8)), lambda table: table, "invalid vtable"),
        (by_hand(vtable=(2, 12, 4, 8)), lambda table: table, "invalid vtable"),
        (by_hand(vtable=(8, 3, 4, 8)), lambda table: table, "invalid vtable"),
        (by_hand(vtable=(8, 40, 4, 8)), lambda table: table, "past the end of the file"),
        (by_hand(vtable=(8, 12, 3, 8)), lambda table: table.text(4), "field 4 is outside its table"),
        (by_hand(vtable=(8, 12, 4, 9)), lambda table: table.number(6, "i"), "field 6 is outside its table"),
        (by_hand(vtable=(8, 12, 4, 8)), lambda table: table.number(6, "q"), "field 6 is outside its table"),
        (by_hand(rest=struct.pack("<I", 5) + b"abc\0"), lambda table: table.text(4), "a vector claims 5 elements"),
        (by_hand(rest=struct.pack("<I", 2) + b"abc\0"), lambda table: table.numbers(4, "i"), "2 elements of 4 bytes"),
        (by_hand(fields=struct.pack("<Ii", 999, 0)), lambda table: table.text(4), "partial download"),
    ],
)
def test_a_field_outside_its_table_or_the_file_is_refused(data, read, what):
    with pytest.raises(FormatError, match=what):
        read(root(from_bytes(data)))


def test_a_vector_that_ends_with_the_file_is_read():
    data = by_hand(rest=struct.pack("<I2i", 2, 3, 4))
    assert root(from_bytes(data)).numbers(4, "i") == (3, 4)


def test_numbers_across_the_end_of_a_page_are_read():
    for shift in range(8):
        padding = bytes((1 << 13) - 32 + shift)
        data = by_hand(fields=struct.pack("<Ii", 8 + len(padding), 0), rest=padding + struct.pack("<I", 3) + b"abc\0")
        assert root(from_bytes(data)).text(4) == "abc"


def test_a_table_without_fields_is_a_vtable_of_four_bytes_and_may_end_with_the_file():
    empty = root(from_bytes(by_hand(vtable=(4, 4), fields=b"", rest=b"")))
    assert (empty.number(4, "i", 7), empty.text(4), empty.numbers(6, "i")) == (7, "", ())
    last = root(from_bytes(by_hand(vtable=(6, 8, 4), fields=struct.pack("<i", -5), rest=b"")))
    assert last.number(4, "i") == -5
    with pytest.raises(FormatError, match="past the end of the file"):
        root(from_bytes(by_hand(vtable=(6, 9, 4), fields=struct.pack("<i", -5), rest=b"")))


def test_a_vtable_before_the_file_is_refused():
    data = bytearray(by_hand())
    data[12:16] = struct.pack("<i", 13)
    with pytest.raises(FormatError, match="partial download"):
        root(from_bytes(bytes(data)))


@pytest.mark.parametrize("what", ["numbers", "text"])
def test_every_64_bytes_of_a_vector_count_as_a_table(what):
    table = root(from_bytes(built("a" * 640, list(range(160)))))

    def read():
        return table.numbers(6, "i") if what == "numbers" else table.text(4)

    before = table.data.source.spent
    assert len(read()) == (160 if what == "numbers" else 640)
    assert table.data.source.spent - before == 10 * TABLE_COST


def test_a_text_has_at_most_as_many_bytes_as_the_limit(monkeypatch):
    table = root(from_bytes(built("abcd", [])))
    monkeypatch.setattr(limits, "TEXT", 4)
    assert table.text(4) == "abcd"
    monkeypatch.setattr(limits, "TEXT", 3)
    with pytest.raises(FormatError, match="a text claims 4 bytes"):
        table.text(4)


def test_only_so_many_pages_are_kept(monkeypatch):
    monkeypatch.setattr(flatbuffers_of_ours, "_PAGES", 3)
    data = bytes(range(256)) * (10 * flatbuffers_of_ours._PAGE // 256)
    pages = flatbuffers_of_ours.Pages(from_bytes(data))
    for number in range(10):
        assert pages.read(number * flatbuffers_of_ours._PAGE + 5, 2) == b"\5\6"
        assert 1 <= len(pages._kept) <= 3
    with pytest.raises(FormatError, match="partial download"):
        pages.read(len(data) - 1, 2)


def test_a_page_is_read_once_and_what_is_larger_than_a_page_is_read_whole():
    reads, page = [], flatbuffers_of_ours._PAGE
    data = bytes(range(256)) * (3 * page // 256)

    def fill(offset, buffer):
        reads.append((offset, len(buffer)))
        buffer[:] = data[offset : offset + len(buffer)]

    pages = flatbuffers_of_ours.Pages(Source("a", len(data), fill, from_bytes))
    for offset, length in ((0, 4), (4, page - 4), (page, 1), (2 * page - 1, 1)):
        assert pages.read(offset, length) == data[offset : offset + length]
    assert reads == [(0, page), (page, page)]
    assert pages.read(10, page + 1) == data[10 : page + 11]
    assert reads[2:] == [(10, page + 1)]
