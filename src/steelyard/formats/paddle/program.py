"""The program of a model of PaddlePaddle: the names of its weights, and what its operators do with them.

    ProgramDesc   1 blocks
    BlockDesc     3 variables, 4 operators
    VarDesc       1 name, 2 type {1: kind, 3: {1: {1: type of numbers, 2: length of each axis}}}, 3 whether it is stored
    OpDesc        1 inputs {1: parameter, 2: names}, 3 type, 4 settings {1: name, 10: truth value}

A file of all tensors has them in the order of their names. Source: `framework.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.protobuf import BYTES, message
from steelyard.core.weight import Role
from steelyard.formats.paddle.tensors import TYPES

if TYPE_CHECKING:
    from steelyard.codecs.protobuf import Field
    from steelyard.storage.source import Source

    Meaning = tuple[Role, str]

_COST = 1000
_TENSOR = 7
"""the kind of a variable that is a tensor; others pass inputs and outputs"""
_NORM = {
    "Scale": (Role.SCALE, "channel"),
    "Bias": (Role.OFFSET, "channel"),
    "Mean": (Role.MEAN, "channel"),
    "Variance": (Role.VARIANCE, "channel"),
}
_CONV: Mapping[str, Meaning] = {"Filter": (Role.KERNEL, "out in kh kw"), "Bias": (Role.BIAS, "out")}
_TURNED: Mapping[str, Meaning] = {"Filter": (Role.KERNEL, "in out kh kw"), "Bias": (Role.BIAS, "out")}
_DENSE: Mapping[str, Meaning] = {"Y": (Role.KERNEL, "in out")}
_EMBEDDING: Mapping[str, Meaning] = {"W": (Role.EMBEDDING, "vocab out")}
_OPERATORS: Mapping[str, Mapping[str, Meaning]] = {
    "conv2d": _CONV,
    "fused_conv2d": _CONV,
    "depthwise_conv2d": _CONV,
    "conv2d_transpose": _TURNED,
    "depthwise_conv2d_transpose": _TURNED,
    "mul": _DENSE,
    "matmul": _DENSE,
    "matmul_v2": _DENSE,
    "fc": {"W": (Role.KERNEL, "in out"), "Bias": (Role.BIAS, "out")},
    "batch_norm": _NORM,
    "sync_batch_norm": _NORM,
    "instance_norm": _NORM,
    "group_norm": _NORM,
    "layer_norm": _NORM,
    "lookup_table": _EMBEDDING,
    "lookup_table_v2": _EMBEDDING,
    "elementwise_add": {"Y": (Role.BIAS, "out")},
}
_TURNS = ("trans_y", "transpose_Y")


class Variable(NamedTuple):
    """A stored variable: its name, its shape and its type."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Program(NamedTuple):
    """The stored variables in the order of their names, and the roles and axes of those that a known operator takes."""

    variables: list[Variable]
    meanings: dict[str, Meaning]


def read_program(source: Source) -> Program:
    """Read a program. Raises `FormatError` for one that is damaged."""
    budget = Budget(source)
    variables: dict[str, Variable] = {}
    meanings: dict[str, Meaning] = {}
    for block in message(source):
        if block.number != 1 or block.wire != BYTES:
            continue
        for field in block.message():
            if field.number == 3 and (variable := _variable(field, budget)):
                variables[variable.name] = variable
            elif field.number == 4:
                budget.spend(_COST)
                for name, meaning in _meanings(field):
                    meanings.setdefault(name, meaning)
    return Program([variables[name] for name in sorted(variables)], meanings)


def _variable(field: Field, budget: Budget) -> Variable | None:
    budget.spend(_COST)
    name, is_stored, kind, dtype, dims = "", False, 0, -1, list[int]()
    for inner in field.message():
        if inner.number == 1:
            name = inner.text()
        elif inner.number == 3:
            is_stored = bool(inner.unsigned())
        elif inner.number == 2:
            for part in inner.message():
                if part.number == 1:
                    kind = part.unsigned()
                elif part.number == 3:
                    dtype, dims = _tensor(part)
    return Variable(name, tuple(dims), TYPES.get(dtype, "")) if is_stored and kind == _TENSOR else None


def _tensor(field: Field) -> tuple[int, list[int]]:
    dtype, dims = -1, list[int]()
    for tensor in field.message():
        if tensor.number != 1:
            continue
        for part in tensor.message():
            if part.number == 1:
                dtype = part.unsigned()
            elif part.number == 2:
                dims += part.integers()
    return dtype, dims


def _meanings(field: Field) -> Iterator[tuple[str, Meaning]]:
    """Yield the names of the variables that an operator takes, and what they are."""
    kind, inputs, is_turned = "", list[tuple[str, str]](), False
    for inner in field.message():
        if inner.number == 3:
            kind = inner.text()
        elif inner.number == 1:
            words = [(part.number, part.text()) for part in inner.message() if part.number in (1, 2)]
            parameter = next((word for number, word in words if number == 1), "")
            inputs += [(parameter, word) for number, word in words if number == 2]
        elif inner.number == 4:
            parts = {part.number: part for part in inner.message() if part.number in (1, 10)}
            is_turned |= 1 in parts and 10 in parts and parts[1].text() in _TURNS and bool(parts[10].value)
    for parameter, name in inputs:
        meaning = _OPERATORS.get(kind, {}).get(parameter)
        if meaning:
            yield name, (meaning[0], "out in") if is_turned and meaning[1] == "in out" else meaning
