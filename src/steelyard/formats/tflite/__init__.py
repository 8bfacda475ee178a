"""TensorFlow Lite: a FlatBuffer of subgraphs, whose constants are weights. The bodies of loops are subgraphs too.

Quantised numbers are read as stored; `encoding` and `meta["quantization"]` describe the real numbers, which
`Weights.effective` gives. The fields of the tables that are read, by their places in the vtable:

    Model         4 version, 6 operator_codes, 8 subgraphs, 10 description, 12 buffers, 16 metadata
    Metadata      4 name, 6 buffer
    OperatorCode  4 deprecated_builtin_code (int8), 10 builtin_code
    SubGraph      4 tensors, 10 operators, 12 name
    Operator      4 opcode_index, 6 inputs, 8 outputs, 12 builtin_options
    Tensor        4 shape, 6 type, 8 buffer, 10 name, 12 quantization, 16 sparsity
    Quantization  8 scale, 10 zero_point, 12 details_type, 16 quantized_dimension
    Buffer        4 data, 6 offset, 8 size (of data after the FlatBuffer, in a model of over 2 GB)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.limits import is_possible
from steelyard.codecs.subbyte import bytes_of, decoded
from steelyard.core.computation import with_computation
from steelyard.core.net_facts import with_derive
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.errors import FormatError, printable
from steelyard.formats.tflite.computation import computation_of
from steelyard.formats.tflite.graph import graph_of
from steelyard.formats.tflite.roles import meanings
from steelyard.formats.tflite.sparse import sparse_reader

if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Derive, Scope
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

    class Scheme(TypedDict):
        """The scheme of a quantised tensor: real = (stored - zero_point) * scale, along an axis or for the whole tensor."""

        scale: list[float]
        zero_point: list[int]
        axis: int | None
        details: NotRequired[str]


SUFFIXES = (".tflite", ".lite")

MAGIC = b"TFL3"
_SHORT = 1000  # bytes of an entry of the metadata that may be a text
DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    17: "int4",
    18: "bfloat16",
    19: "int2",
    20: "uint4",
}
_STRING, _TEXT = 5, "string"
_OPERATIONS = ("BiasAdd", "Conv2D", "Conv3D", "MatMul", "ReadVariableOp", "depthwise")
"""Last words of names that are not layers but operations inside them."""


def sniff(source: Source) -> bool:
    """Recognise the identifier that follows the offset of the root table."""
    return source.head(8)[4:] == MAGIC


def read(source: Source, scope: Scope) -> Weights:
    """List constants in the order of subgraphs and tensors; scope "all" adds shapes, axes and other integers."""
    model = root(source)
    listed, schemes, places = _listed(model, source)
    constants = {place: listed[name] for place, name in places.items()}
    if scope != "all":
        listed = {
            name: weight
            for name, weight in listed.items()
            if is_floating(weight.dtype) or name in schemes or weight.role is not Role.OTHER or _is_unknown(weight)
        }
    meta = {
        "version": model.number(4, "I"),
        "description": model.text(10),
        "quantization": {name: scheme for name, scheme in schemes.items() if name in listed},
    }
    meta |= {"metadata": held} if (held := _metadata(model, source)) else {}
    owned = {place: listed[name] for place, name in places.items() if name in listed}
    found = Weights(listed.values(), meta=meta, graph=lambda: graph_of(root(source), owned, _layer))
    found = with_computation(found, lambda: computation_of(root(source), constants))
    return with_derive(found, _effective(schemes, places, source)) if schemes or _has_halves(listed) else found


def _has_halves(listed: Mapping[str, Weight]) -> bool:
    return any(weight.dtype == "float16" for weight in listed.values())


def _effective(schemes: dict[str, Scheme], places: dict[tuple[int, int], str], source: Source) -> Derive:
    def derive(pieces: Pieces) -> Iterable[Weight]:
        from steelyard.formats.tflite.effective import effective

        return effective(schemes, places, lambda: root(source))(pieces)

    return derive


def _metadata(model: Table, source: Source) -> dict[str, str]:
    """Return the entries of the metadata: short texts, or the number of bytes of anything else."""
    buffers, held = list(model.tables(12)), {}
    for entry in model.tables(16):
        offset, size = _extent(buffers, entry.number(6, "I"), entry.text(4), source)
        content = source.read(offset, size).rstrip(b"\0") if size <= _SHORT else b""
        text = content.decode("ascii", "replace")
        held[entry.text(4)] = text if content and text.isprintable() else f"{size:,} bytes"
    return held


def _is_unknown(weight: Weight) -> bool:
    """Whether a constant may be a weight, although its type is not known."""
    return weight.dtype == UNKNOWN and weight.encoding != _TEXT


def _listed(model: Table, source: Source) -> tuple[dict[str, Weight], dict[str, Scheme], dict[tuple[int, int], str]]:
    """Return the constants of all subgraphs by name, the schemes of quantised ones, and the name at each place.

    A place is the index of the subgraph and that of the tensor.
    """
    places: dict[tuple[int, int], str] = {}
    listed: dict[str, Weight] = {}
    schemes: dict[str, Scheme] = {}
    owners: dict[tuple[int, str, tuple[int, ...]], str] = {}
    buffers = list(model.tables(12))
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    for place, subgraph in enumerate(model.tables(8)):
        facts = meanings(subgraph, codes)
        for index, tensor in enumerate(subgraph.tables(4)):
            made = _weight(tensor, buffers, source)
            if made is None:
                continue
            weight, scheme = made
            name = _free_name(listed, weight.name, subgraph.text(12) or f"subgraph_{place}", index)
            role, axes = facts.get(index, (Role.OTHER, ""))
            axes = axes if len(axes.split()) == len(weight.shape) else ""
            owner = owners.setdefault((tensor.number(8, "I"), weight.dtype, weight.shape), name)
            listed[name] = weight.replace(name=name, role=role, axes=axes, tied=owner if owner != name else None)
            places[place, index] = name
            if scheme:
                schemes[name] = scheme
    return listed, schemes, places


def _free_name(taken: Mapping[str, Weight], name: str, subgraph: str, index: int) -> str:
    """Return a name that is not yet taken: TFLite identifies tensors by index, so two subgraphs may use the same name."""
    for candidate in (name, f"{subgraph}/{name}", f"{subgraph}/{name}:{index}"):
        if candidate not in taken:
            return candidate
    return f"{subgraph}/{name}:{index}:{len(taken)}"


def _weight(tensor: Table, buffers: list[Table], source: Source) -> tuple[Weight, Scheme | None] | None:
    """Make a weight of a constant tensor; None for one that is computed."""
    name, kind, shape = tensor.text(10), tensor.number(6, "b"), tensor.numbers(4, "i")
    read = _reader(tensor, name, shape, buffers, source)
    if read is None:
        return None
    scheme = _scheme(tensor)
    weight = Weight(
        name=name,
        shape=tuple(max(length, 0) for length in shape[: limits.RANK]),
        dtype=DTYPES.get(kind, UNKNOWN),
        read=read,
        layer=_layer(name),
        encoding=_encoding(
            DTYPES.get(kind, _TEXT if kind == _STRING else f"type {kind}"), scheme, sparse=bool(tensor.target(16))
        ),
    )
    return weight, scheme


def _reader(tensor: Table, name: str, shape: tuple[int, ...], buffers: list[Table], source: Source) -> Reader | None:
    """Return a reader of a constant tensor, None for a computed one; if it cannot be read, one that raises the reason."""
    kind = tensor.number(6, "b")
    try:
        begin, length = _extent(buffers, tensor.number(8, "I"), name, source)
        if not length:
            return None
        _check(name, kind, shape, source)
        raw, sparsity = source.part(begin, length), tensor.table(16)
        if sparsity:
            return sparse_reader(name, raw, shape, DTYPES[kind], sparsity)
        return _dense(name, raw, shape, DTYPES[kind])
    except FormatError as error:
        return Refused(error)


def _layer(name: str) -> str:
    """Return the layer in a name, without the operations inside it; of fused layers the first."""
    layer = layer_of(name.partition(";")[0])
    while layer.rpartition("/")[2] in _OPERATIONS:
        layer = layer_of(layer)
    return layer


def _extent(buffers: list[Table], number: int, name: str, source: Source) -> tuple[int, int]:
    """Return the offset and the length of a buffer: inside the FlatBuffer, or after it in a model of over 2 GB."""
    if number >= len(buffers):
        raise FormatError(source.name, f"{printable(name)} refers to buffer {number:,} of {len(buffers):,}")
    offset, size = buffers[number].number(6, "Q"), buffers[number].number(8, "Q")
    if offset <= 1:
        return buffers[number].vector(4, 1)
    if offset + size > source.size:
        raise FormatError(source.name, f"{printable(name)} ends at byte {offset + size:,} of {source.size:,} (partial download?)")
    return offset, size


def _check(name: str, kind: int, shape: tuple[int, ...], source: Source) -> None:
    if kind not in DTYPES:
        word = "texts" if kind == _STRING else f"elements of type {kind}"
        raise FormatError(source.name, f"{printable(name)} holds {word}, not numbers")
    if not is_possible(shape):
        raise FormatError(source.name, f"{printable(name)} has the impossible shape {printable(list(shape))}")


def _dense(name: str, raw: Source, shape: tuple[int, ...], dtype: str) -> Reader:
    wanted = bytes_of(prod(shape), dtype)
    if wanted != raw.size:
        raise FormatError(
            raw.name, f"{printable(name)} has the shape {list(shape)} of {dtype}, which takes {wanted:,} bytes, not {raw.size:,}"
        )
    return decoded(raw, dtype)


def _scheme(tensor: Table) -> Scheme | None:
    """Return scale, zero point and axis of a quantised tensor; None for one that is not quantised."""
    table = tensor.table(12)
    scale = table.numbers(8, "f") if table else ()
    if table is None or (not scale and not table.number(12, "B")):
        return None
    zero = table.numbers(10, "q") or (0,)
    scheme: Scheme = {"scale": list(scale), "zero_point": list(zero), "axis": table.number(16, "i") if len(scale) > 1 else None}
    if table.number(12, "B"):
        scheme["details"] = "blockwise or custom"
    return scheme


def _encoding(word: str, scheme: Scheme | None, *, sparse: bool) -> str:
    """Return the encoding in words: "int8 per channel, axis 0", "float16 sparse"."""
    if scheme and "details" in scheme:
        word += f" {scheme['details']}"
    elif scheme:
        word += " per tensor" if scheme["axis"] is None else f" per channel, axis {scheme['axis']}"
    return f"{word} sparse" if sparse else word
