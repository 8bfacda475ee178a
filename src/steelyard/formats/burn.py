"""Burn: records as named MessagePack, `.mpk` and `.mpk.gz`: a tree of modules, whose names are joined by ".".

    {"metadata": {"format": "burn_core::...", "version": "0.16.0", ...}, "item": tree}
    tree       a map by the names of fields, a list, or a parameter: {"id": text, "param": tensor}
    tensor     {"bytes": bytes, "shape": [3, 4], "dtype": "F32"}; before 0.14 {"value": list of numbers, "shape": [3, 4]}

Settings and what is absent are numbers, texts and nil. Records in bincode (`.bin`) have neither names nor shapes.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import begins, plain
from steelyard.codecs.limits import is_possible
from steelyard.codecs.msgpack import Blob, decode
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.msgpack import Decoded
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".mpk", ".mpk.gz")

_HEAD = 1024
_BEGIN = b"\x82\xa8metadata"
_MAPS = range(0x81, 0x90)
_COST = 1500
"""bytes of memory that a parameter takes"""
_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "Flex32": "float32",
    "Bool": "bool",
}


def sniff(source: Source) -> bool:
    """Recognise the metadata of Burn, or a map with a parameter by the suffix, compressed or not."""
    head = begins(source, _HEAD)
    if head.startswith(_BEGIN):
        return b"burn" in head
    is_named = source.name.lower().endswith(SUFFIXES)
    return is_named and len(head) > 1 and head[0] in _MAPS and b"\x82\xa2id" in head


def read(source: Source, scope: Scope) -> Weights:
    """List the parameters in the order of the file. Raises `FormatError` for a record without any."""
    content = plain(source)
    tree = decode(content)
    facts = tree.get("metadata") if isinstance(tree, dict) else None
    item = tree["item"] if isinstance(tree, dict) and isinstance(facts, dict) and "item" in tree else tree
    listed: dict[str, Weight] = {}
    for weight in _weights(content, (), item):
        if weight.name in listed:
            raise FormatError(source.name, f"has two parameters with the name {quoted(weight.name)}; the file is ambiguous")
        listed[weight.name] = weight
    if not listed:
        raise FormatError(source.name, "is a record of Burn without parameters, such as that of an optimizer")
    version = facts.get("version") if isinstance(facts, dict) else None
    return Weights(infer_roles(listed.values()), meta={"format": "Burn", "version": printable(version or "unknown")})


def _weights(source: Source, path: tuple[str, ...], node: Decoded) -> Iterator[Weight]:
    """Yield the parameters below a node. The depth of a message is limited, so recursion is safe."""
    if len(path) > limits.RECURSION:
        raise FormatError(source.name, f"has more than {limits.RECURSION} modules in each other")
    if isinstance(node, dict) and node.keys() == {"id", "param"}:
        yield _weight(source, ".".join(path), node["param"])
    elif isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _weights(source, (*path, str(key)), value)


def _weight(source: Source, name: str, tensor: Decoded) -> Weight:
    """Return a parameter; one that cannot be read is listed, and refused."""
    Budget(source).spend(_COST)
    plain_one = Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(FormatError(source.name, "")), layer=layer_of(name))
    try:
        shape, dtype, stored = _tensor(source, quoted(name), tensor)
    except FormatError as error:
        return plain_one.replace(read=Refused(error))
    return plain_one.replace(shape=shape, dtype=dtype, read=source.numbers(stored.offset, dtype))


def _tensor(source: Source, shown: str, tensor: Decoded) -> tuple[tuple[int, ...], str, Blob]:
    """Return shape, type and bytes of a tensor, which must fit each other."""
    facts = tensor if isinstance(tensor, dict) else {}
    if "value" in facts:
        raise FormatError(
            source.name, f"{shown} is as Burn wrote it before 0.14, which is not read; save it anew with 0.14 to 0.16"
        )
    shape, word, stored = facts.get("shape"), facts.get("dtype"), facts.get("bytes")
    lengths = tuple(each for each in shape if type(each) is int and each >= 0) if isinstance(shape, list) else ()
    word = next(iter(word)) if isinstance(word, dict) and len(word) == 1 and "Bool" in word else word
    if not isinstance(shape, list) or len(lengths) != len(shape) or not is_possible(lengths):
        raise FormatError(source.name, f"{shown} has the impossible shape {printable(shape, 100)}")
    if not isinstance(word, str) or word not in _DTYPES:
        raise FormatError(source.name, f"{shown} is of the type {quoted(word, 60)}, which is not read")
    dtype = _DTYPES[word]
    if not isinstance(stored, Blob) or stored.code is not None or stored.length != prod(lengths) * itemsize(dtype):
        held = f"{stored.length:,}" if isinstance(stored, Blob) else "no"
        raise FormatError(source.name, f"{shown} has the shape {list(lengths)} of {dtype}, and {held} bytes")
    return lengths, dtype, stored
