"""The nodes of the outermost graph of an ONNX model with all of their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from steelyard.core.computation import Computation, Operator
from steelyard.formats.onnx.messages import value_info

if TYPE_CHECKING:
    from steelyard.core.graph import Setting
    from steelyard.core.weight import Weight
    from steelyard.formats.onnx.messages import AttributeProto, ModelProto, NodeProto

_STANDARD = ("", "ai.onnx")


def computation_of(model: ModelProto, constants: Mapping[str, Weight]) -> Computation:
    """Return the nodes of a model; an operator of another domain has it before its word."""
    graph = model.graph
    inputs = dict(map(value_info, graph.inputs))
    return Computation(
        "ONNX",
        model.opset.get("ai.onnx", 0),
        tuple(_operator(node) for node in graph.nodes),
        {name: shape for name, shape in inputs.items() if name not in constants},
        tuple(value_info(field)[0] for field in graph.outputs),
        constants,
    )


def _operator(node: NodeProto) -> Operator:
    word = node.op if node.domain in _STANDARD else f"{node.domain}.{node.op}"
    attributes = {name: _setting(attribute) for name, attribute in node.attributes.items()}
    return Operator(node.label(), word, tuple(node.inputs), tuple(node.outputs), attributes)


def _setting(attribute: AttributeProto) -> Setting:
    if attribute.number is not None:
        return attribute.number
    if attribute.real is not None:
        return attribute.real
    if attribute.ints or attribute.texts:
        return tuple(attribute.ints or attribute.texts)
    is_other = attribute.tensors or attribute.sparse or attribute.graphs or attribute.elements
    return "..." if is_other else attribute.text
