"""TensorFlow: the constants of a frozen graph (GraphDef), by the names of their nodes.

    GraphDef      1 nodes
    NodeDef       1 name, 2 operator, 3 inputs, 5 settings {1: name, 2: value}
    AttrValue     5 truth value, 6 type, 8 tensor

Source: `graph.proto` of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.protobuf import BYTES, message
from steelyard.codecs.tensor_proto import refused, tensor
from steelyard.codecs.tensorflow_roles import OPERATORS, layer_in_graph, meanings
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.errors import FormatError, SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.codecs.protobuf import Field
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

    Pieces = list[tuple[int, int]]

SUFFIXES = (".pb",)

_PASSED_ON = ("Identity", "Enter")
_COST = 1000
_NODE = 2000
"""bytes of memory that a node with a known operator takes"""
_LOOKED_AT = 8
_HOPS = 10
"""nodes in a row that pass a constant on"""


def sniff(source: Source) -> bool:
    """Recognise a node with a name and an operator as the first message."""
    if source.head(1) != b"\n":
        return False
    try:
        node = next(message(source))
        fields: dict[int, Field] = {}
        for number, field in enumerate(node.message()):
            fields.setdefault(field.number, field)
            if field.wire != BYTES or number > _LOOKED_AT or {1, 2} <= fields.keys():
                break
        name, kind = (fields[number].data(1000).decode("ascii") for number in (1, 2))
    except (SteelyardError, StopIteration, KeyError, UnicodeDecodeError):
        return False
    kind = kind.lstrip("_")
    return name.isprintable() and kind.isidentifier() and kind[:1].isupper()


def read(source: Source, scope: Scope) -> Weights:
    """List the constants in the order of the graph; those of integers that no known operator takes only with scope "all"."""
    budget, listed = Budget(source), list[Weight]()
    nodes: list[dict[str, Plain]] = []
    passed: dict[str, str] = {}
    for field in message(source):
        if field.number == 1 and field.wire == BYTES:
            _node(field, budget, listed, nodes, passed)
    if len({weight.name for weight in listed}) < len(listed):
        raise FormatError(source.name, "has two constants of one name; the graph is ambiguous")
    for node in nodes:
        inputs = node["input"]
        node["input"] = [_origin(str(name), passed) for name in inputs] if isinstance(inputs, list) else []
    return Weights(_explained(listed, nodes, scope))


def _node(field: Field, budget: Budget, listed: list[Weight], nodes: list[dict[str, Plain]], passed: dict[str, str]) -> None:
    """Add what a node is: a constant, one that passes it on, or an operator that tells what its inputs are."""
    budget.spend(_COST, field.begin)
    name = kind = ""
    inputs: list[Plain] = []
    settings: list[Field] = []
    for inner in field.message():
        if inner.number == 1:
            name = inner.text()
        elif inner.number == 2:
            kind = inner.text()
        elif inner.number == 3:
            budget.spend(_COST // 10)
            inputs.append(inner.text())
        elif inner.number == 5:
            settings.append(inner)
    if kind == "Const":
        listed.append(_constant(field, name, settings, budget))
    elif kind in _PASSED_ON and inputs:
        passed[name] = str(inputs[0])
    elif kind in OPERATORS:
        budget.spend(_NODE)
        nodes.append({"name": name, "op": kind, "input": inputs, "attr": {"transpose_b": {"b": _is_turned(settings)}}})


def _is_turned(settings: list[Field]) -> bool:
    for field in settings:
        parts = {part.number: part for part in field.message()}
        if 1 in parts and 2 in parts and parts[1].text() == "transpose_b":
            return any(part.number == 5 and bool(part.value) for part in parts[2].message())
    return False


def _origin(name: str, passed: dict[str, str]) -> str:
    """Return the node that an input comes from, through those that pass it on."""
    for _ in range(_HOPS):
        plain = name.partition(":")[0]
        if plain not in passed:
            break
        name = passed[plain]
    return name


def _explained(listed: list[Weight], nodes: list[dict[str, Plain]], scope: Scope) -> Iterator[Weight]:
    known = meanings(nodes)
    for weight in listed:
        role, axes = known.get(weight.name, (Role.OTHER, ""))
        fits = len(axes.split()) == len(weight.shape)
        if scope == "all" or role is not Role.OTHER or is_floating(weight.dtype):
            yield weight.replace(role=role, axes=axes if fits else "", layer=layer_in_graph(weight.name))


def _constant(node: Field, name: str, settings: list[Field], budget: Budget) -> Weight:
    for field in settings:
        for value in [part for part in field.message() if part.number == 2]:
            for part in value.message():
                if part.number == 8 and part.wire == BYTES:
                    return tensor(part, name, budget)
    return refused(name, node.error(f"is the constant {printable(name)} without a value"))
