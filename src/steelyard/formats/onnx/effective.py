"""The real numbers of quantised initializers, by the operators that take them.

DequantizeLinear    x, scale, zero point; "axis" (1), "block_size"
QLinearConv         x, scale, zero, kernel, scale, zero, of the output scale, zero, bias    by the first axis of the kernel
QLinearMatMul       a, scale, zero, b, scale, zero                    by the last axis of b
QGemm               a, scale, zero, b, scale, zero, bias; "transB"    of ONNX Runtime
MatMulInteger, ConvInteger    the scale multiplies the output: it is the initializer <kernel>_scale next to <kernel>_quantized
MatMulNBits         a, b (N, blocks, bytes), scales, zeros; "K", "N", "bits", "block_size"

An int32 bias has the product of the scales of the input and the kernel. The effective name is that of the initializer without
"_quantized" or "_Q4". Sources: the operator documents of ONNX, and ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.effective import Derivation, derived, refused
from steelyard.errors import ShapeError, printable
from steelyard.formats.onnx.messages import every_graph
from steelyard.numerics.affine import affine
from steelyard.numerics.packed import low_first
from steelyard.numerics.row_changes import kept, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.formats.onnx.messages import ModelProto, NodeProto
    from steelyard.numerics.row_changes import Numbers

_ENDS = ("_quantized", "_Q4", "_Q8", "_Q2")


class _Use(NamedTuple):
    """A quantised initializer: the places of its scales and zeros among the inputs of a node, and the axis of the scales.

    `times` is the place of another scale, which multiplies that of a bias.
    """

    stored: int
    scale: int
    zero: int | None
    axis: int
    times: int | None = None


_USES = {
    "QLinearConv": (_Use(3, 4, 5, 0), _Use(8, 4, None, 0, times=1)),
    "QLinearMatMul": (_Use(0, 1, 2, -2), _Use(3, 4, 5, -1)),
    "QGemm": (_Use(3, 4, 5, 1), _Use(6, 4, None, 0, times=1)),
    "DynamicQuantizeMatMul": (_Use(1, 2, 3, -1),),
    "MatMulIntegerToFloat": (_Use(1, 3, 5, -1),),
}
_INTEGER = {"MatMulInteger": (1, 3, -1), "ConvInteger": (1, 3, 0)}
"""Where the kernel and its zero point are, and the axis of the scales."""
_ABOUT_VALUES = {
    "QLinearConv": (1, 2, 6, 7),
    "QLinearMatMul": (1, 2, 6, 7),
    "QGemm": (1, 2, 7, 8),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}
"""The inputs with the scales and zeros of what flows through the net."""


class _Node(NamedTuple):
    """A node with the weights that it takes, by place; None for what is computed, or left out."""

    node: NodeProto
    inputs: tuple[Weight | None, ...]

    def at(self, place: int | None) -> Weight | None:
        """Return the weight at a place among the inputs."""
        return self.inputs[place] if place is not None and place < len(self.inputs) else None

    def integer(self, name: str, otherwise: int) -> int:
        """Return an attribute."""
        attribute = self.node.attributes.get(name)
        return otherwise if attribute is None or attribute.number is None else attribute.number


def derive(decoded: ModelProto, names: Mapping[tuple[str, str], str], pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights of a model; `names` has the name of the weight of each tensor by its graph and own name."""
    weights = {name: weight for name in pieces if (weight := pieces.get(name)) is not None}
    graphs = [(path, graph) for path, graph, training in every_graph(decoded) if not training]
    nodes = [
        _Node(node, tuple(_found(path, each, names, weights) for each in node.inputs))
        for path, graph in graphs
        for node in graph.nodes
    ]
    done: set[str] = set()
    values = {part.name for node in nodes for part in _about_values(node)}
    for node in nodes:
        for weight in _of_node(node, weights):
            facts = weight.derivation
            if facts is not None and facts.parts[0] not in done:
                done.add(facts.parts[0])
                free = weight.name if weight.name not in weights else facts.parts[0]
                yield weight.replace(name=free, derivation=facts._replace(activations=tuple(sorted(values))))
                values = set()


