"""OpenVINO: the constants of a net in a `.xml` file, whose numbers are in the `.bin` of the same name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_possible
from steelyard.codecs.lone_file import lone_file
from steelyard.codecs.subbyte import BITS, bytes_of, decoded
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted
from steelyard.formats.openvino.layers import Net, read_net

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Reader
    from steelyard.formats.openvino.layers import Constant
    from steelyard.storage.source import Source

SUFFIXES = (".xml",)

TYPES = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2",
    "f8e8m0": "float8_e8m0fnu",
    "f4e2m1": "float4_e2m1fn",
    "boolean": "bool",
    **{f"{sign}{bits}": f"{word}{bits}" for sign, word in (("i", "int"), ("u", "uint")) for bits in (4, 8, 16, 32, 64)},
    "u2": "uint2",
    "FP32": "float32",
    "FP16": "float16",
    "I8": "int8",
    "U8": "uint8",
    "I32": "int32",
    "I64": "int64",
}
"""The types of numbers, by the words of newer and older files."""

_HEAD = 4096
_NET = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<net\s[^>]*\bname=", re.DOTALL)


def sniff(source: Source) -> bool:
    """Recognise the element of a net, a .bin with such a .xml next to it, or a folder with one pair of them."""
    if source.is_folder:
        return _inside(source) is not None
    if source.name.lower().endswith(".bin") and source.is_file:
        return _pair(source, ".xml") is not None
    return _is_net(source)


def _is_net(source: Source) -> bool:
    head = source.head(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    return head[:1] == b"<" and _NET.match(source.head(_HEAD).lstrip(b"\xef\xbb\xbf")) is not None


def _pair(source: Source, suffix: str) -> Source | None:
    """Return the file of the same name with another suffix, if it is a net."""
    try:
        other = source.beside(_named(source, suffix))
        return other if not other.is_folder and _is_net(other) else None
    except SteelyardError:
        return None


def _named(source: Source, suffix: str) -> str:
    return os.path.basename(source.name.replace("\\", "/")).rpartition(".")[0] + suffix


def _inside(folder: Source) -> Source | None:
    """Return the net of a folder that has one."""
    names = set(folder.names())
    pairs = [name for name in names if name.lower().endswith(".xml") and f"{name[:-4]}.bin" in names]
    return lone_file(folder, pairs, _is_net)


def read(source: Source, scope: Scope) -> Weights:
    """List the constants in the order of the layers; integers that no known layer takes as weights only with scope "all"."""
    file = _inside(source) if source.is_folder else _pair(source, ".xml") if source.name.lower().endswith(".bin") else source
    if file is None:
        raise FormatError(source.name, "has no net of OpenVINO any more")
    net = read_net(file)
    meta: dict[str, object] = {"name": net.name} if net.name else {}
    numbers: Source | None = None
    try:
        numbers = file.beside(_named(file, ".bin"))
    except FileMissingError:
        if net.constants:
            meta["incomplete"] = [f"lacks the file {quoted(_named(file, '.bin'))}, which has the numbers"]
    return Weights(_listed(net, file, numbers, scope), meta=meta)


def _listed(net: Net, file: Source, numbers: Source | None, scope: Scope) -> Iterator[Weight]:
    seen: set[str] = set()
    for constant in net.constants:
        if constant.name in seen:
            raise FormatError(file.name, f"has two constants of the name {printable(constant.name)}; the file is ambiguous")
        seen.add(constant.name)
        dtype = TYPES.get(constant.kind, UNKNOWN)
        is_weight = constant.role is not Role.OTHER or is_floating(dtype) or constant.kind in ("u4", "i4", "u8", "i8", "nf4")
        if scope != "all" and not is_weight:
            continue
        fits = len(constant.axes.split()) == len(constant.shape)
        yield Weight(
            name=constant.name,
            shape=constant.shape if dtype != UNKNOWN else (),
            dtype=dtype,
            read=_reader(constant, dtype, file, numbers),
            role=constant.role,
            axes=constant.axes if fits and dtype != UNKNOWN else "",
            layer=constant.layer,
            encoding=constant.kind if dtype in BITS else "",
        )


def _reader(constant: Constant, dtype: str, file: Source, numbers: Source | None) -> Reader:
    """Return a reader of numbers, or one that raises the reason why there are none."""
    shown = printable(constant.name)
    if dtype == UNKNOWN:
        return Refused(FormatError(file.name, f"{shown} is of the type {quoted(constant.kind)}, which is not read"))
    if numbers is None:
        return Refused(FormatError(file.name, f"{shown} has its numbers in {quoted(_named(file, '.bin'))}, which is missing"))
    if not is_possible(constant.shape) or constant.size != bytes_of(prod(constant.shape), dtype):
        what = f"{shown} has the shape {printable(list(constant.shape))} of {constant.kind}, but {constant.size:,} bytes"
        return Refused(FormatError(file.name, what))
    if constant.offset + constant.size > numbers.size:
        what = f"{shown} ends at byte {constant.offset + constant.size:,}, and the file has {numbers.size:,} (partial download?)"
        return Refused(FormatError(numbers.name, what))
    if dtype in BITS:
        return decoded(numbers.part(constant.offset, constant.size), dtype)
    return numbers.numbers(constant.offset, dtype)
