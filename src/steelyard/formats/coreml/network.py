"""A neural network of Core ML: layers with weights in their own messages, named by the layer and Core ML's word, as `fc.weights`.

    NeuralNetwork        1 layers
    NeuralNetworkLayer   1 name, and the settings of one kind of layer, of which weights are a part
    WeightParams         1 float32, 2 float16, 30 packed codes, 31 int8; 40 {1: bits, 101: {1: scale, 2: bias}, 102: {1: palette}}

Source: `NeuralNetwork.proto` of coremltools.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.limits import is_possible
from steelyard.codecs.pieces import PIECE, count_of, joined
from steelyard.codecs.protobuf import BYTES, VARINT
from steelyard.core.weight import Refused, Role, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import FormatError, printable
from steelyard.formats.coreml.codes import Codes, dequantised

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.protobuf import Field
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

    Settings = Mapping[int, list[Field]]

_COST = 1000


class _Part(NamedTuple):
    """A weight of a layer: Core ML's word, its shape, what it is, and the axis of its scales."""

    word: str
    shape: tuple[int, ...]
    role: Role
    axes: str
    scaled: int = 0


def network_weights(source: Source, net: Field, budget: Budget) -> Iterator[Weight]:
    """Yield the weights of all layers. Raises `FormatError` for a damaged message."""
    seen: set[str] = set()
    for layer in net.message():
        if layer.number != 1 or layer.wire != BYTES:
            continue
        budget.spend(_COST)
        name = ""
        kinds: list[Field] = []
        for field in layer.message():
            if field.number == 1:
                name = field.text()
            elif field.number >= 100:
                kinds.append(field)
        for weight in (weight for kind in kinds for weight in _layer(source, name, kind, budget)):
            if weight.name in seen:
                raise FormatError(source.name, f"has two weights of the name {printable(weight.name)}; the model is ambiguous")
            seen.add(weight.name)
            yield weight


def _layer(source: Source, name: str, field: Field, budget: Budget) -> Iterator[Weight]:
    """Yield the weights of a layer; those of a kind that is not known are listed and refused."""
    if field.number in _NOT_READ:
        what = f"is of a layer {_NOT_READ[field.number]!r} of Core ML, whose weights are not read"
        error = FormatError(source.name, f"{printable(name)} {what}", field.begin)
        yield Weight(name=f"{name}.weights", shape=(), dtype=UNKNOWN, read=Refused(error), layer=name)
    if field.number in _LSTMS:
        yield from _lstm(source, name, field, budget)
    elif field.number in _LAYERS:
        settings = _settings(field, budget)
        yield from _parts(source, name, settings, _LAYERS[field.number](settings), budget)


def _lstm(source: Source, name: str, field: Field, budget: Budget) -> Iterator[Weight]:
    """Yield the weights of an LSTM, or of both directions of one."""
    settings = _settings(field, budget)
    sizes: dict[int, list[Field]] = {key: held for key, held in settings.items() if key in (1, 2)}
    for number, inner in enumerate(settings.get(20, ())):
        held = {**_settings(inner, budget)}
        shown = name if field.number == _LSTMS[0] else f"{name}.{number}"
        yield from _parts(source, shown, held, _gates(sizes, _LSTM), budget)


def _settings(field: Field, budget: Budget) -> dict[int, list[Field]]:
    settings: dict[int, list[Field]] = {}
    for inner in field.message():
        budget.spend(PIECE)
        settings.setdefault(inner.number, []).append(inner)
    return settings


def _parts(source: Source, name: str, settings: Settings, parts: Mapping[int, _Part], budget: Budget) -> Iterator[Weight]:
    for number, part in parts.items():
        held = settings.get(number)
        if not held:
            continue
        read, encoding, stored = _values(source, held[-1], part, budget)
        shown = f"{name}.{part.word}"
        if stored != prod(part.shape) or not is_possible(part.shape):
            what = f"{printable(shown)} has the shape {printable(list(part.shape))}, but {stored:,} numbers are stored"
            read = Refused(FormatError(source.name, what, held[-1].begin))
        yield Weight(
            name=shown,
            shape=part.shape if is_possible(part.shape) else (),
            dtype="float16" if encoding == "float16" else "float32",
            read=read,
            role=part.role,
            axes=part.axes if is_possible(part.shape) else "",
            layer=name,
            encoding="" if encoding == "float16" else encoding,
        )


