"""TensorFlow's checkpoints of the first version (V1): tables of tensors in slices, without files of numbers next to them.

NAME, or NAME-00000-of-00002    sorted string table
    ""                          SavedTensorSlices of what is in the table: 1 {1: tensors, 2: version}
    key of a slice              SavedTensorSlices of its numbers: 2 {1: name, 2: slice, 3: TensorProto}; see `slice_key`

    SavedSliceMeta              1 name, 2 shape, 3 type, 4 slices, repeated

A slice is the whole tensor unless the variable is partitioned; its message is parsed when its numbers are read. Source:
`saved_tensor_slice.proto`, and `tensor_slice_writer.h` of TensorFlow.
"""

from __future__ import annotations

import re
from functools import cache
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.protobuf import BYTES, message
from steelyard.codecs.tensor_proto import QUANTISED, TYPES, parsed, reader, refused
from steelyard.core.weight import Refused, Weight
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted
from steelyard.formats.tensorflow.slices import Extent, box_of, extents_of, joined, shape_of, slice_key
from steelyard.formats.tensorflow.sstable import KEY_COST, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Slices = list[tuple[tuple[Extent, ...], Table]]

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_META = b"\n"
"""The first byte of what is under the empty key: the tag of the list of tensors, where a bundle has a number."""


def is_first_version(source: Source) -> bool:
    """Whether a table is a checkpoint of the first version, and not the index of a bundle."""
    listed = Table(source).get(b"")
    return listed is not None and listed.head(1) == _META


class SavedSlices:
    """A checkpoint of the first version, with all of its files."""

    __slots__ = ("_tensors", "meta", "source")

    def __init__(self, source: Source) -> None:
        """Read the lists of tensors. Raises `FormatError` for a table that is damaged; files that are missing are noted."""
        self.source = source
        self.meta: dict[str, object] = {"checkpoint_version": 1}
        self._tensors: dict[str, tuple[_Tensor, Slices]] = {}
        for name in _names(source):
            try:
                file = source if name is None else source.beside(name)
            except FileMissingError:
                lacking = self.meta.setdefault("incomplete", [])
                assert isinstance(lacking, list)
                lacking.append(f"lacks the file {quoted(name)}")
                continue
            self._add(Table(file))

    def text(self, key: bytes) -> None:
        """Return None: there is no object graph."""

    def weights(self) -> Iterator[Weight]:
        """Yield all tensors in the order in which they were saved. A partitioned tensor is one weight."""
        for name, (tensor, slices) in self._tensors.items():
            dtype = TYPES.get(tensor.kind, "")
            if tensor.wrong or not dtype or not is_possible(tensor.shape):
                what = tensor.wrong or f"is of the type {tensor.kind} and the shape {printable(list(tensor.shape))}"
                yield refused(name, FormatError(self.source.name, f"{printable(name)} {what}, which is not read"))
                continue
            read = self._reader(name, tensor.shape, dtype, slices)
            yield Weight(name=name, shape=tensor.shape, dtype=dtype, encoding=QUANTISED.get(tensor.kind, dtype), read=read)

    def _add(self, table: Table) -> None:
        listed, budget = table.get(b""), Budget(table.source)
        if listed is None:
            raise FormatError(table.source.name, "has no list of its tensors")
        for part in message(listed):
            for field in part.message() if part.number == 1 and part.wire == BYTES else ():
                if field.number == 1 and field.wire == BYTES:
                    budget.spend(KEY_COST)
                    tensor = _tensor(field, budget)
                    known, slices = self._tensors.setdefault(tensor.name, (tensor, []))
                    if (known.shape, known.kind) != (tensor.shape, tensor.kind) or len(slices) > limits.BUNDLE_SLICES:
                        what = f"{printable(tensor.name)} has two shapes or types, or too many slices"
                        raise FormatError(table.source.name, what, field.begin)
                    slices += [(extents, table) for extents in tensor.slices]

    def _reader(self, name: str, shape: tuple[int, ...], dtype: str, slices: Slices) -> Reader:
        """Return a reader of a tensor, or one that raises the reason why it cannot be read."""
        pieces: list[tuple[list[Extent], Reader]] = []
        for extents, table in slices:
            box = box_of(extents, shape)
            if box is None:
                what = f"a slice of {printable(name)} does not fit its shape {list(shape)}"
                return Refused(FormatError(table.source.name, what))
            pieces.append((box, _slice(table, name, extents, prod(length for _, length in box), dtype)))
        if len(pieces) == 1 and pieces[0][0] == [(0, length) for length in shape]:
            return pieces[0][1]
        try:
            return joined(self.source, name, shape, dtype, pieces)
        except SteelyardError as error:
            return Refused(error)


class _Tensor:
    """What the list of a table says of a tensor."""

    __slots__ = ("kind", "name", "shape", "slices", "wrong")

    def __init__(self) -> None:
        self.name = self.wrong = ""
        self.shape: tuple[int, ...] = ()
        self.kind = 0
        self.slices: list[tuple[Extent, ...]] = []


def _names(source: Source) -> list[str | None]:
    """Return the names of all files of a checkpoint; None is the file itself, where it is the only one."""
    own = (source.path or source.name).replace("\\", "/").rpartition("/")[2]
    match = _SHARD.search(own)
    count = int(match[2]) if match else 0
    if match is None or not int(match[1]) < count <= limits.SHARDS:
        return [None]
    return [f"{own[: match.start()]}-{place:05d}-of-{count:05d}" for place in range(count)]


def _tensor(field: Field, budget: Budget) -> _Tensor:
    tensor = _Tensor()
    for inner in field.message():
        if inner.number == 1:
            tensor.name = inner.data().decode("utf-8", "surrogateescape")
        elif inner.number == 2:
            tensor.shape, tensor.wrong = shape_of(inner.message())
        elif inner.number == 3:
            tensor.kind = inner.unsigned()
        elif inner.number == 4:
            budget.spend(KEY_COST)
            tensor.slices.append(extents_of(inner))
    return tensor


def _slice(table: Table, name: str, extents: tuple[Extent, ...], count: int, dtype: str) -> Reader:
    """Return a reader of the numbers of a slice, whose message is found and parsed when they are read first."""

    @cache
    def found() -> Reader:
        key = slice_key(name.encode("utf-8", "surrogateescape"), extents)
        held = table.get(key)
        if held is None:
            raise FormatError(table.source.name, f"a slice of {printable(name)} is missing")
        for part in message(held):
            for field in part.message() if part.number == 2 and part.wire == BYTES else ():
                if field.number == 3 and field.wire == BYTES:
                    budget = Budget(table.source)
                    return reader(parsed(field, budget), name, count, dtype, budget)
        raise FormatError(table.source.name, f"a slice of {printable(name)} has no numbers")

    def read(start: int, stop: int) -> Array:
        return found()(start, stop)

    return read
