"""RNNoise before it had binary files, also in FFmpeg (`.rnnn`): a text of integers, 256 times the weights, layer after layer.

    rnnoise-nu model file version 1
    42 24 0     inputs, neurons and activation of the layer input_dense, then its weights and its biases
    24 24 2     vad_gru: weights of the inputs, of its own state, biases, each for three gates; noise_gru and denoise_gru
    96 22 1     denoise_output, and then vad_output: as input_dense

Names are those of the program in C.
"""

from __future__ import annotations

from array import array
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError
from steelyard.formats import NOTES
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".rnnn",)

_HEAD = b"rnnoise-nu model file version 1"
_LAYERS = ("input_dense", "vad_gru", "noise_gru", "denoise_gru", "denoise_output", "vad_output")
_NUMBER_COST = 50
"""bytes of memory that a number takes while it is parsed"""


def sniff(source: Source) -> bool:
    """Recognise the first line."""
    return source.head(len(_HEAD)) == _HEAD


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays of the six layers. The whole text is parsed, since only its numbers tell where an array begins."""
    Budget(source).spend(_NUMBER_COST * (source.size // 2))
    try:
        numbers = array("h", map(int, source.read(len(_HEAD), source.size - len(_HEAD)).split()))
    except (ValueError, OverflowError):
        raise FormatError(source.name, "has something else than small whole numbers after its first line") from None
    listed, at = list[Weight](), 0
    for layer in _LAYERS:
        for name, shape, role in _arrays(source, layer, numbers[at : at + 3]):
            at += 3 if not name else 0
            if name:
                listed.append(_weight(source, layer, name, shape, role, numbers[at : at + prod(shape)]))
                at += prod(shape)
    if at != len(numbers):
        raise FormatError(source.name, f"has {len(numbers) - at:,} numbers after its last layer")
    return Weights(listed, meta={"format": "RNNoise", NOTES: ["the numbers are 256 times the weights"]})


def _arrays(source: Source, layer: str, facts: array[int]) -> Iterator[tuple[str, tuple[int, ...], Role]]:
    """Yield the facts of a layer, without a name, and then its arrays."""
    if len(facts) < 3 or not is_possible((3, *facts[:2])) or not prod(facts[:2]):
        raise FormatError(source.name, f"has the layer {layer} with the sizes {[*facts]} (partial download?)")
    inputs, neurons = facts[0], facts[1]
    yield "", (), Role.OTHER
    gates = 3 if layer.endswith("_gru") else 1
    yield "input_weights", (inputs, gates * neurons), Role.KERNEL
    if gates > 1:
        yield "recurrent_weights", (neurons, gates * neurons), Role.RECURRENT_KERNEL
    yield "bias", (gates * neurons,), Role.BIAS


def _weight(source: Source, layer: str, name: str, shape: tuple[int, ...], role: Role, numbers: array[int]) -> Weight:
    if len(numbers) != prod(shape):
        what = f"ends in {layer}.{name}, after {len(numbers):,} of {prod(shape):,} numbers (partial download?)"
        raise FormatError(source.name, what)
    try:
        stored = from_bytes(array("b", numbers).tobytes(), source.name, within=source)
    except OverflowError:
        raise FormatError(source.name, f"has a number in {layer}.{name} that does not fit into int8") from None
    read, axes = stored.numbers(0, "int8"), "in out" if len(shape) > 1 else "out"
    return Weight(
        name=f"{layer}.{name}", shape=shape, dtype="int8", read=read, role=role, axes=axes, layer=layer, encoding="text"
    )
