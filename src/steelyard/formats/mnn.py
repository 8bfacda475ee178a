"""MNN: the weights and constants of the operators of a net (`.mnn`), by the names of the operators, as `Conv_0.weight`.

    Net             10 operators, 24 subgraphs {12: operators}
    Op              6 kind of its settings, 8 settings, 10 name, 14 type
    Convolution2D   4 common, 6 weight, 8 bias, 10 quantised, 12 symmetric, 16 places in another file
    Common          8 and 10 width and height of the kernel, 22 groups, 24 outputs
    IDSTQuan        4 bytes, 6 scales, 8 type
    Blob            4 lengths, 8 type, 10 to 18 numbers by type, 22 places in another file
    Convolution3D   4 common {8 sizes of the kernel, 16 outputs}, 6 weight, 8 bias
    InnerProduct    4 outputs, 10 weight, 12 bias, 16 whether it is transposed, 18 quantised

The fields of the other operators are in `_RUNS` and `_BLOBS`. With `--saveExternalData` the numbers are in a `.mnn.weight` next
to the net. The places of an operator are the byte at which its runs begin, and the bytes of each: of the kernel, or of its code
and its scales, then of the bias; of a norm, of scale and offset.

Of the types of quantised weights, 1 is a shape, a table of int8, and the places in it, the first in the highest bits; 3 is
float16; 4 is int8. Integers are listed, with their scales (`alpha`). Source: the schema of MNN, and `ConvolutionCommon.cpp`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.limits import is_possible
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating, itemsize
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".mnn",)

_OPERATORS, _SUBGRAPHS, _NODES = 10, 24, 12
_BLOB, _CONVOLUTION, _DENSE, _VOLUME = 7, 9, 20, 80
_KINDS = 103
_TURNED = (17, 18)
"""the types of operators that are deconvolutions, and plain and by channel"""
_HELD = {1: (18, "float32"), 3: (14, "int32"), 4: (10, "uint8"), 6: (12, "int8"), 9: (16, "int64"), 19: (10, "float16")}
"""for a type of numbers, the field of a blob that has them, and ours"""
_RUNS = {
    5: ((6, "slopeData", Role.SCALE), (8, "meanData", Role.MEAN), (10, "varData", Role.VARIANCE), (12, "biasData", Role.OFFSET)),
    25: ((10, "weight", Role.KERNEL), (12, "bias", Role.BIAS)),
    27: ((10, "scale", Role.SCALE),),
    32: ((6, "slope", Role.OTHER),),
    58: ((6, "scaleData", Role.SCALE), (8, "biasData", Role.OFFSET)),
    88: ((8, "gamma", Role.SCALE), (10, "beta", Role.OFFSET)),
}
"""for a kind of settings, the fields that are runs of float32: BatchNorm, MatMul, Normalize, PRelu, Scale, LayerNorm"""
_RECURRENT = ("GateWeight", "GateBias", "CandidateWeight", "CandidateBias", "RecurrentBias")
_BLOBS = {
    24: tuple(zip(range(10, 20, 2), ("weightI", "weightH", "bias", "weightIQ", "weightIA"), strict=True)),
    72: tuple(zip(range(12, 32, 2), (f"{way}{each}" for way in ("fw", "bw") for each in _RECURRENT), strict=True)),
}
"""for a kind of settings, the fields that are blobs: LSTM, RNNParam"""
_ELSEWHERE = {58: 10, 88: 14}
"""for a kind of settings, the places of its runs in another file"""
_UNREAD = {67: "a quantised convolution of TensorFlow", 74: "a quantised operator"}
"""kinds of settings whose weights are not read"""
_TABLE, _SPARSE, _HALF, _INT8 = 1, 2, 3, 4
_KNOWN = {_BLOB, _CONVOLUTION, _DENSE, _VOLUME, *_RUNS, *_BLOBS, *_UNREAD}


class _Run(NamedTuple):
    """Numbers one after another: the file, the byte at which they begin, and how many there are."""

    source: Source
    start: int
    length: int


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
    settings = operator.table(8) if kind in _KNOWN else None
    if settings is None:
        return
    if kind == _CONVOLUTION:
        yield from _convolution(source, settings, name, operator.number(14, "i") in _TURNED)
    elif kind == _VOLUME:
        yield from _volume(source, settings, name)
    elif kind == _DENSE:
        yield from _dense(source, settings, name)
    elif kind == _BLOB:
        yield _blob(source, settings, name, name)
    elif kind in _UNREAD:
        yield _refused(source, f"{name}.weight", name, f"is that of {_UNREAD[kind]}, which is not read")
    else:
        yield from _plain(source, settings, kind, name)


def _plain(source: Source, settings: Table, kind: int, name: str) -> Iterator[Weight]:
    """Yield the weights of an operator that has runs of numbers, or blobs, in its fields."""
    wanted = _RUNS.get(kind, ())
    try:
        apart = _apart(source, settings, _ELSEWHERE[kind], 4, 4) if kind in _ELSEWHERE else []
    except SteelyardError as error:
        yield _refused(source, f"{name}.{wanted[0][1]}", name, error)
        return
    for place, (field, word, role) in enumerate(wanted):
        run = apart[place] if place < len(apart) else _Run(source, *settings.vector(field, 4))
        yield from _run(run, f"{name}.{word}", name, role)
    for field, word in _BLOBS.get(kind, ()):
        if blob := settings.table(field):
            yield _blob(source, blob, f"{name}.{word}", name)


def _apart(source: Source, table: Table, field: int, *widths: int) -> list[_Run]:
    """Return the runs that an operator has in the file next to the net, of numbers of so many bytes; none where it has none."""
    places = table.numbers(field, "q")
    if not places:
        return []
    name = f"{os.path.basename(source.name)}.weight"
    try:
        file = source.beside(name)
    except FileMissingError:
        raise FormatError(source.name, f"has its numbers in {quoted(name)}, which is missing; put it next to this file") from None
    found, start = list[_Run](), places[0]
    for length, width in zip(places[1:], widths, strict=False):
        if start < 0 or length < 0 or start + length > file.size or length % width:
            raise FormatError(
                file.name, f"has {file.size:,} bytes, of which {length:,} from {start:,} are wanted (partial download?)"
            )
        found.append(_Run(file, start, length // width))
        start += length
    if len(found) < len(widths):
        raise FormatError(source.name, f"has {len(places)} places in {printable(file.name)}, fewer than an operator has")
    return found


def _run(run: _Run, name: str, layer: str, role: Role = Role.OTHER) -> Iterator[Weight]:
    """Yield the weight of a run of float32, if there is one."""
    if run.length:
        axes = {Role.BIAS: "out", Role.KERNEL: "", Role.OTHER: ""}.get(role, "channel")
        read = run.source.numbers(run.start, "float32")
        yield Weight(name=name, shape=(run.length,), dtype="float32", read=read, role=role, axes=axes, layer=layer)


def _refused(source: Source, name: str, layer: str, why: str | SteelyardError) -> Weight:
    error = why if isinstance(why, SteelyardError) else FormatError(source.name, f"{printable(name)} {why}")
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer)


def _convolution(source: Source, table: Table, name: str, is_turned: bool) -> Iterator[Weight]:
    common, coded = table.table(4), table.table(10)
    try:
        apart = _apart(source, table, 16, *((1, 4, 4) if coded else (4, 4)))
    except SteelyardError as error:
        yield _refused(source, f"{name}.weight", name, error)
        return
    if apart:
        kernel, *scales, bias = apart
    else:
        kernel, bias = (_Run(source, *table.vector(field, 4)) for field in (6, 8))
        kernel, scales = _code(source, coded) if coded else (kernel, [])
    if table.table(12) is not None and not (coded or kernel.length):
        yield _refused(source, f"{name}.weight", name, "is quantised together with its inputs, which is not read")
        return
    for weight in _kernel(kernel, scales, coded, name):
        shape, axes = _shape(common, weight.size, is_turned)
        yield weight.replace(shape=shape, axes=axes) if weight.role is Role.KERNEL else weight
    yield from _run(bias, f"{name}.bias", name, Role.BIAS)


def _code(source: Source, coded: Table) -> tuple[_Run, list[_Run]]:
    """Return the bytes of a quantised kernel, and its scales."""
    return _Run(source, *coded.vector(4, 1)), [_Run(source, *coded.vector(6, 4))]


def _kernel(run: _Run, scales: list[_Run], coded: Table | None, name: str) -> Iterator[Weight]:
    """Yield a kernel, still flat, from a run of float32 or of the bytes of its code, and the scales of that."""
    source, count, dtype, encoding = run.source, run.length, "float32", ""
    read: Reader = source.numbers(run.start, dtype)
    if coded:
        try:
            dtype, encoding, count, read = _coded(run, coded)
        except FormatError as error:
            yield _refused(source, f"{name}.weight", name, str(error).removeprefix(f"{printable(source.name)}: "))
            count = 0
    if count:
        named = f"{name}.weight"
        yield Weight(name=named, shape=(count,), dtype=dtype, encoding=encoding, read=read, layer=name, role=Role.KERNEL)
    for each in scales:
        yield from _run(each, f"{name}.alpha", name)


def _dense(source: Source, table: Table, name: str) -> Iterator[Weight]:
    outputs, is_turned, coded = table.number(4, "i"), table.number(16, "?"), table.table(18)
    kernel, scales = _code(source, coded) if coded else (_Run(source, *table.vector(10, 4)), [])
    for weight in _kernel(kernel, scales, coded, name):
        shape, axes = weight.shape, ""
        if weight.role is Role.KERNEL and outputs > 0 and not weight.size % outputs:
            inputs = weight.size // outputs
            shape, axes = ((inputs, outputs), "in out") if is_turned else ((outputs, inputs), "out in")
        yield weight.replace(shape=shape, axes=axes)
    yield from _run(_Run(source, *table.vector(12, 4)), f"{name}.bias", name, Role.BIAS)


def _volume(source: Source, table: Table, name: str) -> Iterator[Weight]:
    common = table.table(4)
    sizes, outputs = ((), 0) if common is None else (common.numbers(8, "i"), common.number(16, "i"))
    if table.vector(10, 8)[1]:
        yield _refused(source, f"{name}.weight", name, "has its numbers in a .mnn.weight, in which those of 3D are not read")
        return
    for weight in _kernel(_Run(source, *table.vector(6, 4)), [], None, name):
        each = outputs * prod(sizes)
        fits = len(sizes) == 3 and min(sizes) > 0 and outputs > 0 and not weight.size % each
        shape, axes = ((outputs, weight.size // each, *sizes), "out in kd kh kw") if fits else (weight.shape, "")
        yield weight.replace(shape=shape, axes=axes)
    yield from _run(_Run(source, *table.vector(8, 4)), f"{name}.bias", name, Role.BIAS)


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


def _blob(source: Source, table: Table, name: str, layer: str) -> Weight:
    shape, kind = table.numbers(4, "i"), table.number(8, "i", 1)
    if kind not in _HELD or not is_possible(shape):
        return _refused(source, name, layer, f"is of the type {kind} and the shape {list(shape)}, which is not read")
    field, dtype = _HELD[kind]
    is_half = dtype == "float16"  # which are bytes
    width = itemsize(dtype)
    try:
        apart = _apart(source, table, 22, 1 if is_half else width)
    except SteelyardError as error:
        return _refused(source, name, layer, error)
    run = apart[0] if apart else _Run(source, *table.vector(field, 1 if is_half else width))
    if run.length != prod(shape) * (2 if is_half else 1):
        return _refused(
            source, name, layer, f"has the shape {list(shape)}, but {run.length:,} {'bytes' if is_half else 'numbers'} are stored"
        )
    return Weight(name=name, shape=shape, dtype=dtype, read=run.source.numbers(run.start, dtype), layer=layer)


def _coded(run: _Run, table: Table) -> tuple[str, str, int, Reader]:
    """Return the type, the encoding, the count and a reader of quantised weights."""
    source, start, length = run
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
