"""The error of each layer of a quantised program, in the numbers of its net."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log10
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.folding import folded

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.int8.program import QuantizedProgram
    from steelyard.device.program.program import Program

_BATCH = 64
"""examples that are computed at a time"""


class LayerError(NamedTuple):
    """The error of a layer's output with all before it, against the float program on the same examples.

    `sqnr` is the signal to quantisation noise ratio in decibels: 10 log10(sum of squares / sum of squared errors). `max` is the
    largest error, `largest` the largest magnitude of the float program, and `scale` the step between two codes.
    """

    name: str
    operation: str
    sqnr: float
    max: float
    largest: float
    scale: float


class Errors(NamedTuple):
    """The errors of all layers in order, and the share of examples whose greatest output is that of the float program."""

    layers: tuple[LayerError, ...]
    agreement: float
    examples: int


def errors_of(quantized: QuantizedProgram, program: Program, data: Sequence[Array]) -> Errors:
    """Return the errors of a quantised program against the float program that it is made of, on examples of its inputs."""
    import numpy as np

    program, first = folded(program), len(quantized.input_names)
    count = len(quantized.steps)
    signal, noise, most, largest = (np.zeros(count) for _ in range(4))
    same = 0
    for start in range(0, len(data[0]), _BATCH):
        batch = [each[start : start + _BATCH] for each in data]
        wanted, made = program.values(*batch), quantized.values(*quantized.codes(*batch))
        for place in range(count):
            known = wanted[quantized.origins[first + place]].astype(np.float64)
            apart = np.abs(quantized.numbers(first + place, made[first + place]) - known)
            signal[place] += np.square(known).sum()
            noise[place] += np.square(apart).sum()
            most[place], largest[place] = max(most[place], apart.max()), max(largest[place], np.abs(known).max())
        flat = (each[place].reshape(len(batch[0]), -1) for each, place in _outputs(quantized, program, made, wanted))
        ours, theirs = (each.argmax(axis=1) for each in flat)
        same += int((ours == theirs).sum())
    layers = [
        LayerError(
            step.name, type(step.operation).__name__, _decibels(*figures), float(most[at]), float(largest[at]), _scale(step)
        )
        for at, (step, figures) in enumerate(zip(quantized.steps, zip(signal, noise, strict=True), strict=True))
    ]
    return Errors(tuple(layers), same / len(data[0]), len(data[0]))


def _outputs(
    quantized: QuantizedProgram, program: Program, made: Sequence[Array], wanted: Sequence[Array]
) -> list[tuple[Sequence[Array], int]]:
    return [(made, quantized.outputs[0]), (wanted, program.outputs[0])]


def _scale(step: object) -> float:
    known = getattr(step, "quantization", None)
    return float(known.scale) if known else 0.0


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf
