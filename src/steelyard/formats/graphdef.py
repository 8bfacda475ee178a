"""TensorFlow: the constants of a frozen graph (GraphDef), by the names of their nodes.

    GraphDef      1 nodes
    NodeDef       1 name, 2 operator, 3 inputs, 5 settings {1: name, 2: value}
    AttrValue     5 truth value, 6 type, 8 tensor
    TensorProto   1 type, 2 {2: {1: length of an axis}}, 4 numbers as bytes; or a list of them by type, whose last is repeated:
                  5 float32, 6 float64, 7 up to 32 bits, 9 complex64, 10 int64, 11 bool, 12 complex128, 13 two-byte floats,
                  16 uint32, 17 uint64

Source: `graph.proto`, `tensor.proto` and `types.proto` of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.codecs.pieces import PIECE, count_of, joined
from steelyard.codecs.protobuf import BYTES, VARINT, message, unpacked
from steelyard.codecs.tensorflow_roles import OPERATORS, layer_in_graph, meanings
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating, itemsize, numpy_dtype
from steelyard.errors import FormatError, SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.codecs.protobuf import Field
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Pieces = list[tuple[int, int]]

SUFFIXES = (".pb",)

TYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64", 9: "int64", 10: "bool"}
TYPES |= {11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16", 17: "uint16", 18: "complex128"}
TYPES |= {19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn"}
_QUANTISED = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16"}
_CONTENT, _FIXED, _VARINTS, _HALVES = 4, (5, 6, 9, 12), (7, 10, 11, 13, 16, 17), 13
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
                    return _tensor(part, name, budget)
    return _refused(name, (), node.error(f"is the constant {printable(name)} without a value"))


def _refused(name: str, shape: tuple[int, ...], error: FormatError) -> Weight:
    return Weight(name=name, shape=shape, dtype=UNKNOWN, read=Refused(error))


def _tensor(field: Field, name: str, budget: Budget) -> Weight:
    kind, dims = 0, list[int]()
    runs: dict[int, Pieces] = {}
    single: dict[int, list[int]] = {}
    for inner in field.message():
        if inner.number == 1:
            kind = inner.unsigned()
        elif inner.number == 2:
            axes = [axis for axis in inner.message() if axis.number == 2]
            dims += [next((part.signed() for part in axis.message() if part.number == 1), 0) for axis in axes]
        elif inner.number in (_CONTENT, *_FIXED, *_VARINTS):
            budget.spend(PIECE)
            if inner.wire == VARINT:
                single.setdefault(inner.number, []).append(inner.value)
            else:
                runs.setdefault(inner.number, []).append((inner.offset, inner.length))
    shape, dtype, file = tuple(dims), TYPES.get(kind, ""), budget.file
    if not dtype or not is_possible(shape):
        what = f"{printable(name)} is of the type {kind} and the shape {printable(dims)}, which is not one of numbers"
        return _refused(name, (), FormatError(file, what, field.begin))
    return Weight(
        name=name,
        shape=shape,
        dtype=dtype,
        encoding=_QUANTISED.get(kind, ""),
        read=_reader(field, name, (prod(shape), dtype), runs, single, budget),
    )


def _reader(
    field: Field, name: str, wanted: tuple[int, str], runs: dict[int, Pieces], single: dict[int, list[int]], budget: Budget
) -> Reader:
    """Return a reader of the numbers, as bytes or as a list."""
    (count, dtype), source = wanted, field.source
    content = runs.get(_CONTENT)
    if content and content[-1][1]:
        stored = count_of(content[-1:], dtype)
        if stored == count:
            return joined(source, content[-1:], dtype)
        what = f"{printable(name)} has {count:,} numbers, but {content[-1][1]:,} bytes are stored"
        return Refused(FormatError(source.name, what, field.begin))
    number = next((number for number in (*_FIXED, *_VARINTS) if number in runs or number in single), 0)
    stored_bytes = field.length
    if is_bomb(count * itemsize(dtype), stored_bytes):
        what = f"{printable(name)} would take {count * itemsize(dtype):,} bytes, but {stored_bytes:,} are stored; refused"
        return Refused(FormatError(source.name, f"{what}, see steelyard.limits", field.begin))
    if number in _FIXED and count_of(runs.get(number, []), dtype) == count and len(runs[number]) == 1:
        return joined(source, runs[number], dtype)
    budget.spend_read(count * itemsize(dtype))
    return _listed(source, dtype, count, number, (runs.get(number, []), single.get(number, [])))


def _listed(source: Source, dtype: str, count: int, number: int, stored: tuple[Pieces, list[int]]) -> Reader:
    """Return a reader of a list of numbers, whose last one is repeated to the end; of none, all are zero."""

    @cache
    def values() -> Array:
        import numpy as np

        made = np.array(stored[1], np.uint64)
        if number in _FIXED:
            return joined(source, stored[0], dtype)(0, max(count_of(stored[0], dtype), 0))
        for offset, length in stored[0]:
            made = np.concatenate([made, unpacked(source.read(offset, length), length)])
        bits = {2: "u2", 1: "u1"}.get(itemsize(dtype)) if number == _HALVES else None
        return made.astype(bits).view(numpy_dtype(dtype)) if bits else made.astype(np.int64).astype(numpy_dtype(dtype))

    def read(start: int, stop: int) -> Array:
        import numpy as np

        try:
            found = values()
        except ValueError as error:  # FormatError too
            raise FormatError(source.name, f"a list of numbers is damaged: {error}") from None
        if len(found) > count:
            raise FormatError(source.name, f"has {len(found):,} numbers for a tensor of {count:,}")
        block = np.zeros(stop - start, numpy_dtype(dtype))
        part = found[start:stop]
        block[: len(part)] = part
        if len(found):
            block[len(part) :] = found[-1]
        return block

    return read