def _found(path: str, own: str, names: Mapping[tuple[str, str], str], weights: Mapping[str, Weight]) -> Weight | None:
    """Return the weight of a tensor as a graph sees it: its own, or that of a graph around it."""
    while own:
        if (path, own) in names:
            return weights.get(names[path, own])
        if not path:
            return None
        path = path.rpartition("/")[0]
    return None


def _about_values(node: _Node) -> Iterator[Weight]:
    kernel = node.node.op in ("QuantizeLinear", "DequantizeLinear") and node.at(0) is not None
    for place in () if kernel else _ABOUT_VALUES.get(node.node.op, ()):
        weight = node.at(place)
        if weight is not None:
            yield weight


def _of_node(node: _Node, weights: Mapping[str, Weight]) -> Iterator[Weight]:
    op = node.node.op
    if op == "DequantizeLinear" and node.at(0) is not None:
        yield _made(node, _Use(0, 1, 2, node.integer("axis", 1)), weights)
    elif op == "MatMulNBits" and node.at(1) is not None:
        yield _blocks(node)
    elif op in _INTEGER and node.at(_INTEGER[op][0]) is not None:
        stored, zero, axis = _INTEGER[op]
        yield _made(node, _Use(stored, -1, zero, axis), weights)
    for use in _USES.get(op, ()):
        if node.at(use.stored) is not None:
            turned = op == "QGemm" and use.stored == 3 and node.integer("transB", 0)
            yield _made(node, use._replace(axis=0) if turned else use, weights)


def _name(stored: str) -> str:
    return next((stored.removesuffix(end) for end in _ENDS if stored.endswith(end)), stored)


def _made(node: _Node, use: _Use, weights: Mapping[str, Weight]) -> Weight:
    stored = node.at(use.stored)
    assert stored is not None  # the caller has asked
    scale = node.at(use.scale) if use.scale >= 0 else weights.get(f"{_name(stored.name)}_scale")
    zero, times = node.at(use.zero), node.at(use.times)
    parts = tuple(weight.name for weight in (stored, scale, zero) if weight is not None)
    assumed = () if use.scale >= 0 else (f"{printable(parts[-1])} is the scale, by its name: it multiplies the output",)
    facts = Derivation(f"{stored.dtype} of ONNX, {node.node.op}", parts, assumed=assumed if scale is not None else ())
    try:
        if scale is None or (use.times is not None and times is None) or (zero is None and _is_computed(node, use.zero)):
            raise ShapeError("its scale or its zero point is computed, or missing")
        read = _reader(stored, scale, zero, times, node.integer("block_size", 0), use.axis)
    except ShapeError as error:
        return refused(_name(stored.name), facts, str(error), stored.shape)
    return derived(_name(stored.name), stored.shape, read, facts, role=stored.role, axes=stored.axes)


def _is_computed(node: _Node, place: int | None) -> bool:
    return place is not None and place < len(node.node.inputs) and bool(node.node.inputs[place])


