"""What the constants of a graph of TensorFlow are, by the operators that take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from steelyard.core.weight import Role

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain

    Meaning = tuple[Role, str]

_IMAGE = (Role.KERNEL, "kh kw in out")
_DEPTHWISE = (Role.KERNEL, "kh kw in mult")
_DENSE = (Role.KERNEL, "in out")
_BIAS = (Role.BIAS, "out")
_NORM = {1: (Role.SCALE, "channel"), 2: (Role.OFFSET, "channel"), 3: (Role.MEAN, "channel"), 4: (Role.VARIANCE, "channel")}

OPERATORS: Mapping[str, Mapping[int, Meaning]] = {
    "MatMul": {1: _DENSE},
    "_FusedMatMul": {1: _DENSE, 2: _BIAS},
    "Conv1D": {1: (Role.KERNEL, "k in out")},
    "Conv2D": {1: _IMAGE},
    "_FusedConv2D": {1: _IMAGE, 2: _BIAS},
    "Conv3D": {1: (Role.KERNEL, "kd kh kw in out")},
    "Conv2DBackpropInput": {1: (Role.KERNEL, "kh kw out in")},
    "DepthwiseConv2d": {1: _DEPTHWISE},
    "DepthwiseConv2dNative": {1: _DEPTHWISE},
    "FusedDepthwiseConv2dNative": {1: _DEPTHWISE, 2: _BIAS},
    "BiasAdd": {1: _BIAS},
    "FusedBatchNorm": _NORM,
    "FusedBatchNormV2": _NORM,
    "FusedBatchNormV3": _NORM,
    "GatherV2": {0: (Role.EMBEDDING, "vocab out")},
    "ResourceGather": {0: (Role.EMBEDDING, "vocab out")},
}
_OPERATOR = re.compile(
    r"/(MatMul|Conv\dD|BiasAdd|depthwise|separable_conv2d|embedding_lookup|FusedBatchNorm\w*|batchnorm)(_\d+)?(/.*)?$"
)
_READING = re.compile(r"/(ReadVariableOp|resource)(_\d+)?(/.*)?$")


def meanings(nodes: Iterable[Plain]) -> dict[str, Meaning]:
    """Return the role and the axes of the constants that a known operator takes, by their names.

    >>> meanings([{"name": "d", "op": "MatMul", "input": ["x", "w"]}])["w"][1]
    'in out'
    """
    found: dict[str, Meaning] = {}
    for node in nodes:
        if not isinstance(node, dict) or not isinstance(node.get("op"), str) or not isinstance(node.get("input"), list):
            continue
        inputs = node["input"]
        for place, (role, axes) in OPERATORS.get(str(node["op"]), {}).items():
            name = inputs[place] if isinstance(inputs, list) and place < len(inputs) else None
            if isinstance(name, str):
                turned = role is Role.KERNEL and axes == "in out" and _is_set(node, "transpose_b")
                found.setdefault(name.partition(":")[0], (role, "out in" if turned else axes))
    return found


def _is_set(node: Mapping[str, Plain], name: str) -> bool:
    attributes = node.get("attr")
    value = attributes.get(name) if isinstance(attributes, dict) else None
    return isinstance(value, dict) and value.get("b") is True


def layer_in_graph(name: str) -> str:
    """Return the layer of a constant: its name without the operator that takes it.

    >>> layer_in_graph("StatefulPartitionedCall/model/dense/MatMul/ReadVariableOp"), layer_in_graph("dense/BiasAdd/x")
    ('StatefulPartitionedCall/model/dense', 'dense')
    """
    short = _OPERATOR.sub("", name)
    short = short if short != name else _READING.sub("", name)
    return short if short != name else name.rpartition("/")[0]
