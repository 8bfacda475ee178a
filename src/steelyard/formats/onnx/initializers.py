"""The initializers of a graph in columns, and a fast way to decode those that are alike: a model may have hundreds of thousands.

Nearly all are of a few kinds; those of one kind differ in their names and their elements only:

    before  2a length of the tensor
    head    08 length, for each axis | 10 data_type | if the elements come next: 22, 2a or 3a, their length
            elements of float_data, int32_data or int64_data
    name    42 length, text
    tail    4a length, if the elements come next
            elements of raw_data

The first of a kind is decoded in the general way, which alone knows what a head and a tail mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from steelyard.codecs.protobuf import message
from steelyard.errors import FormatError
from steelyard.formats.onnx.tensor_records import NODE_COST, Elements, TensorProto, tensor_of
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.protobuf import Take

INITIALIZER, _NAME = 0x2A, 0x42
"""The tags of an initializer in a graph, and of the name in a tensor."""
_SHORT = rb"[\x80-\xff]?[\x00-\x7f]"
_AXIS = rb"\x08[\x80-\xff]{0,8}[\x00-\x7f]"
_HEAD = re.compile(rb"(?:" + _AXIS + rb"){0,8}\x10[\x00-\x7f](?:[\x22\x2a\x3a]" + _SHORT + rb")?")
_KINDS = 4096
"""Kinds that are looked for; the tensors of others are all decoded in the general way."""


class Kind:
    """What tensors with the same head and tail have in common: all but the name and the elements.

    `tensor` is one of them, as if it began at offset 0. `facts` are the place of the name's tag, the tail, the bytes of the
    elements, and whether they come last.
    """

    __slots__ = ("facts", "tensor")

    def __init__(self, tensor: TensorProto, facts: tuple[int, bytes, int, bool]) -> None:
        self.tensor = tensor
        self.facts = facts

    def named(self, name: str, offset: int) -> TensorProto:
        """Return the tensor of this kind with another name, whose elements are at an offset of the file."""
        (run,) = self.tensor.elements
        by = offset - run.offset
        tensor = TensorProto()
        tensor.name, tensor.kind, tensor.dims = name, self.tensor.kind, list(self.tensor.dims)
        tensor.begin = by - (len(name.encode()) - len(self.tensor.name.encode()) if self.facts[3] else 0)
        tensor.elements = [Elements.packed_run(run.number, run.begin + by, offset, run.end + by)]
        return tensor


class Initializers:
    """Tensors in columns: the name of each, its kind and the offset of its elements in the file.

    One that is like no other stands in place of its kind.
    """

    __slots__ = ("kinds", "names", "offsets")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kinds: list[Kind | TensorProto] = []
        self.offsets: list[int] = []

    def __iter__(self) -> Iterator[TensorProto]:
        for name, kind, offset in zip(self.names, self.kinds, self.offsets, strict=True):
            yield kind.named(name, offset) if isinstance(kind, Kind) else kind

    def append(self, tensor: TensorProto) -> None:
        """Add a tensor of any kind."""
        self.names.append(tensor.name)
        self.kinds.append(tensor)
        self.offsets.append(0)


class Alike:
    """Decodes the tensors of a file that are like one before, and charges them.

    `_sizes` are the lengths of the heads of all kinds, `_sought` the number of tensors whose kind was new.
    """

    __slots__ = ("_budget", "_kinds", "_sizes", "_sought")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._kinds: dict[bytes, Kind] = {}
        self._sizes: list[int] = []
        self._sought = 0

    def taking(self, into: Initializers) -> Take:
        """Return what takes the initializers of a page that are alike, and adds them to others."""
        return partial(self._take, into)

    def _take(self, into: Initializers, page: bytes, base: int, place: int, end: int) -> int:
        before, most = len(into.names), self._budget.left // NODE_COST
        kinds, name_as, kind_as, offset_as = self._kinds, into.names.append, into.kinds.append, into.offsets.append
        # without a call for each tensor, this takes a seventh of the time of the general way
        while most and place + 3 < end and page[place] == INITIALIZER:
            begin, length = place + 2, page[place + 1]
            if length > 0x7F:
                begin, length = place + 3, length + (page[place + 2] - 1 << 7)
            stop, kind = begin + length, None
            for size in self._sizes:
                if kind := kinds.get(page[begin : begin + size]):
                    break
            if stop > end or (kind is None and (kind := self._found(page[place:stop], begin - place)) is None):
                break
            name_at, tail, nbytes, is_last = kind.facts
            text = begin + name_at + 2
            if text > stop or page[text - 2] != _NAME or (width := page[text - 1]) > 0x7F:
                break
            after = text + width
            if after + len(tail) + nbytes * is_last != stop or (tail and page[after : after + len(tail)] != tail):
                break
            try:
                name_as(page[text:after].decode())
            except UnicodeDecodeError:  # the general way makes escapes of other bytes
                break
            kind_as(kind)
            offset_as(base + (stop if is_last else text - 2) - nbytes)
            place, most = stop, most - 1
        self._budget.spend(NODE_COST * (len(into.names) - before))
        return place

    def _found(self, field: bytes, begin: int) -> Kind | None:
        """Return the kind of a tensor with a new head, which begins there in a field; None where it is like no other."""
        head = _HEAD.match(field, begin)
        if head is None or self._sought == _KINDS:
            return None
        self._sought += 1
        data = field[begin:]
        try:
            kind = _kind_of(tensor_of(message(from_bytes(data)), 0, self._budget), head[0], data)
        except FormatError:  # the general way raises it with the place in the file
            return None
        if kind is not None:
            self._kinds[head[0]] = kind
            # the longest first: a head without elements may be the beginning of one with them
            self._sizes = sorted({*map(len, self._kinds)}, reverse=True)
        return kind


def _kind_of(tensor: TensorProto, head: bytes, data: bytes) -> Kind | None:
    """Return the kind of a tensor if its head, its name and one run of elements take all of its bytes."""
    if len(tensor.elements) != 1 or tensor.external is not None or tensor.strings:
        return None
    (run,) = tensor.elements
    width, is_last = len(tensor.name.encode()), run.begin > len(head)
    at = len(head) if is_last else run.end
    after = at + 2 + width
    tail = data[after : run.offset] if is_last else b""
    ends = (run.begin, run.end) == (after, len(data)) if is_last else (run.offset, after) == (len(head), len(data))
    if not ends or not run.packed or data[at:after] != bytes([_NAME, width % 0x80]) + tensor.name.encode():
        return None
    return Kind(tensor, (at, tail, run.end - run.offset, is_last))
