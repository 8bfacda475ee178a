"""ExecuTorch: the constants of a program (`.pte`), by their own names or their places, as `forward.values[0]`.

    Program             6 plans, 8 constants {4: bytes}, 12 segments {4: offset, 6: bytes}, 14 constants in a segment
    ExecutionPlan       4 name, 8 values {4: kind, 6: value}
    Tensor              4 type of numbers, 8 length of each axis, 10 order of the axes, 14 number of the constant, 22 more
    SubsegmentOffsets   4 number of the segment, 6 offsets of the constants in it
    head                u32 offset of the program, "ET12"; "eh00", u32 bytes of the head, u64 bytes of the program,
                        u64 offset of the segments

Constants that a backend keeps in a form of its own are not in these tables. Source: `program.fbs` and `scalar_type.fbs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.limits import is_possible
from steelyard.core.readers import by_rows
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".pte",)

_MARKS = (b"ET12", b"ET13")
_EXTENDED = b"eh00"
_TENSOR = 5
"""the kind of a value that is a tensor"""
_TYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "", "complex64", "complex128", "bool")
_MORE = {15: "bfloat16", 23: "float8_e5m2", 24: "float8_e4m3fn", 25: "float8_e5m2fnuz", 26: "float8_e4m3fnuz"}
_MORE |= {27: "uint16", 28: "uint32", 29: "uint64", 12: "int8", 13: "uint8", 14: "int32"}


def sniff(source: Source) -> bool:
    """Recognise the identifier of a program."""
    return source.size > 32 and source.head(8)[4:] in _MARKS


def read(source: Source, scope: Scope) -> Weights:
    """List the constants of all plans in the order of their values. A program whose backends keep them says so in its notes."""
    program = root(source)
    constants = _Constants(source, program)
    listed = list(infer_roles(_weights(source, program, constants)))
    delegates = [delegate for plan in program.tables(6) for delegate in plan.tables(18)]
    named = sorted({printable(delegate.text(4), 40) for delegate in delegates})
    what = f"parts of the net were compiled for {', '.join(named)}, which keeps their weights in a form of its own"
    return Weights(listed, meta={"notes": [what]} if named else {})


class _Constants:
    """Where the constants of a program are: in its own tables, or in a segment behind it."""

    __slots__ = ("_places", "source")

    def __init__(self, source: Source, program: Table) -> None:
        self.source = source
        held = program.table(14)
        offsets = held.numbers(6, "Q") if held else ()
        if held and offsets:
            self._places = self._in_segment(program, held, offsets)
        else:
            self._places = [buffer.vector(4, 1) for buffer in program.tables(8)]

    def _in_segment(self, program: Table, held: Table, offsets: tuple[int, ...]) -> list[tuple[int, int]]:
        segments = list(program.tables(12))
        number = held.number(4, "I")
        if number >= len(segments) or self.source.read(8, 4) != _EXTENDED:
            raise FormatError(self.source.name, f"names the segment {number:,} of {len(segments):,}")
        base = int.from_bytes(self.source.read(24, 8), "little") + _length(segments[number], 4)
        end = _length(segments[number], 6)
        if base + end > self.source.size:
            raise FormatError(self.source.name, f"has a segment that ends at byte {base + end:,} of {self.source.size:,}")
        return [(base + first, max(last - first, 0)) for first, last in zip(offsets, (*offsets[1:], end), strict=True)]

    def reader(self, number: int, name: str, count: int, dtype: str) -> Reader:
        """Return a reader of a constant; one that is not there, or too short, raises the reason."""
        needed = count * itemsize(dtype)
        if number >= len(self._places):
            return Refused(
                FormatError(self.source.name, f"{printable(name)} names the constant {number:,} of {len(self._places):,}")
            )
        start, length = self._places[number]
        if length < needed or start + needed > self.source.size:
            what = f"{printable(name)} takes {needed:,} bytes, but {length:,} are stored"
            return Refused(FormatError(self.source.name, what, start))
        return self.source.numbers(start, dtype)


def _length(table: Table, field: int) -> int:
    """Return a number of eight bytes, or of four where its table has no more room, as in some programs."""
    shift = int.from_bytes(table.vtable[field : field + 2], "little")
    return table.number(field, "Q" if shift + 8 <= table.size else "I")


def _weights(source: Source, program: Table, constants: _Constants) -> Iterator[Weight]:
    seen: set[str] = set()
    for plan in program.tables(6):
        method = plan.text(4)
        for place, value in enumerate(plan.tables(8)):
            tensor = value.table(6) if value.number(4, "B") == _TENSOR else None
            number = tensor.number(14, "I") if tensor else 0
            if tensor is None or not number:  # 0 stands for memory of the run
                continue
            more = tensor.table(22)
            name = (more.text(6) if more else "") or f"{method}.values[{place}]"
            name = f"{method}.values[{place}]" if name in seen else name
            seen.add(name)
            yield _weight(source, tensor, name, number, constants)


def _weight(source: Source, tensor: Table, name: str, number: int, constants: _Constants) -> Weight:
    shape, order, kind = tensor.numbers(8, "i"), tensor.numbers(10, "B"), tensor.number(4, "b")
    dtype = (_TYPES[kind] if 0 <= kind < len(_TYPES) else _MORE.get(kind, "")) or UNKNOWN
    why = ""
    if dtype == UNKNOWN or not is_possible(shape):
        why = f"is of the type {kind} and the shape {list(shape)}, which is not one of numbers"
    elif order and (sorted(order) != list(range(len(shape)))):
        why = f"has the order {list(order)} of {len(shape)} axes"
    if why:
        return Weight(
            name=name, shape=(), dtype=UNKNOWN, read=Refused(FormatError(source.name, f"{printable(name)} {why}", tensor.at))
        )
    read = constants.reader(number, name, prod(shape), dtype)
    if list(order) != sorted(order) and not isinstance(read, Refused):
        read = _turned(read, shape, order)
    return Weight(name=name, shape=shape, dtype=dtype, read=read, layer=layer_of(name))


def _turned(read: Reader, shape: tuple[int, ...], order: tuple[int, ...]) -> Reader:
    """Return a reader in the order of the axes; the file has them in another, as channels last."""

    def rows(first: int, last: int) -> Array:
        stored = read(0, prod(shape)).reshape([shape[axis] for axis in order])
        return stored.transpose([order.index(axis) for axis in range(len(shape))])[first:last]

    return by_rows(shape, rows)
