"""Flax: a MessagePack of nested maps, whose arrays are extensions. Names are the paths, joined by "/".

    extension 1  array: a message of [shape, dtype name, bytes]; the bytes are little-endian and row-major
    extension 2  complex: a message of [real, imaginary]
    extension 3  scalar: as an array
    chunked      an array of more than a gigabyte: a map of "__msgpack_chunked_array__": true,
                 "shape": {"0": length, ...} and "chunks": {"0": array of one axis, ...}

The parameters and other collections of a train state are its model; scope "all" adds the optimizer's state, the step,
and bare numbers. A folder with a `checkpoint` that names arrays in folders of zarr beside it is read too (`elsewhere`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from steelyard.codecs import limits
from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import owners
from steelyard.codecs.msgpack import NODES, Blob, bytes_head, decode, extension_head, map_head, packed
from steelyard.core.readers import raw_chunks
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize
from steelyard.errors import FormatError, TieLostWarning, first_of, printable, quoted
from steelyard.formats.flax import elsewhere
from steelyard.layers.flax.linen import with_linen_facts
from steelyard.layers.flax.nnx import with_nnx_facts
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.codecs.msgpack import Decoded
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Maps: TypeAlias = "dict[str, Weight | Maps]"

SUFFIXES = (".msgpack",)

ARRAY, COMPLEX, SCALAR = 1, 2, 3
CHUNKED = "__msgpack_chunked_array__"
CHUNK_LIMIT = 1 << 30
"""Arrays of more bytes are written in chunks: lengths in MessagePack end at four gigabytes."""


def sniff(source: Source) -> bool:
    """Recognise a map whose first key is a text; with the suffix, anything that is not plain text."""
    source = (elsewhere.index_in(source) or source) if source.is_folder else source
    head = source.head(64)
    if not head or head[0] < 0x80 or head.startswith(NODES):
        return False
    if source.name.lower().endswith(SUFFIXES):
        return True
    if len(head) < 3:
        return False
    # the first key follows the head of the map, which has 3 or 5 bytes for a map of more than 15 pairs
    place = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
    length = head[place] - 0xA0 if 0 < place < len(head) else -1
    key = head[place + 1 : place + 1 + length]
    return 0 < length <= 31 and len(key) == length and key.isascii() and key.decode().isprintable()


def read(source: Source, scope: Scope) -> Weights:
    """List arrays in the order of the file."""
    source = (elsewhere.index_in(source) or source) if source.is_folder else source
    tree = decode(source)
    if not isinstance(tree, dict):
        raise FormatError(source.name, f"holds a {type(tree).__name__}, not a map of names to arrays")
    t5x = elsewhere.state_of(tree)
    tree = tree if t5x is None else t5x
    is_state = "opt_state" in tree and "params" in tree
    left_out = (elsewhere.STATE,) if t5x else ("opt_state", "step") if is_state else ()
    listed: dict[str, Weight] = {}
    for path, leaf in _leaves((), tree, source):
        if scope != "all" and (path[0] in left_out or not _is_array(leaf)):
            continue
        weight = _weight(_free_name(listed, path), leaf, source)
        if weight is not None:
            listed[weight.name] = weight
    if t5x and not listed:
        raise FormatError(source.name, 'has no arrays of a model; the scope "all" lists those of its optimizer')
    weights = infer_roles(listed.values())
    is_linen = t5x is not None or "params" in tree
    return Weights(with_linen_facts(weights) if is_linen else with_nnx_facts(weights))


def _leaves(path: tuple[str, ...], node: Decoded, source: Source) -> Iterator[tuple[tuple[str, ...], Decoded]]:
    """Yield paths and leaves. The depth of a message is limited, so recursion is safe."""
    if len(path) > limits.RECURSION:
        raise FormatError(source.name, f"holds more than {limits.RECURSION} messages in messages")
    inner = _message_in(node, source) if isinstance(node, Blob) and node.code is None else node
    if isinstance(inner, dict) and CHUNKED not in inner:
        if elsewhere.is_elsewhere(inner):
            yield path, inner
            return
        for key, value in inner.items():
            yield from _leaves((*path, key), value, source)
    elif isinstance(inner, list):
        for place, value in enumerate(inner):
            yield from _leaves((*path, str(place)), value, source)
    else:
        yield path, node


def _message_in(blob: Blob, source: Source) -> Decoded:
    """Return the map that plain bytes hold, as a program writes them that encodes its config first; None for other bytes."""
    try:
        inner = decode(source, blob.offset, blob.offset + blob.length)
    except FormatError:
        return None
    return inner if isinstance(inner, dict) and inner else None


def _free_name(taken: Mapping[str, Weight], path: tuple[str, ...]) -> str:
    """Join a path; where another path has the same name, the slashes inside keys are escaped."""
    name = "/".join(path)
    return name if name not in taken else "/".join(key.replace("/", "\\/") for key in path)


def _is_array(leaf: Decoded) -> bool:
    return elsewhere.is_elsewhere(leaf) or isinstance(leaf, dict) or (isinstance(leaf, Blob) and leaf.code != COMPLEX)


def _weight(name: str, leaf: Decoded, source: Source) -> Weight | None:
    """Make a weight of an array or a number, or list plain bytes as unreadable; None for a text or nil."""
    if isinstance(leaf, (bool, int, float)):
        dtype = "bool" if isinstance(leaf, bool) else "int64" if isinstance(leaf, int) else "float64"
        return Weight(name=name, layer=layer_of(name), shape=(), dtype=dtype, read=_number(leaf))
    if elsewhere.is_elsewhere(leaf):
        return elsewhere.weight_elsewhere(name, leaf, source)
    if not isinstance(leaf, (dict, Blob)):
        return None
    if isinstance(leaf, Blob) and leaf.code is None:
        error = FormatError(source.name, f"{printable(name)} is {leaf.length:,} raw bytes, not an array", leaf.offset)
        return Weight(name=name, layer=layer_of(name), shape=(), dtype=UNKNOWN, read=Refused(error), encoding="bytes")
    try:
        shape, dtype, read = _chunked(leaf, name, source) if isinstance(leaf, dict) else _extension(leaf, name, source)
    except FormatError as error:
        shape, dtype, read = (), "object", Refused(error)
    return Weight(name=name, layer=layer_of(name), shape=shape, dtype=dtype, read=read)


def _number(value: complex) -> Reader:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        return np.array([value])[start:stop]

    return read


def _extension(blob: Blob, name: str, source: Source) -> tuple[tuple[int, ...], str, Reader]:
    """Return shape, type and reader of one extension."""
    if blob.code == COMPLEX:
        return (), "complex128", _number(_complex(blob, name, source))
    if blob.code not in (ARRAY, SCALAR):
        raise FormatError(source.name, f"{printable(name)} is an extension of the unknown type {blob.code}", blob.offset)
    return _array(blob, name, source)


def _complex(blob: Blob, name: str, source: Source) -> complex:
    match decode(source, blob.offset, blob.offset + blob.length):
        case [float(real), float(imaginary)]:
            return complex(real, imaginary)
    raise FormatError(source.name, f"{printable(name)} is a complex number without two parts", blob.offset)


def _array(blob: Blob, name: str, source: Source) -> tuple[tuple[int, ...], str, Reader]:
    """Return shape, type and reader of an array, whose bytes must fit its shape."""
    array = decode(source, blob.offset, blob.offset + blob.length, page=128)
    shown = printable(name)
    if not isinstance(array, list) or len(array) != 3 or not isinstance(array[2], Blob) or array[2].code is not None:
        raise FormatError(source.name, f"{shown} is not an array of a shape, a type and bytes", blob.offset)
    shape = _shape(array[0], shown, source)
    dtype = array[1]
    if isinstance(dtype, Blob) and dtype.code is None and dtype.length < 40:
        dtype = source.read(dtype.offset, dtype.length).decode("latin-1")
    if not isinstance(dtype, str) or dtype not in ITEMSIZES or dtype == "object":
        raise FormatError(
            source.name, f"{shown} is of the type {quoted(dtype)}, which is not a supported type of numbers", blob.offset
        )
    if prod(shape) * itemsize(dtype) != array[2].length:
        raise FormatError(
            source.name,
            f"{shown} has the shape {list(shape)} of {dtype}, which does not take {array[2].length:,} bytes",
            blob.offset,
        )
    return shape, dtype, source.numbers(array[2].offset, dtype)


def _shape(node: Decoded, shown: str, source: Source) -> tuple[int, ...]:
    lengths = [length for length in node if type(length) is int] if isinstance(node, list) else []
    if not isinstance(node, list) or len(lengths) != len(node) or not is_possible(lengths):
        raise FormatError(source.name, f"{shown} has the impossible shape {printable(node)}")
    return tuple(lengths)


def _chunked(node: dict[str, Decoded], name: str, source: Source) -> tuple[tuple[int, ...], str, Reader]:
    """Return shape, type and reader of an array in chunks."""
    shown = printable(name)
    shape = _shape(_in_order(node.get("shape"), shown, source), shown, source)
    chunks = []
    for place, chunk in enumerate(_in_order(node.get("chunks"), shown, source)):
        if not isinstance(chunk, Blob) or chunk.code != ARRAY:
            raise FormatError(source.name, f"chunk {place} of {shown} is not an array")
        chunks.append(_array(chunk, f"{name}, chunk {place}", source))
    dtypes = {dtype for _, dtype, _ in chunks}
    sizes = [prod(lengths) for lengths, _, _ in chunks]
    if len(dtypes) != 1 or sum(sizes) != prod(shape):
        raise FormatError(
            source.name,
            f"{shown} has {prod(shape):,} elements, but its {len(chunks)} chunks have {sum(sizes):,} of {len(dtypes)} types",
        )
    return shape, dtypes.pop(), _concatenated(sizes, [read for _, _, read in chunks])


def _in_order(node: Decoded, shown: str, source: Source) -> list[Decoded]:
    """Return the values of a map whose keys count from "0"."""
    if not isinstance(node, dict) or list(node) != [str(place) for place in range(len(node))]:
        raise FormatError(source.name, f"{shown} lacks its shape or its chunks, numbered from 0")
    return list(node.values())


def _concatenated(sizes: Sequence[int], readers: Sequence[Reader]) -> Reader:
    def read(start: int, stop: int) -> Array:
        import numpy as np

        runs, at = [readers[0](0, 0)], 0
        for size, reader in zip(sizes, readers, strict=True):
            first, last = max(start - at, 0), min(stop - at, size)
            if first < last:
                runs.append(reader(first, last))
            at += size
        return np.concatenate(runs)

    return read


_CHUNK_LEVELS = 2
"""levels of the maps of an array in chunks"""


def write(weights: Weights, path: Path) -> None:
    """Write a file that `flax.serialization.msgpack_restore` reads. Each part of a name is the key of a map.

    Tied weights are written twice, as Flax does, with a `TieLostWarning`.
    """
    tree: Maps = {}
    for weight in weights.values():
        if weight.dtype == "object":
            raise FormatError(str(path), f"{printable(weight.name)} has no numbers, and cannot be written")
        if weight.dtype == "float128":
            what = "is float128, which other machines read otherwise; convert it first"
            raise FormatError(str(path), f"{printable(weight.name)} {what}")
        if weight.name.count("/") + 1 + _CHUNK_LEVELS * (weight.nbytes > CHUNK_LIMIT) > limits.RECURSION:
            what = f"would need more than {limits.RECURSION} maps in each other, which no reader takes; rename it first"
            raise FormatError(str(path), f"{printable(weight.name)} {what}")
        _put(tree, weight)
    _warn_of_ties(weights, path)
    with replacing(path) as file:
        _write_map(file, tree)


def _warn_of_ties(weights: Weights, path: Path) -> None:
    tied = [f"{printable(name)} and {printable(owner)}" for name, owner in owners(weights).items() if name != owner]
    if tied:
        what = f"{printable(path)} cannot hold that {first_of(tied, 1, str)} are tied; it has the numbers of each"
        warnings.warn(what, TieLostWarning, stacklevel=4)


def _put(tree: Maps, weight: Weight) -> None:
    """Put a weight at its path. Where a weight is on the way, the rest of the name is a single key."""
    *above, leaf = weight.name.split("/")
    for place, key in enumerate(above):
        inner = tree.setdefault(key, {})
        if isinstance(inner, Weight):
            leaf = "/".join([*above[place:], leaf])
            break
        tree = inner
    before = tree.get(leaf)
    if isinstance(before, dict):  # the weight replaces a map, whose keys move up with its name in front
        del tree[leaf]
        for key, value in before.items():
            tree[f"{leaf}/{key}"] = value
    tree[leaf] = weight


def _write_map(file: BinaryIO, tree: Maps) -> None:
    file.write(map_head(len(tree)))
    for key, value in tree.items():
        file.write(packed(key))
        if isinstance(value, Weight):
            _write_weight(file, value)
        else:
            _write_map(file, value)


def _write_weight(file: BinaryIO, weight: Weight) -> None:
    step = max(CHUNK_LIMIT // itemsize(weight.dtype), 1)
    if weight.nbytes <= CHUNK_LIMIT:
        _write_array(file, weight)
        return
    starts = range(0, weight.size, step)
    file.write(map_head(3) + packed(CHUNKED) + packed(True) + packed("shape") + map_head(len(weight.shape)))
    file.writelines(packed(str(place)) + packed(length) for place, length in enumerate(weight.shape))
    file.write(packed("chunks") + map_head(len(starts)))
    for place, start in enumerate(starts):
        file.write(packed(str(place)))
        _write_array(file, _run(weight, start, min(start + step, weight.size)))


def _run(weight: Weight, begin: int, end: int) -> Weight:
    return weight.replace(shape=(end - begin,), read=lambda start, stop: weight.read(begin + start, begin + stop))


def _write_array(file: BinaryIO, weight: Weight) -> None:
    head = b"\x93" + packed(list(weight.shape)) + packed(weight.dtype) + bytes_head(weight.nbytes)
    file.write(extension_head(ARRAY, len(head) + weight.nbytes) + head)
    file.writelines(raw_chunks(weight))
