"""The layers of a net of OpenVINO: its constants, and what the layers that take them make of them.

    <net name="..." version="11"><layers>
        <layer id="3" name="fc/weight" type="Const"><data element_type="f32" shape="10, 3" offset="0" size="120"/></layer>
        <layer id="4" name="fc" type="MatMul"><data transpose_b="true"/></layer>
    </layers><edges><edge from-layer="3" from-port="0" to-layer="4" to-port="1"/></edges></net>

Before version 10, layers have their numbers themselves: <blobs><weights offset="0" size="120" precision="FP32"/></blobs>.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.core.weight import Role
from steelyard.errors import FormatError, UnsafeFileError, printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    Meaning = tuple[Role, str]

_COST = 2000
_BLOCK = 1 << 16
_DEPTH = 64
_PASSED_ON = ("Convert", "FakeQuantize", "Reshape", "Multiply", "Subtract")
_CONV: Mapping[int, Meaning] = {1: (Role.KERNEL, "out in {}")}
_TURNED: Mapping[int, Meaning] = {1: (Role.KERNEL, "in out {}")}
_OPERATORS: Mapping[str, Mapping[int, Meaning]] = {
    "Convolution": _CONV,
    "ConvolutionBackpropData": _TURNED,
    "GroupConvolution": {1: (Role.KERNEL, "group out in {}")},
    "MatMul": {1: (Role.KERNEL, "in out")},
    "Gather": {0: (Role.EMBEDDING, "vocab out")},
    "PReLU": {},
    "LSTMSequence": {4: (Role.KERNEL, ""), 5: (Role.RECURRENT_KERNEL, ""), 6: (Role.BIAS, "")},
    "GRUSequence": {3: (Role.KERNEL, ""), 4: (Role.RECURRENT_KERNEL, ""), 5: (Role.BIAS, "")},
}
_SPACE = {1: "k", 2: "kh kw", 3: "kd kh kw"}


class Constant(NamedTuple):
    """A constant: its name, word for its type, shape, place in the file of numbers, and what the layers say of it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int
    layer: str
    role: Role
    axes: str


class Net(NamedTuple):
    """The name of a net, and its constants in the order of its layers."""

    name: str
    constants: list[Constant]


