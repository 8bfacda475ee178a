"""MNN: the weights and constants of the operators of a net (`.mnn`), by the names of the operators, as `Conv_0.weight`.

    Net             10 operators, 24 subgraphs {12: operators}
    Op              6 kind of its settings, 8 settings, 10 name, 14 type
    Convolution2D   4 common, 6 weight, 8 bias, 10 quantised, 12 symmetric, 16 places in another file
    Common          8 and 10 width and height of the kernel, 22 groups, 24 outputs
    IDSTQuan        4 bytes, 6 scales, 8 type
    Blob            4 lengths, 8 type, 10 to 18 numbers by type, 22 places in another file
    PRelu           6 slopes
    Scale           6 scale, 8 bias

Of the types of quantised weights, 1 is a shape, a table of int8, and the places in it, the first in the highest bits; 3 is
float16; 4 is int8. Integers are listed, with their scales (`alpha`). Source: the schema of MNN, and `ConvolutionCommon.cpp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.limits import is_possible
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.errors import FormatError, SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".mnn",)

_OPERATORS, _SUBGRAPHS, _NODES = 10, 24, 12
_BLOB, _CONVOLUTION, _SLOPES, _SCALE = 7, 9, 32, 58
_KINDS = 103
_TURNED = (17, 18)
"""the types of operators that are deconvolutions, and plain and by channel"""
_HELD = {1: (18, "float32"), 3: (14, "int32"), 4: (10, "uint8"), 6: (12, "int8"), 9: (16, "int64"), 19: (10, "float16")}
"""for a type of numbers, the field of a blob that has them, and ours"""
_WIDTHS = {"float32": 4, "int32": 4, "uint8": 1, "int8": 1, "int64": 8}
_TABLE, _SPARSE, _HALF, _INT8 = 1, 2, 3, 4


def sniff(source: Source) -> bool:
    """Recognise operators with names, in a file with the name of a net of MNN: it has no mark."""
    if not source.name.lower().endswith(SUFFIXES) or source.size < 32:
        return False
    try:
        net = root(source)
        begin, count = net.vector(_OPERATORS, 4)
        operator = Table(net.data, begin + net.data.number(begin, "I"))  # the others are not charged to the file's budget yet
        return count > 0 and operator.number(6, "B") <= _KINDS and operator.text(10).isprintable()
    except SteelyardError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the weights in the order of the operators; constants of integers only with scope "all"."""
    net, listed = root(source), dict[str, Weight]()
    graphs = [(net, _OPERATORS), *((graph, _NODES) for graph in net.tables(_SUBGRAPHS))]
    for graph, field in graphs:
        for operator in graph.tables(field):
            for weight in _weights(source, operator):
                if weight.name in listed:
                    raise FormatError(source.name, f"has two weights of the name {printable(weight.name)}; the file is ambiguous")
                listed[weight.name] = weight
    kept = [w for w in listed.values() if scope == "all" or w.role is not Role.OTHER or is_floating(w.dtype) or w.unreadable]
    return Weights(kept)


def _weights(source: Source, operator: Table) -> Iterator[Weight]:
    kind, name = operator.number(6, "B"), operator.text(10)
    settings = operator.table(8) if kind in (_BLOB, _CONVOLUTION, _SLOPES, _SCALE) else None
    if settings is None:
        return
    if kind == _CONVOLUTION:
        yield from _convolution(source, settings, name, operator.number(14, "i") in _TURNED)
    elif kind == _BLOB:
        yield _blob(source, settings, name)
    elif kind == _SLOPES:
        yield from _run(source, settings, 6, f"{name}.slope", name)
    else:
        yield from _run(source, settings, 6, f"{name}.scaleData", name, Role.SCALE)
        yield from _run(source, settings, 8, f"{name}.biasData", name, Role.OFFSET)


def _run(source: Source, table: Table, field: int, name: str, layer: str, role: Role = Role.OTHER) -> Iterator[Weight]:
    """Yield the weight of a run of float32, if the table has it."""
    start, count = table.vector(field, 4)
    if count:
        axes = {Role.BIAS: "out", Role.SCALE: "channel", Role.OFFSET: "channel"}.get(role, "")
        read = source.numbers(start, "float32")
        yield Weight(name=name, shape=(count,), dtype="float32", read=read, role=role, axes=axes, layer=layer)


def _refused(source: Source, name: str, layer: str, why: str) -> Weight:
    error = FormatError(source.name, f"{printable(name)} {why}")
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer)


