"""The weights of Xiph's nets in C, such as RNNoise and those of Opus (DRED, LACE): one block after another, each a named array.

char[4] "DNNw"; int32 version; int32 type: 0 float32, 1 int32, 2 and 3 int8; int32 bytes of numbers; int32 bytes of the block;
char[44] name, which ends with 0; the numbers; zeros up to the bytes of the block

An array has one axis: only the program knows the sizes of its layers. A quantised kernel is int8, with a `_scale` of each output.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.pages import Pages
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = ()

_MAGIC = b"DNNw"
_HEAD = struct.Struct("<4s4i44s")
_DTYPES = {0: "float32", 1: "int32", 2: "int8", 3: "int8"}
_NAME = re.compile(r"(.*?)_?(bias|subias|weights_float|weights_int8|weights_idx|weights_diag|weights|diag|scale)")
_ROLES = {"bias": Role.BIAS, "weights_float": Role.KERNEL, "weights_int8": Role.KERNEL, "weights": Role.KERNEL}
_COST = 1200
"""bytes of memory that an array takes"""


def sniff(source: Source) -> bool:
    """Recognise the word that begins each block."""
    return source.head(4) == _MAGIC


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays in the order of the file."""
    pages, budget, at = Pages(source, _HEAD.size), Budget(source), 0
    listed: dict[str, Weight] = {}
    version = 0
    while at < source.size:
        budget.spend(_COST, at)
        magic, version, kind, size, block, stored = _HEAD.unpack(pages.read(at, _HEAD.size))
        name, zero, _ = stored.partition(b"\0")
        if magic != _MAGIC or not zero or kind not in _DTYPES:
            raise FormatError(source.name, f"has a block without DNNw, an end of its name or a known type ({kind:,})", at)
        weight = _weight(source, name.decode("utf-8", "backslashreplace"), _DTYPES[kind], at + _HEAD.size, size)
        if weight.name in listed:
            raise FormatError(source.name, f"has two arrays with the name {quoted(weight.name)}; the file is ambiguous", at)
        if not 0 <= size <= block <= source.size - at - _HEAD.size:
            left = source.size - at - _HEAD.size
            what = f"{quoted(weight.name)} claims {size:,} bytes in a block of {block:,}, where {left:,} are left"
            raise FormatError(source.name, f"{what} (partial download?)", at)
        listed[weight.name] = weight
        at += _HEAD.size + block
    return Weights(listed.values(), meta={"format": "DNNw", "version": version})


def _weight(source: Source, name: str, dtype: str, at: int, size: int) -> Weight:
    if size % itemsize(dtype):
        raise FormatError(source.name, f"{quoted(name)} is {dtype}, and has {size:,} bytes", at)
    match = _NAME.fullmatch(name)
    role = _ROLES.get(match[2], Role.OTHER) if match else Role.OTHER
    return Weight(
        name=name,
        shape=(max(size, 0) // itemsize(dtype),),
        dtype=dtype,
        read=source.numbers(at, dtype),
        role=role,
        axes="out" if role is Role.BIAS else "",
        layer=match[1] if match else "",
    )
