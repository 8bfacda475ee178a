"""The roles and axes of tensors, by the operators that take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.core.weight import Role

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table

    Facts = dict[int, tuple[Role, str]]

_BIAS = (Role.BIAS, "out")
_DENSE = (Role.KERNEL, "out in")
_RECURRENT = (Role.RECURRENT_KERNEL, "out in")


def _lstm(kernels: int, recurrent: int, peepholes: int, biases: int, projection: int) -> Facts:
    """Return the inputs of an LSTM by the places where their groups begin. Each gate is an input: i, f, g, o."""
    facts: Facts = {}
    for place, gate in enumerate("ifgo"):
        facts[kernels + place] = (Role.KERNEL, f"[{gate}]*out in")
        facts[recurrent + place] = (Role.RECURRENT_KERNEL, f"[{gate}]*out in")
        facts[biases + place] = (Role.BIAS, f"[{gate}]*out")
    facts |= dict.fromkeys(range(peepholes, peepholes + 3), (Role.OTHER, "out"))
    return facts | {projection: _DENSE, projection + 1: _BIAS}


_ONE_LSTM = _lstm(1, 5, 9, 12, 16) | dict.fromkeys(range(20, 24), (Role.SCALE, "channel"))

OPERATORS: dict[int, Facts] = {
    3: {1: (Role.KERNEL, "out kh kw in"), 2: _BIAS},  # CONV_2D
    4: {1: (Role.KERNEL, "1 kh kw out"), 2: _BIAS},  # DEPTHWISE_CONV_2D
    7: {1: (Role.EMBEDDING, "vocab out")},  # EMBEDDING_LOOKUP
    9: {1: _DENSE, 2: _BIAS},  # FULLY_CONNECTED
    16: _ONE_LSTM,  # LSTM
    24: {1: _DENSE, 2: _RECURRENT, 3: _BIAS},  # RNN
    27: {1: _DENSE, 2: (Role.KERNEL, "out time"), 3: _BIAS},  # SVDF
    35: {1: _DENSE, 2: _RECURRENT, 3: _BIAS},  # UNIDIRECTIONAL_SEQUENCE_RNN
    44: _ONE_LSTM,  # UNIDIRECTIONAL_SEQUENCE_LSTM
    46: {1: _DENSE, 2: _RECURRENT, 3: _BIAS, 5: _DENSE, 6: _RECURRENT, 7: _BIAS},  # BIDIRECTIONAL_SEQUENCE_RNN
    52: _lstm(1, 5, 9, 12, 16) | _lstm(18, 22, 26, 29, 33),  # BIDIRECTIONAL_SEQUENCE_LSTM
    54: {1: (Role.OTHER, "channel")},  # PRELU
    67: {1: (Role.KERNEL, "out kh kw in"), 3: _BIAS},  # TRANSPOSE_CONV
    132: {1: (Role.KERNEL, "kd kh kw in out"), 2: _BIAS},  # CONV_3D
    141: {1: (Role.KERNEL, "kd kh kw out in"), 3: _BIAS},  # CONV_3D_TRANSPOSE
}
"""The operators with weights, by their codes, and the inputs of each that are weights."""

_GATHER, _BATCH_MATMUL = 36, 126
_PASSING = (6, 53, 114, 124)
"""DEQUANTIZE, CAST, QUANTIZE, DENSIFY: the same tensor in another encoding."""


def meanings(subgraph: Table, codes: Sequence[int]) -> Facts:
    """Return role and axes of the tensors of a subgraph, as far as its operators determine them, by their index."""
    facts: Facts = {}
    passed: list[tuple[int, int]] = []
    for operator in subgraph.tables(10):
        number = operator.number(4, "I")
        code = codes[number] if number < len(codes) else -1
        inputs = operator.numbers(6, "i")
        for place, fact in _inputs_of(operator, code):
            if place < len(inputs):
                facts.setdefault(inputs[place], fact)
        if code in _PASSING and inputs:
            passed += [(inputs[0], output) for output in operator.numbers(8, "i")[:1]]
    for before, after in reversed(passed):
        if after in facts:
            facts.setdefault(before, facts[after])
    return facts


def _inputs_of(operator: Table, code: int) -> Iterator[tuple[int, tuple[Role, str]]]:
    yield from OPERATORS.get(code, {}).items()
    options = operator.table(12) if code in (_GATHER, _BATCH_MATMUL) else None
    if code == _GATHER and not (options and options.number(4, "i")):
        yield 0, (Role.EMBEDDING, "vocab out")
    if code == _BATCH_MATMUL:
        transposed = bool(options and options.number(6, "b"))
        yield 1, (Role.KERNEL, "out in" if transposed else "in out")