class _Found:
    """What is read of the file: layers by their number in it, and the edges between them."""

    __slots__ = ("budget", "depth", "edges", "layers", "name", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self.depth = 0
        self.name = ""
        self.layers: list[_Layer] = []
        self.edges: list[tuple[str, str, int]] = []

    def start(self, tag: str, facts: dict[str, str]) -> None:
        """Take the beginning of an element."""
        self.depth += 1
        self.budget.spend(_COST)
        if self.depth > _DEPTH:
            raise FormatError(self.source.name, f"elements are nested more than {_DEPTH} levels deep")
        if tag == "net":
            self.name = self.name or facts.get("name", "")
        elif tag == "layer":
            self.layers.append(_Layer(facts))
        elif tag == "edge":
            port = facts.get("to-port", "")
            self.edges.append((facts.get("from-layer", ""), facts.get("to-layer", ""), int(port) if port.isdecimal() else -1))
        elif tag == "data" and self.layers:
            self.layers[-1].data.update(facts)
        elif self.layers and "offset" in facts and "size" in facts:  # in <blobs>
            self.layers[-1].blobs.append((tag, facts))

    def end(self, _tag: str) -> None:
        self.depth -= 1


class _Layer:
    """A layer: its number, name and type, its settings, and its numbers in older files."""

    __slots__ = ("blobs", "data", "id", "kind", "name", "precision")

    def __init__(self, facts: Mapping[str, str]) -> None:
        self.id, self.name, self.kind = (facts.get(key, "") for key in ("id", "name", "type"))
        self.precision = facts.get("precision", "")
        self.data: dict[str, str] = {}
        self.blobs: list[tuple[str, dict[str, str]]] = []


def read_net(source: Source) -> Net:
    """Read a net. Raises `FormatError` for XML that is damaged, and `UnsafeFileError` for one with definitions of its own."""
    from xml.parsers import expat

    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, more than the {limits.JSON:,} that are allowed")
    found = _Found(source)
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise UnsafeFileError(source.name, "defines words of its own (DTD), which may grow without end; refused")

    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        for at in range(0, source.size, _BLOCK):
            parser.Parse(source.read(at, min(_BLOCK, source.size - at)), at + _BLOCK >= source.size)
    except expat.ExpatError as error:
        raise FormatError(source.name, f"is no XML, or is cut off: {printable(error)}") from None
    return Net(found.name, _constants(found))


def _constants(found: _Found) -> list[Constant]:
    known = _meanings(found)
    made = []
    for layer in found.layers:
        if layer.kind == "Const" and "offset" in layer.data:
            target, role, axes = known.get(layer.id, (layer.name.rpartition("/")[0], Role.OTHER, ""))
            data = layer.data
            shape = _shape(data.get("shape", ""), found.source)
            made.append(
                _constant(found, (layer.name, data.get("element_type", "")), shape, data, (target, role, _filled(axes, shape)))
            )
        for word, facts in layer.blobs:
            kind = facts.get("precision") or layer.precision
            width = {"FP32": 4, "FP16": 2, "I32": 4, "I64": 8}.get(kind, 1)
            shape = (_number(facts.get("size", ""), found.source) // width,)
            role = {"biases": Role.BIAS, "weights": Role.KERNEL}.get(word, Role.OTHER)
            name = layer.name if word == "custom" else f"{layer.name}/{word}"
            made.append(_constant(found, (name, kind), shape, facts, (layer.name, role, "out" if role is Role.BIAS else "")))
    return made


def _constant(
    found: _Found, words: tuple[str, str], shape: tuple[int, ...], place: Mapping[str, str], meaning: tuple[str, Role, str]
) -> Constant:
    offset, size = (_number(place.get(key, ""), found.source) for key in ("offset", "size"))
    return Constant(words[0], words[1], shape, offset, size, meaning[0], meaning[1], meaning[2])


def _number(word: str, source: Source) -> int:
    if not word.isdecimal() or len(word) > 18:
        raise FormatError(source.name, f"has {printable(word) or 'nothing'} in place of a number")
    return int(word)


def _shape(words: str, source: Source) -> tuple[int, ...]:
    return tuple(_number(word.strip(), source) for word in words.split(",")) if words.strip() else ()


def _filled(axes: str, shape: tuple[int, ...]) -> str:
    """Return axes with the words for those of space, as many as the shape has."""
    words = axes.split()
    return " ".join([*words[:-1], _SPACE.get(len(shape) - len(words) + 1, "")]) if words[-1:] == ["{}"] else axes


def _meanings(found: _Found) -> dict[str, tuple[str, Role, str]]:
    """Return by the number of a constant the layer that takes it, and its role and axes there."""
    layers = {layer.id: layer for layer in found.layers}
    taken: dict[str, list[tuple[str, int]]] = {}
    for origin, target, port in found.edges:
        taken.setdefault(origin, []).append((target, port))
    known = {}
    for layer in found.layers:
        at, port, steps = layer.id, -1, 0
        while layer.kind == "Const" and len(taken.get(at, ())) == 1 and steps < 6:
            at, port = taken[at][0]
            steps += 1
            if at not in layers or layers[at].kind not in _PASSED_ON or port != 0:
                break
        taker = layers.get(at)
        meaning = _OPERATORS.get(taker.kind, {}).get(port) if taker and steps else None
        if taker and meaning:
            turned = taker.kind == "MatMul" and taker.data.get("transpose_b") in ("true", "1")
            known[layer.id] = (taker.name, meaning[0], "out in" if turned else meaning[1])
    return known