def _values(source: Source, field: Field, part: _Part, budget: Budget) -> tuple[Reader, str, int]:
    """Return a reader of numbers, the word for how they are stored, and how many there are."""
    floats: list[tuple[int, int]] = []
    held: dict[int, Field] = {}
    for inner in field.message():
        budget.spend(PIECE)
        if inner.number == 1:
            floats.append((inner.offset, inner.length))
        else:
            held[inner.number] = inner
    if floats:
        return joined(source, floats, "float32"), "", count_of(floats, "float32")
    if 2 in held and held[2].length:
        return source.numbers(held[2].offset, "float16"), "float16", count_of([(held[2].offset, held[2].length)], "float16")
    packed = held.get(30) or held.get(31)
    if packed is None or 40 not in held:
        return Refused(FormatError(source.name, f"{printable(part.word)} has no numbers", field.begin)), "", prod(part.shape)
    codes = _codes(source, held[40], 31 in held and 30 not in held)
    stored = packed.length * 8 // codes.bits
    stored = prod(part.shape) if 0 <= stored - prod(part.shape) < 8 else stored  # the last byte may have spare bits
    read = dequantised(source, (packed.offset, packed.length), codes, part.shape, part.scaled)
    return read, f"{'palette' if codes.palette else 'linear'} of {codes.bits} bits", stored


def _codes(source: Source, field: Field, is_signed: bool) -> Codes:
    bits, lists = 8, {"scale": list[tuple[int, int]](), "bias": list[tuple[int, int]](), "palette": list[tuple[int, int]]()}
    for inner in field.message():
        if inner.number == 1 and inner.wire == VARINT:
            bits = inner.value
        elif inner.number in (101, 102):
            for part in inner.message():
                word = {(101, 1): "scale", (101, 2): "bias", (102, 1): "palette"}.get((inner.number, part.number))
                if word:
                    lists[word].append((part.offset, part.length))
    if not 1 <= bits <= 8 or any(count_of(pieces, "float32") > 1 << 20 for pieces in lists.values()):
        raise FormatError(source.name, f"has codes of {bits:,} bits, or too long a palette", field.begin)
    counts = tuple(max(count_of(pieces, "float32"), 0) for pieces in lists.values())
    readers = [joined(source, pieces, "float32") if pieces else None for pieces in lists.values()]
    return Codes(bits, readers[0], readers[1], readers[2], counts, is_signed)


def _number(settings: Settings, key: int) -> int:
    held = settings.get(key)
    return held[-1].value if held and held[-1].wire == VARINT else 0


def _numbers(settings: Settings, key: int) -> list[int]:
    return [number for field in settings.get(key, ()) for number in field.integers()]


