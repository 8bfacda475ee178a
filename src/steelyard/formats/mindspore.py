"""MindSpore: `.ckpt`, a protocol buffer of parameters, each with a name, a shape, the word for its type, and its bytes.

    Checkpoint   1: Value, repeated
    Value        1: name, 2: TensorProto
    TensorProto  1: length of an axis, repeated (0 for a scalar)   2: type, such as "Float32"   3: the numbers

A parameter of more than 512 MB is several values with its name, one after another, each with the whole shape and a part of the
numbers. A file may end with "crc_num" and ten bytes of a checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.chunks import Chunk, joined
from steelyard.codecs.limits import is_possible
from steelyard.codecs.protobuf import BYTES, message
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.protobuf import Field
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = ()

_DTYPES = {f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)}
_DTYPES |= {"Float16": "float16", "Float32": "float32", "Float64": "float64", "BFloat16": "bfloat16", "Bool": "bool"}
_BEGIN = re.compile(rb"\n[^\0]{1,5}?\n(.)([\w./:-]+)\x12(.*)", re.DOTALL)
_TYPE = re.compile(rb"\x12.(Float|Int|UInt|BFloat|Bool)\d*[\"\x1a]", re.DOTALL)
_TRAINING = re.compile(
    r"(moments?|moment[12]|accum|accumulation|stat|ms|mg)\..*"
    r"|global_step|learning_rate|momentum|beta[12]_power|scale_sense|(current_)?(step|epoch|iterator_step)(_num)?|last_overflow.*"
)
"""The names of the parameters of optimizers and of loops, which a checkpoint has beside those of the net."""
_CHECKSUM, _CHECKSUM_LENGTH = b"crc_num", 17
_COST = 1500
"""bytes of memory that a value takes"""


class _Value(NamedTuple):
    """A value: a parameter, or a part of one."""

    name: str
    shape: tuple[int, ...]
    kind: str
    at: int
    length: int


def sniff(source: Source) -> bool:
    """Recognise a message with a name, and after it the word for a type."""
    match = _BEGIN.match(source.head(400))
    return match is not None and match[1][0] == len(match[2]) and _TYPE.search(match[3][:200]) is not None


def read(source: Source, scope: Scope) -> Weights:
    """List the parameters in the order of the file; scope "all" has those of the optimizer too."""
    listed: dict[str, Weight] = {}
    run: list[_Value] = []
    for value in [*_values(source), None]:
        if run and (value is None or value.name != run[0].name):
            if run[0].name in listed:
                raise FormatError(source.name, f"has two parameters with the name {quoted(run[0].name)}; the file is ambiguous")
            listed[run[0].name] = _weight(source, run)
            run = []
        if value is not None:
            run.append(value)
    kept = [weight for weight in listed.values() if scope == "all" or not _TRAINING.fullmatch(weight.name)]
    return Weights(infer_roles(kept or listed.values()), meta={"format": "MindSpore"})


def _values(source: Source) -> Iterator[_Value]:
    budget, end = Budget(source), source.size
    if end > _CHECKSUM_LENGTH and source.read(end - _CHECKSUM_LENGTH, len(_CHECKSUM)) == _CHECKSUM:
        end -= _CHECKSUM_LENGTH
    for field in message(source, 0, end):
        budget.spend(_COST, field.begin)
        name, tensor = "", None
        for part in field.message() if field.number == 1 and field.wire == BYTES else ():
            name = part.text() if part.number == 1 else name
            tensor = part if part.number == 2 else tensor
        if tensor is None:
            raise FormatError(source.name, "has a value without a tensor", field.begin)
        yield _value(source, name, tensor)


def _value(source: Source, name: str, tensor: Field) -> _Value:
    shape: list[int] = []
    kind, at, length = "", tensor.offset, 0
    for field in tensor.message():
        if field.number == 1:
            shape += field.integers()
        elif field.number == 2:
            kind = field.text()
        elif field.number == 3 and field.wire == BYTES:
            at, length = field.offset, field.length
        if len(shape) > limits.RANK:
            raise FormatError(source.name, f"{quoted(name)} has more than {limits.RANK} axes", field.begin)
    return _Value(name, () if shape == [0] else tuple(shape), kind, at, length)


def _weight(source: Source, run: list[_Value]) -> Weight:
    """Return a parameter, whose numbers are in the values of a run."""
    first, stored = run[0], sum(value.length for value in run)
    dtype = _DTYPES.get(first.kind, UNKNOWN)
    if dtype == UNKNOWN:
        error = FormatError(source.name, f"{quoted(first.name)} is of the type {quoted(first.kind)}, not of numbers", first.at)
        return Weight(name=first.name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer_of(first.name))
    differ = any((value.shape, value.kind) != (first.shape, first.kind) or value.length % itemsize(dtype) for value in run)
    if differ or not is_possible(first.shape) or prod(first.shape) * itemsize(dtype) != stored:
        what = f"{quoted(first.name)} is {dtype} {list(first.shape)}, and has {stored:,} bytes in {len(run):,} values"
        raise FormatError(source.name, what, first.at)
    read = source.numbers(first.at, dtype)
    if len(run) > 1:
        chunks, at = [], 0
        for value in run:
            count = value.length // itemsize(dtype)
            chunks.append(Chunk((at,), (count,), source.numbers(value.at, dtype)))
            at += count
        return Weight(
            name=first.name, shape=first.shape, dtype=dtype, read=joined((at,), dtype, chunks), layer=layer_of(first.name)
        )
    return Weight(name=first.name, shape=first.shape, dtype=dtype, read=read, layer=layer_of(first.name))
