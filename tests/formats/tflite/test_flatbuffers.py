"""FlatBuffers, written by the official builder, and damaged ones."""

import struct
from contextlib import suppress

import flatbuffers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import FormatError
from steelyard.formats.tflite.flatbuffers import root
from steelyard.storage.source import from_bytes


def built(name, numbers, repeats=1):
    """A table with a text, a vector, a number that is left out, and a vector of tables, all of them the same one."""
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


@given(st.text(max_size=30_000), st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_texts_vectors_and_tables_are_what_the_official_builder_wrote(name, numbers):
    table = root(from_bytes(built(name, numbers, 3)))
    assert table.text(4) == name
    assert list(table.numbers(6, "i")) == numbers
    assert table.number(8, "i", 5) == 5
    assert table.number(40, "i", 9) == 9
    assert [child.number(4, "h") for child in table.tables(10)] == [7, 7, 7]


def test_a_table_that_is_named_again_and_again_is_counted():
    table = root(from_bytes(built("a", [], 600_000)))
    assert sum(1 for _ in table.tables(10)) == 600_000
    with pytest.raises(FormatError, match="again and again"):
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
def test_a_root_that_is_no_table_is_refused(offset):
    with pytest.raises(FormatError):
        root(from_bytes(struct.pack("<I", offset) + bytes(20)))
