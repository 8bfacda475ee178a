"""The steps of functions on each number, and of those that make one number of several, by their names in PyTorch and Keras."""

from __future__ import annotations

import math
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.activations import Activation
from steelyard.device.program.building import Node, refuse
from steelyard.device.program.shaping import Combine, Constant, Permute, Reshape, Scale
from steelyard.device.program.windows import GlobalPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from steelyard.device.program.program import Operation

    Maker = Callable[[Node], int]
    Add = Callable[..., int]


def reduced(add: Add, shapes: Sequence[tuple[int, ...]], place: int, axes: Sequence[int], word: str) -> int:
    """Add the "average", "sum" or "max" over some axes, counted from 1, the first after the examples; return its place.

    `add` adds an operation to a program of which `shapes` are those of the values.
    """
    held = shapes[place]
    rest = [axis for axis in range(1, len(held) + 1) if axis not in axes]
    order = (*rest, *axes)
    if list(order) != sorted(order):
        place = add(Permute(order), place)
    flat = (prod(held[axis - 1] for axis in rest), prod(held[axis - 1] for axis in axes))
    if shapes[place] != flat:
        place = add(Reshape(flat), place)
    place = add(GlobalPool("max" if word == "max" else "average", False, "first"), place)
    return add(Scale("multiply", float(flat[1])), place) if word == "sum" else place


def _reduction(word: str) -> Maker:
    def make(node: Node) -> int:
        node.only("axis", "keepdim")
        given = node.layer.settings.get("axis")
        listed = given if isinstance(given, tuple) else (given,)
        axes = sorted({node.building.axis(node.layer, axis, node.input) for axis in listed})
        keeps, shape = bool(node.layer.settings.get("keepdim")), node.shape
        lengths = [1 if at in axes else length for at, length in enumerate(shape, start=1) if keeps or at not in axes]
        place = reduced(node.add, node.building.shapes, node.input, axes, word)
        return place if node.building.shapes[place] == tuple(lengths) else node.add(Reshape(tuple(lengths)), place)

    return make


def _each(*operations: Operation) -> Maker:
    def make(node: Node) -> int:
        node.only()
        return _in_turn(node, *operations)

    return make


def _in_turn(node: Node, *operations: Operation) -> int:
    place = node.input
    for operation in operations:
        place = node.add(operation, place)
    return place


def _square(node: Node) -> int:
    node.only()
    return node.add(Combine("multiply"), node.input, node.input)


def with_number(node: Node, word: str) -> int:
    """Add a combination of the input with the number in the settings, by a word of `Combine`."""
    number, is_first = _number(node), node.layer.settings.get("value_first")
    if is_first and word == "subtract":
        return _in_turn(node, Scale("multiply", -1.0), Scale("add", number))
    if is_first and word == "divide":
        return _quotient(node, number, node.input)
    return node.add(Scale(word, number), node.input)


def _reciprocal(node: Node) -> int:
    node.only()
    return _quotient(node, 1.0, node.input)


def _reciprocal_root(node: Node) -> int:
    node.only()
    return _quotient(node, 1.0, node.add(_ROOT, node.input))


def _quotient(node: Node, number: float, place: int) -> int:
    import numpy as np

    shape = node.building.shapes[place]
    return node.add(Combine("divide"), node.add(Constant(np.full((1,) * len(shape), number, "float32"))), place)


def _power(node: Node) -> int:
    """Add the powers that are products, roots or reciprocals."""
    if node.layer.settings.get("value_first"):
        refuse(node.layer, "takes a power of a number, which is not known")
    exponent = _number(node)
    if exponent == 1:
        return node.input
    if exponent in (2, 3):
        return node.add(Combine("multiply"), *(node.input,) * int(exponent))
    if exponent == 0.5:
        return node.add(_ROOT, node.input)
    if exponent == -1:
        return _quotient(node, 1.0, node.input)
    if exponent == -0.5:
        return _quotient(node, 1.0, node.add(_ROOT, node.input))
    return refuse(node.layer, f"takes the power {exponent:g}, which is not known")


def _clamp(node: Node) -> int:
    node.only("lowest", "highest")
    lowest, highest = (node.layer.settings.get(word, usual) for word, usual in (("lowest", -math.inf), ("highest", math.inf)))
    if not isinstance(lowest, (int, float)) or not isinstance(highest, (int, float)):
        refuse(node.layer, "has bounds that are not numbers")
    if (lowest, highest) == (0, math.inf):
        return node.add(Activation("relu", {}), node.input)
    return node.add(Activation("hard_tanh", {"lowest": float(lowest), "highest": float(highest)}), node.input)


def _number(node: Node) -> float:
    node.only("merge", "value", "value_first")
    value = node.layer.settings.get("value")
    if not isinstance(value, (int, float)):
        refuse(node.layer, "is known with a number only")
    return float(value)


_ROOT = Activation("square_root", {})
ELEMENTARY: Mapping[str, Maker] = {
    **dict.fromkeys(("abs", "absolute", "Absolute"), _each(Activation("absolute", {}))),
    **dict.fromkeys(("neg", "negative", "Negative"), _each(Scale("multiply", -1.0))),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max", "Clip"), _clamp),
    **dict.fromkeys(("sqrt", "Sqrt"), _each(_ROOT)),
    **dict.fromkeys(("erf", "Erf"), _each(Activation("erf", {}))),
    **dict.fromkeys(("square", "Square"), _square),
    **dict.fromkeys(("reciprocal", "Reciprocal"), _reciprocal),
    **dict.fromkeys(("rsqrt", "Rsqrt"), _reciprocal_root),
    **dict.fromkeys(("pow", "Power"), _power),
    **dict.fromkeys(("mean", "Mean"), _reduction("average")),
    **dict.fromkeys(("sum", "Sum"), _reduction("sum")),
    **dict.fromkeys(("amax", "Max"), _reduction("max")),
}
"""The makers of the functions by their names."""