def _convolution(settings: Settings) -> dict[int, _Part]:
    count, channels, size = _number(settings, 1), _number(settings, 2), _numbers(settings, 20) or [3, 3]
    groups = max(_number(settings, 10), 1)
    turned = bool(_number(settings, 60))
    shape = (channels, count // groups, *size) if turned else (count, channels, *size)
    kernel = _Part("weights", shape, Role.KERNEL, "in out kh kw" if turned else "out in kh kw", int(turned))
    return {90: kernel, 91: _Part("bias", (count,), Role.BIAS, "out")}


def _inner_product(settings: Settings) -> dict[int, _Part]:
    inputs, outputs = _number(settings, 1), _number(settings, 2)
    return {20: _Part("weights", (outputs, inputs), Role.KERNEL, "out in"), 21: _Part("bias", (outputs,), Role.BIAS, "out")}


def _embedding(settings: Settings) -> dict[int, _Part]:
    words, width = _number(settings, 1), _number(settings, 2)
    return {20: _Part("weights", (width, words), Role.EMBEDDING, "out vocab"), 21: _Part("bias", (width,), Role.BIAS, "out")}


def _batchnorm(settings: Settings) -> dict[int, _Part]:
    shape = (_number(settings, 1),)
    words = ((15, "gamma", Role.SCALE), (16, "beta", Role.OFFSET), (17, "mean", Role.MEAN), (18, "variance", Role.VARIANCE))
    return {number: _Part(word, shape, role, "channel") for number, word, role in words}


def _matmul(settings: Settings) -> dict[int, _Part]:
    first, second = _number(settings, 5), _number(settings, 6)
    return {8: _Part("weights", (first, second), Role.KERNEL, "in out"), 9: _Part("bias", (second,), Role.BIAS, "out")}


def _scale(settings: Settings) -> dict[int, _Part]:
    return {
        2: _Part("scale", tuple(_numbers(settings, 1)), Role.SCALE, ""),
        5: _Part("bias", tuple(_numbers(settings, 4)), Role.OFFSET, ""),
    }


def _bias(settings: Settings) -> dict[int, _Part]:
    return {2: _Part("bias", tuple(_numbers(settings, 1)), Role.BIAS, "")}


def _constant(settings: Settings) -> dict[int, _Part]:
    return {2: _Part("data", tuple(_numbers(settings, 1)), Role.OTHER, "")}


def _gates(settings: Settings, words: Mapping[int, str]) -> dict[int, _Part]:
    inputs, outputs = _number(settings, 1), _number(settings, 2)
    kinds = {
        "Recursion": ((outputs, outputs), Role.RECURRENT_KERNEL, "out in"),
        "Bias": ((outputs,), Role.BIAS, "out"),
        "Peephole": ((outputs,), Role.OTHER, ""),
    }
    made = {}
    for number, word in words.items():
        facts = next((facts for key, facts in kinds.items() if key.lower() in word.lower()), None)
        made[number] = _Part(word, *(facts or ((outputs, inputs), Role.KERNEL, "out in")))
    return made


_GRU = {
    start + place: f"{gate}Gate{word}"
    for start, word in ((30, "WeightMatrix"), (50, "RecursionMatrix"), (70, "BiasVector"))
    for place, gate in enumerate(("update", "reset", "output"))
}
_LSTM = {
    start + place: f"{gate}{word}"
    for start, word in ((1, "WeightMatrix"), (20, "RecursionMatrix"), (40, "BiasVector"))
    for place, gate in enumerate(("inputGate", "forgetGate", "blockInput", "outputGate"))
}
_LSTM |= {60: "inputGatePeepholeVector", 61: "forgetGatePeepholeVector", 62: "outputGatePeepholeVector"}
_LSTMS = (420, 430)
_NOT_READ = {500: "custom", 1471: "convolution3d"}
_SIMPLE = {30: "weightMatrix", 31: "recursionMatrix", 32: "biasVector"}

_LAYERS = {
    100: _convolution,
    140: _inner_product,
    150: _embedding,
    160: _batchnorm,
    245: _scale,
    250: _bias,
    290: _constant,
    400: lambda settings: _gates(settings, _SIMPLE),
    410: lambda settings: _gates(settings, _GRU),
    1045: _matmul,
    1350: lambda settings: {
        3: _Part("gamma", tuple(_numbers(settings, 1)), Role.SCALE, ""),
        4: _Part("beta", tuple(_numbers(settings, 1)), Role.OFFSET, ""),
    },
    1040: lambda settings: {
        20: _Part("weights", (_number(settings, 2), _number(settings, 1)), Role.EMBEDDING, "out vocab"),
        21: _Part("bias", (_number(settings, 2),), Role.BIAS, "out"),
    },
    1070: _constant,
}
"""By the field of its settings, what a layer has."""
