"""ONNX's tensors as plain records, and a fast way to decode small ones: a model may have hundreds of thousands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.codecs.protobuf import BYTES, Field

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget

NODE_COST = 500
"""bytes of memory that a node, an attribute, a tensor or a further run of its elements takes"""

RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED = 9, 4, 5, 7, 10, 11
"""The numbers of a TensorProto's fields for elements: raw_data, float_data, int32_data, int64_data, double_data, uint64_data."""


class Elements:
    """Adjacent elements of a repeated field, from the first tag at `begin` to `end`: one packed run, or single ones.

    `number` is the number of the field itself, `field` that of the TensorProto's field for such elements.
    """

    __slots__ = ("begin", "end", "field", "number", "offset", "packed")

    def __init__(self, field: Field) -> None:
        self.field = self.number = field.number
        self.packed = field.wire == BYTES
        self.begin = field.begin
        self.offset = field.offset
        self.end = field.offset + field.length

    @staticmethod
    def packed_run(number: int, begin: int, offset: int, end: int) -> Elements:
        """Return the elements of one packed run: its tag is at `begin`, its content from `offset` to `end`."""
        run = Elements.__new__(Elements)
        run.field = run.number = number
        run.packed, run.begin, run.offset, run.end = True, begin, offset, end
        return run

    def takes(self, field: Field) -> bool:
        """Extend these by the next field, if it is a single element of the same field and adjacent. Return whether it is."""
        fits = not self.packed and field.wire != BYTES and field.number == self.number and field.begin == self.end
        if fits:
            self.end = field.offset + field.length
        return fits


class TensorProto:
    """A tensor: its name, type and shape, and where its elements are."""

    __slots__ = ("begin", "dims", "elements", "external", "kind", "name", "strings")

    def __init__(self) -> None:
        self.name = ""
        self.kind = 0
        self.dims: list[int] = []
        self.elements: list[Elements] = []
        self.external: dict[str, str] | None = None
        self.strings = False
        self.begin = 0


# TensorProto
# 1 dims, repeated   2 data_type      4 float_data   5 int32_data    6 string_data
# 7 int64_data       8 name           9 raw_data     10 double_data  11 uint64_data
# 13 external_data, repeated          14 data_location: 1 is external
def tensor_of(fields: Iterable[Field], begin: int, budget: Budget) -> TensorProto:
    """Decode a TensorProto from its fields, which are at the offset `begin`; the budget pays for runs of elements."""
    tensor, entries, external = TensorProto(), dict[str, str](), False
    tensor.begin = begin
    for inner in fields:
        number = inner.number
        if number == 1:
            tensor.dims += inner.integers()
        elif number == 2:
            tensor.kind = inner.signed()
        elif number == 6:
            tensor.strings = True
        elif number == 8:
            tensor.name = inner.text()
        elif number in (RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED):
            extend(tensor.elements, inner, budget)
        elif number == 13:
            key, value = pair(inner)
            entries[key] = value
        elif number == 14:
            external = inner.unsigned() == 1
    tensor.external = entries if external else None
    return tensor


def extend(elements: list[Elements], field: Field, budget: Budget) -> None:
    """Add a field to elements: to the last run, or as another one, for which the budget pays even if it is empty."""
    if elements and elements[-1].takes(field):
        return
    if elements:
        budget.spend(NODE_COST, field.begin)
    elements.append(Elements(field))


# StringStringEntryProto: 1 key, 2 value
def pair(field: Field) -> tuple[str, str]:
    """Decode a key and its value."""
    texts = {inner.number: inner.text(1 << 16) for inner in field.message() if inner.number in (1, 2)}
    return texts.get(1, ""), texts.get(2, "")


_SMALL = 512
"""bytes of a tensor that is decoded so; a longer one may have axes without end"""
_RUNS = {number << 3 | BYTES: number for number in (RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED)}
"""The fields for elements by their tags, as packed runs."""


# TensorProto: 1 dims and 2 data_type, varints; 8 name; 4, 5, 7, 9, 10, 11 elements, packed
def small_tensor(data: bytes, base: int) -> TensorProto | None:
    """Decode a TensorProto whose tags, lengths and numbers are single bytes, several times faster; None for any other.

    `base` is the offset of the data.
    """
    end = len(data)
    if end > _SMALL:
        return None
    tensor = TensorProto()
    tensor.begin = base
    place = 0
    while place + 1 < end:
        tag, value = data[place], data[place + 1]
        begin, place = place, place + 2
        if value > 0x7F:
            return None
        if tag == 0x08:
            tensor.dims = tensor.dims + [value]  # noqa: RUF005 - a list that is made at once is smaller than one that has grown
        elif tag == 0x10:
            tensor.kind = value
        else:
            after = place + value
            if after > end:
                return None
            if tag == 0x42:
                tensor.name = data[place:after].decode("utf-8", "backslashreplace")
            elif tag in _RUNS:
                run = Elements.packed_run(_RUNS[tag], base + begin, base + place, base + after)
                tensor.elements = tensor.elements + [run]  # noqa: RUF005
            else:
                return None
            place = after
    return tensor if place == end else None