def _reader(stored: Weight, scale: Weight, zero: Weight | None, times: Weight | None, block: int, axis: int) -> Reader:
    """Return the reader of real numbers; raises `ShapeError` for scales that do not fit."""
    if any(weight is not None and weight.unreadable for weight in (stored, scale, zero, times)):
        raise ShapeError("one of its parts cannot be read")
    shape = stored.shape or (1,)
    at = axis + len(shape) if axis < 0 else axis
    if scale.size == 1:
        spread, groups = (1,) * len(shape), shape
    elif not 0 <= at < len(shape):
        raise ShapeError(f"its axis is {axis}, and its shape {list(shape)}")
    elif block > 0:
        spread = tuple(-(-size // block) if place == at else size for place, size in enumerate(shape))
        groups = tuple(block if place == at else 1 for place in range(len(shape)))
    else:
        spread = tuple(size if place == at else 1 for place, size in enumerate(shape))
        groups = tuple(1 if place == at else size for place, size in enumerate(shape))
    is_one = scale.size == 1
    if scale.size != prod(spread) or (block > 0 and not is_one and scale.shape != spread):
        raise ShapeError(f"its scales have shape {list(scale.shape)}, and the weight {list(shape)}")
    if zero is not None and zero.size not in (1, scale.size):
        raise ShapeError(f"its zero points have shape {list(zero.shape)}, and its scales {list(scale.shape)}")
    if times is not None and times.size != 1:
        raise ShapeError(f"the scale of its input has shape {list(times.shape)}")
    whole = numbers(scale, spread)
    product = whole if times is None else _product(whole, numbers(times, (1,) * len(shape)))
    zeros = None if zero is None else numbers(zero, spread if zero.size == scale.size else (1,) * len(shape))
    return affine(stored, product, zeros, groups)


def _product(one: Numbers, other: Numbers) -> Numbers:
    return kept(lambda: one() * other())


def _blocks(node: _Node) -> Weight:
    """Return the kernel (K, N) of MatMulNBits: N rows of blocks, with two numbers of 4 bits a byte, the low ones first."""
    stored, scale, zero = node.at(1), node.at(2), node.at(3)
    assert stored is not None
    parts = tuple(weight.name for weight in (stored, scale, zero) if weight is not None)
    inputs, outputs = node.integer("K", 0), node.integer("N", 0)
    bits, block = node.integer("bits", 4), node.integer("block_size", 0)
    facts = Derivation(f"MatMulNBits of ONNX Runtime, {bits} bits", parts, {"bits": bits, "block_size": block})
    name = _name(stored.name)
    if not (0 < inputs <= 1 << 40 and 0 < outputs <= 1 << 40 and block > 0 and bits in (2, 4, 8)):
        return refused(name, facts, f"its K, N, bits and block_size are {inputs}, {outputs}, {bits} and {block}")
    blocks = -(-inputs // block)
    fits = stored.size * 8 == outputs * blocks * block * bits and stored.dtype == "uint8"
    wide = -(-blocks * bits // 8)
    packed = zero is not None and zero.dtype == "uint8"
    zeros = zero is None or zero.size == outputs * (wide if packed else blocks)
    if scale is None or not fits or scale.size != outputs * blocks or not zeros or _is_computed(node, 4):
        what = f"the shapes of its parts do not fit K {inputs}, N {outputs}, {bits} bits and blocks of {block}"
        return refused(name, facts, what, (inputs, outputs))
    flat = stored.replace(shape=(outputs, stored.size // outputs))
    if stored.unreadable or scale.unreadable:
        return refused(name, facts, "one of its parts cannot be read", (inputs, outputs))
    shifts = None if zero is None else _zeros(zero, outputs, blocks, bits, wide, packed=packed)
    read = _kernel(flat, numbers(scale, (outputs, blocks)), shifts, inputs, block, bits)
    return derived(name, (inputs, outputs), read, facts, role=stored.role, axes="in out")


def _zeros(zero: Weight, outputs: int, blocks: int, bits: int, wide: int, *, packed: bool) -> Callable[[], Array]:
    if not packed:
        return numbers(zero, (outputs, blocks))
    return kept(lambda: low_first(zero.numpy().reshape(outputs, wide), bits)[:, :blocks].astype("f8"))


def _kernel(flat: Weight, scales: Numbers, zeros: Numbers | None, inputs: int, block: int, bits: int) -> Reader:
    """Return the reader of the transposed matrix: columns are read in bands that are kept (`core.readers.ByColumns`)."""
    from steelyard.core.readers import ByColumns, by_rows
    from steelyard.numerics.packed import repeated, rows

    def part(first: int, last: int) -> Array:
        import numpy as np

        values = low_first(rows(flat, first, last), bits)[:, :inputs].astype(np.float64)
        middle = 1 << (bits - 1) if zeros is None else repeated(zeros()[first:last], 1, block, inputs)
        result: Array = ((values - middle) * repeated(scales()[first:last], 1, block, inputs)).astype(np.float32)
        return result

    return ByColumns(by_rows((flat.shape[0], inputs), part), (inputs, flat.shape[0]))