def _convolution(source: Source, table: Table, name: str, is_turned: bool) -> Iterator[Weight]:
    common, coded = table.table(4), table.table(10)
    if table.vector(16, 8)[1]:
        yield _refused(source, f"{name}.weight", name, "has its numbers in a file of its own (.mnn.weight), which is not read")
        return
    if table.table(12) is not None and not (coded or table.vector(6, 4)[1]):
        yield _refused(source, f"{name}.weight", name, "is quantised together with its inputs, which is not read")
        return
    start, count = table.vector(6, 4)
    dtype, encoding = "float32", ""
    read: Reader = source.numbers(start, dtype)
    if coded:
        try:
            dtype, encoding, count, read = _coded(source, coded)
        except FormatError as error:
            yield _refused(source, f"{name}.weight", name, str(error).removeprefix(f"{printable(source.name)}: "))
            count = 0
    if count:
        shape, axes = _shape(common, count, is_turned)
        weight = Weight(name=f"{name}.weight", shape=shape, dtype=dtype, encoding=encoding, read=read, layer=name)
        yield weight.replace(role=Role.KERNEL, axes=axes)
    if coded:
        yield from _run(source, coded, 6, f"{name}.alpha", name)
    yield from _run(source, table, 8, f"{name}.bias", name, Role.BIAS)


def _shape(common: Table | None, count: int, is_turned: bool) -> tuple[tuple[int, ...], str]:
    """Return the shape and the axes of a kernel; it is flat where its settings do not divide it."""
    if common is None:
        return (count,), ""
    width, height, outputs, groups = (common.number(field, "i", 1) for field in (8, 10, 24, 22))
    each = outputs * width * height
    if min(width, height, outputs, groups) < 1 or (is_turned and outputs % groups):
        return (count,), ""
    if is_turned:
        outputs //= groups
        each //= groups
    if count % each:
        return (count,), ""
    if is_turned:
        return (count // each, outputs, height, width), "in out kh kw"
    return (outputs, count // each, height, width), "out in kh kw"


def _blob(source: Source, table: Table, name: str) -> Weight:
    shape, kind = table.numbers(4, "i"), table.number(8, "i", 1)
    if table.vector(22, 8)[1]:
        return _refused(source, name, name, "has its numbers in a file of its own (.mnn.weight), which is not read")
    if kind not in _HELD or not is_possible(shape):
        return _refused(source, name, name, f"is of the type {kind} and the shape {list(shape)}, which is not read")
    field, dtype = _HELD[kind]
    is_half = dtype == "float16"  # which are bytes
    start, count = table.vector(field, 1 if is_half else _WIDTHS[dtype])
    if count != prod(shape) * (2 if is_half else 1):
        return _refused(
            source, name, name, f"has the shape {list(shape)}, but {count:,} {'bytes' if is_half else 'numbers'} are stored"
        )
    return Weight(name=name, shape=shape, dtype=dtype, read=source.numbers(start, dtype), layer=name)


def _coded(source: Source, table: Table) -> tuple[str, str, int, Reader]:
    """Return the type, the encoding, the count and a reader of quantised weights."""
    start, length = table.vector(4, 1)
    kind = table.number(8, "i")
    if kind == _HALF:
        return "float16", "", length // 2, source.numbers(start, "float16")
    if kind == _INT8:
        return "int8", "", length, source.numbers(start, "int8")
    if kind != _TABLE:
        what = "sparse, in runs" if kind == _SPARSE else f"quantised in the way {kind}"
        raise FormatError(source.name, f"is {what}, which is not read")
    data = source.part(start, length)
    wide = 4 if table.number(26, "?") else 2
    rank = data.read(0, 1)[0]
    dims = data.read(1, rank * wide)
    count = prod(int.from_bytes(dims[at : at + wide], "little") for at in range(0, len(dims), wide))
    entries = data.read(1 + rank * wide, 1)[0] or 256
    book = data.read(2 + rank * wide, entries)
    bits = max((entries - 1).bit_length(), 1)
    begin = 2 + rank * wide + entries
    if not rank or begin + -(-count * bits // 8) > length:
        raise FormatError(source.name, f"claims {count:,} places of {bits} bits in {length:,} bytes")
    return "int8", f"{entries} values", count, _from_table(data, begin, bits, book)


def _from_table(data: Source, begin: int, bits: int, book: bytes) -> Reader:
    """Return a reader of places in a table of int8, which is sorted first; a place takes a few bits."""

    def read(first: int, last: int) -> Array:
        import numpy as np

        table = np.sort(np.frombuffer(book, np.int8))
        skipped = first * bits // 8
        packed = np.frombuffer(data.read(begin + skipped, -(-last * bits // 8) - skipped), np.uint8)
        each = np.unpackbits(packed)[first * bits - 8 * skipped :][: (last - first) * bits].reshape(-1, bits)
        places = each @ (1 << np.arange(bits)[::-1])
        if len(places) and places.max() >= len(table):
            raise FormatError(data.name, f"names the value {places.max()} of a table of {len(table)}")
        found: Array = table[places]
        return found

    return read
