"""The operators of a file as it lists them, with all of their attributes: what a program of it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.net_facts import with_net

if TYPE_CHECKING:
    from steelyard.core.graph import Setting, Shape
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


class Operator(NamedTuple):
    """One operator: its `name` in the file, its `word`, the names of its tensors, and its attributes by their names there.

    An input that is left out is blank. An attribute that is not a number, a text or a list of these is "...".
    """

    name: str
    word: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Setting]


class Computation(NamedTuple):
    """The operators of a file in order. `language` is "ONNX" or "TFLite", `version` that of its operators.

    `inputs` has the shapes of the net's inputs by name, the examples first; None is a length, or a shape, that is open.
    `constants` are the tensors that the file holds, also those that are not weights, by the names that operators use.
    """

    language: str
    version: int
    operators: tuple[Operator, ...]
    inputs: Mapping[str, Shape | None]
    outputs: tuple[str, ...]
    constants: Mapping[str, Weight]


def with_computation(weights: Weights, computation: Callable[[], Computation]) -> Weights:
    """Return the weights of a file with the function that lists its operators."""
    return with_net(weights, weights._net.replace(computation=computation))


def computation_of(weights: Weights) -> Computation | None:
    """Return the operators of the file that the weights were read from; None if they have no such file, or other names."""
    make = weights._net.computation
    return make() if make else None
