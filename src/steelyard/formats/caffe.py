"""Caffe: the blobs of the layers in a `.caffemodel`, named by their layers and places, as `conv1.0`.

    NetParameter       1 name, 2 layers of the old version, 100 layers
    LayerParameter     1 name, 2 type, 7 blobs, 106 {4: group}, 117 {6: transpose}
    V1LayerParameter   4 name, 5 type, 6 blobs
    BlobProto          1 to 4 number, channels, height, width; 5 float32; 7 {1: length of each axis}; 8 float64

Source: `caffe.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pieces import PIECE, count_of, joined
from steelyard.codecs.protobuf import BYTES, VARINT, message
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.codecs.protobuf import Field
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

    Meanings = Mapping[int, tuple[Role, str]]

SUFFIXES = (".caffemodel",)

_NAME, _OLD_LAYERS, _LAYERS = 1, 2, 100
_SETTINGS = {1: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES}
_FIRST = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")
"""the tags of a name, a layer of the old version, an input, and a layer"""
_LOOKED_AT = 64
_COST = 1000

_DENSE: Meanings = {0: (Role.KERNEL, "out in"), 1: (Role.BIAS, "out")}
_CONV: Meanings = {0: (Role.KERNEL, "out in kh kw"), 1: (Role.BIAS, "out")}
_TURNED: Meanings = {0: (Role.KERNEL, "in out kh kw"), 1: (Role.BIAS, "out")}
_LAYER_KINDS: Mapping[str, Meanings] = {
    "Convolution": _CONV,
    "DepthwiseConvolution": _CONV,
    "Deconvolution": _TURNED,
    "InnerProduct": _DENSE,
    "BatchNorm": {0: (Role.MEAN, "channel"), 1: (Role.VARIANCE, "channel"), 2: (Role.COUNT, "")},
    "Scale": {0: (Role.SCALE, "channel"), 1: (Role.OFFSET, "channel")},
    "Bias": {0: (Role.BIAS, "out")},
    "Embed": {0: (Role.EMBEDDING, "vocab out"), 1: (Role.BIAS, "out")},
}
_OLD_KINDS = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}


class _Layer:
    """A layer: its name, its type, whether its kernel is turned, and its blobs."""

    __slots__ = ("blobs", "is_turned", "kind", "name")

    def __init__(self) -> None:
        self.name = self.kind = ""
        self.is_turned = False
        self.blobs: list[Field] = []


def sniff(source: Source) -> bool:
    """Recognise a message with the fields of a net, one of whose first fields is a layer with a name and a type."""
    if not source.head(2).startswith(_FIRST):
        return False
    try:
        for number, field in enumerate(message(source)):
            if field.number in (_OLD_LAYERS, _LAYERS) and field.wire == BYTES:
                return _is_layer(field)
            if _SETTINGS.get(field.number) != field.wire or number > _LOOKED_AT:
                return False
            if field.number == _NAME and not (field.length < 1000 and field.text().isprintable()):
                return False
    except SteelyardError:
        return False
    return False


def _is_layer(field: Field) -> bool:
    """Whether a message has a name and a type as the first of its fields that are not lists of names."""
    name, kind = (1, 2) if field.number == _LAYERS else (4, 5)
    seen = set()
    for inner in field.message():
        seen.add(inner.number)
        if inner.number == name and not (inner.wire == BYTES and inner.length < 1000 and inner.text().isprintable()):
            return False
        if inner.number == kind and field.number == _LAYERS and not (inner.wire == BYTES and inner.text().isidentifier()):
            return False
        if inner.number == kind and field.number == _OLD_LAYERS and not (inner.wire == VARINT and inner.value < 64):
            return False
        if {name, kind} <= seen:
            return True
    return False


def read(source: Source, scope: Scope) -> Weights:
    """List the blobs in the order of the layers."""
    budget, meta, listed, names = Budget(source), dict[str, object](), list[Weight](), set[str]()
    for field in message(source):
        if field.number == _NAME and field.wire == BYTES:
            meta["name"] = field.text()
        elif field.number in (_OLD_LAYERS, _LAYERS) and field.wire == BYTES:
            budget.spend(_COST)
            layer = _layer(field)
            if layer.blobs and layer.name in names:
                raise FormatError(source.name, f"has two layers of the name {printable(layer.name)}", field.begin)
            names.update([layer.name] if layer.blobs else [])
            listed += _weights(source, layer, budget)
    return Weights(listed, meta=meta)


def _layer(field: Field) -> _Layer:
    is_old, layer = field.number == _OLD_LAYERS, _Layer()
    name, kind, blobs = (4, 5, 6) if is_old else (1, 2, 7)
    for inner in field.message():
        if inner.number == name:
            layer.name = inner.text()
        elif inner.number == kind:
            layer.kind = _OLD_KINDS.get(inner.unsigned(), "") if is_old else inner.text()
        elif inner.number == blobs:
            layer.blobs.append(inner)
        elif inner.number == 117:
            layer.is_turned = any(setting.number == 6 and setting.value for setting in inner.message())
        elif is_old and inner.number == 1:
            raise inner.error("is a layer of the oldest version (V0); upgrade the file with upgrade_net_proto_binary")
    return layer


def _weights(source: Source, layer: _Layer, budget: Budget) -> Iterator[Weight]:
    meanings = _LAYER_KINDS.get(layer.kind, {})
    for place, field in enumerate(layer.blobs):
        budget.spend(_COST + len(layer.name))
        shape, dtype, pieces = _blob(field, budget)
        role, axes = meanings.get(place, (Role.OTHER, ""))
        if layer.is_turned and role is Role.KERNEL:
            axes = "in out"
        name = f"{layer.name}.{place}"
        weight = Weight(
            name=name,
            shape=shape,
            dtype=dtype,
            read=joined(source, pieces, dtype),
            layer=layer.name,
            role=role,
            axes=axes if len(axes.split()) == len(shape) else "",
        )
        count = count_of(pieces, dtype)
        if count != prod(shape):
            what = f"{printable(name)} has the shape {list(shape)}, but {max(count, 0):,} numbers are stored"
            weight = weight.replace(read=Refused(FormatError(source.name, what, field.begin)))
        yield weight


def _blob(field: Field, budget: Budget) -> tuple[tuple[int, ...], str, list[tuple[int, int]]]:
    """Return the shape of a blob, its type, and the places of its numbers."""
    dims, old = list[int](), dict[int, int]()
    runs: dict[int, list[tuple[int, int]]] = {5: [], 8: []}
    for inner in field.message():
        if inner.number in (1, 2, 3, 4):
            old[inner.number] = inner.signed()
        elif inner.number == 7:
            dims += [length for axis in inner.message() if axis.number == 1 for length in axis.integers()]
        elif inner.number in runs:
            budget.spend(PIECE)
            runs[inner.number].append((inner.offset, inner.length))
    shape = tuple(dims) if dims or not old else tuple(old.get(axis, 1) for axis in (1, 2, 3, 4))
    if not is_possible(shape):
        raise field.error(f"has the impossible shape {printable(list(shape))}")
    dtype, pieces = ("float64", runs[8]) if runs[8] else ("float32", runs[5])
    return shape, dtype, pieces
