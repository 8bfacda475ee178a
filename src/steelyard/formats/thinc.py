"""Thinc: the `model` file of a component of spaCy, a MessagePack of nodes and of the arrays that belong to each.

    {"nodes": [{"index": 3, "name": "softmax", ...}, ...], "attrs": [...], "params": [...], "shims": [...]}
    params    for each node a map of names to arrays as msgpack-numpy has them, or nil:
              {b"nd": true, b"type": "<f4", b"kind": b"", b"shape": [17, 256], b"data": bytes}
    shims     for each node a list of bytes: models of other frameworks, such as {"config": ..., "state": torch's file}

A node has a number and a name that others may have too, so a weight is called "3:softmax.W".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_possible
from steelyard.codecs.msgpack import NODES, Blob, decode
from steelyard.codecs.pickle.arrays import type_code
from steelyard.core.members import prefixed
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, SteelyardError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.msgpack import Decoded
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = ()

_PARTS = ("nodes", "attrs", "params", "shims")
_LAYERS: dict[str, dict[str, tuple[Role, str]]] = {
    "linear|softmax(_v2)?|relu(_k)?|mish|dish|sigmoid|gelu|swish|hard_?(swish|sigmoid|tanh)(_?mobilenet)?|clipped_linear": {
        "W": (Role.KERNEL, "out in"),
        "b": (Role.BIAS, "out"),
    },
    "static_vectors": {"W": (Role.KERNEL, "out in")},
    "maxout": {"W": (Role.KERNEL, "out pieces in"), "b": (Role.BIAS, "out pieces")},
    "layernorm": {"G": (Role.SCALE, "channel"), "b": (Role.OFFSET, "channel")},
    "hashembed|embed": {"E": (Role.EMBEDDING, "vocab out")},
    "precomputable_affine": {
        "W": (Role.KERNEL, "features out pieces in"),
        "b": (Role.BIAS, "out pieces"),
        "pad": (Role.OTHER, ""),
    },
}
"""The parameters of the layers of Thinc and spaCy, by the names that a layer has before its size."""


def sniff(source: Source) -> bool:
    """Recognise a map of four entries, of which the first is the nodes."""
    return source.head(len(NODES)) == NODES


def read(source: Source, scope: Scope) -> Weights:
    """List the parameters of each node, then those of models of other frameworks that it wraps."""
    content = decode(source, bytes_as_keys=True)
    parts = [content.get(part) if isinstance(content, dict) else None for part in _PARTS]
    nodes, _, params, shims = (part if isinstance(part, list) else [] for part in parts)
    if not len(nodes) == len(params) == len(shims):
        raise FormatError(source.name, f"has {len(nodes):,} nodes, and parameters of {len(params):,} and shims of {len(shims):,}")
    layers = [*_named(nodes, source)]
    listed = [weight for layer, held in zip(layers, params, strict=True) for weight in _params(source, layer, held)]
    for layer, held in zip(layers, shims, strict=True):
        listed += _shims(source, layer, held, scope)
    return Weights(listed, meta={"format": "thinc"})


def _named(nodes: list[Decoded], source: Source) -> Iterator[str]:
    """Yield the number and the name of each node."""
    for place, node in enumerate(nodes):
        name, index = (node.get("name"), node.get("index")) if isinstance(node, dict) else (None, None)
        if not isinstance(name, str) or index != place:
            raise FormatError(source.name, f"has a node without a name or with another number than its place, {place:,}")
        yield f"{place}:{name}"


def _params(source: Source, layer: str, held: Decoded) -> Iterator[Weight]:
    for name, array in held.items() if isinstance(held, dict) else ():
        if array is not None:
            yield _weight(source, layer, name, array)


def _weight(source: Source, layer: str, name: str, array: Decoded) -> Weight:
    full = f"{layer}.{name}"
    fields = array if isinstance(array, dict) else {}
    descr, shape, data = fields.get("type"), fields.get("shape"), fields.get("data")
    code = type_code(descr) if isinstance(descr, str) else None
    lengths = tuple(length for length in shape if type(length) is int) if isinstance(shape, list) else ()
    if code is None or not isinstance(shape, list) or len(lengths) != len(shape) or not isinstance(data, Blob):
        error = FormatError(source.name, f"{quoted(full)} is not an array of numbers, but of {quoted(descr)}")
        return Weight(name=full, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer)
    size = 1
    for length in lengths:
        size *= length
    if not is_possible(lengths) or size * itemsize(code[1]) != data.length:
        raise FormatError(source.name, f"{quoted(full)} is {code[1]} {lengths}, and has {data.length:,} bytes", data.offset)
    role, axes = _meaning(layer, name, len(lengths))
    reader = source.numbers(data.offset, code[1], code[0])
    return Weight(name=full, shape=lengths, dtype=code[1], read=reader, layer=layer, role=role, axes=axes)


def _meaning(layer: str, name: str, rank: int) -> tuple[Role, str]:
    """Return the role and axes that the layer of this name, such as "8:maxout", gives its parameter."""
    word = layer.partition(":")[2]
    known = next((table for pattern, table in _LAYERS.items() if re.fullmatch(pattern, word)), {})
    role, axes = known.get(name, (Role.OTHER, ""))
    return role, axes if len(axes.split()) == rank else ""


def _shims(source: Source, layer: str, held: Decoded, scope: Scope) -> Iterator[Weight]:
    """Yield the weights of models that a node wraps, each in a message with a file of its framework as its state."""
    for place, blob in enumerate(held if isinstance(held, list) else ()):
        if not isinstance(blob, Blob) or not blob.length:
            continue
        name = f"{layer}.shims.{place}"
        state = _state(source, blob)
        try:
            if state is None:
                raise FormatError(source.name, f"{quoted(name)} has {blob.length:,} bytes of another framework", blob.offset)
            from steelyard.formats import part_in

            inner = part_in(source.part(state.offset, state.length, name), scope)
        except SteelyardError as error:
            yield Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer)
        else:
            yield from (prefixed(name, weight) for weight in inner.values())


def _state(source: Source, blob: Blob) -> Blob | None:
    try:
        message = decode(source, blob.offset, blob.offset + blob.length, bytes_as_keys=True)
    except FormatError:
        return None
    state = message.get("state") if isinstance(message, dict) else None
    return state if isinstance(state, Blob) else None
