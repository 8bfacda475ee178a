"""GGUF: typed metadata, a table of tensors, then their blocks. Names are llama.cpp's; shapes become row-major.

Quantised tensors read as float32, decoded block by block, and `encoding` is the name of the quantisation. Long arrays in
the metadata, such as a vocabulary, are skipped; their type and length stand for them.

    header         "GGUF" | u32 version | u64 number of tensors | u64 number of metadata pairs
    metadata pair  string key | u32 type | value
    string         u64 length | UTF-8
    array value    u32 type of the elements | u64 length | elements
    tensor info    string name | u32 number of axes | u64 lengths, the innermost axis first | u32 type | u64 offset
    data           padded to the alignment; offsets count from its first byte

Version 1 has u32 in place of u64, except for offsets. A file from a big-endian machine is big-endian throughout.
Files of ggml from before GGUF, such as those of whisper.cpp, are read too; `ggml` has their layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import with_facts
from steelyard.codecs.original import ORIGINAL, Original
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.formats.gguf import ggml
from steelyard.formats.gguf.header import (
    PLAIN,
    QUANTISED,
    HeaderCursor,
    alignment_of,
    read_infos,
    read_metadata,
)
from steelyard.formats.gguf.quantisation import QUANTS, Blocks
from steelyard.formats.gguf.splits import whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Reader
    from steelyard.formats.gguf.header import TensorInfo, Value
    from steelyard.storage.source import Source


SUFFIXES = (".gguf",)

MAGIC = b"GGUF"
FRAMEWORK = "GGUF"
FACTS = "steelyard.facts"
"""The metadata key for the roles, axes and layers of the weights."""

_RETYPED = 2
"""axes of tensors that may have another type than in a model: llama.cpp computes with vectors in float32"""
_BLOCK = re.compile(r"(?:(?:enc|dec|v|a)\.)?blk\.\d+\..*|output(_norm)?\..*|(?:enc|dec)\.output_norm\..*")
_EMBEDDING = re.compile(r"(token_embd|position_embd|token_types|per_layer_token_embd)\.weight")


def sniff(source: Source) -> bool:
    """Recognise the magic number, or one of ggml from before GGUF."""
    return source.head(4) in (MAGIC, *ggml.MAGICS)


def read(source: Source, scope: Scope) -> Weights:
    """List the tensors in the order of the file's table. Raises `FormatError` for a file that has only a vocabulary.

    Any part of a split model opens all parts, if they are in the same folder; else `meta["incomplete"]` names the others.
    """
    return whole(source, _part) if source.head(4) == MAGIC else ggml.read(source, scope)


def _part(source: Source, outer: Mapping[str, Value]) -> Weights:
    """List the tensors of one file; `outer` has the metadata of a split model, which are in its first file."""
    cursor = HeaderCursor(source)
    tensors, pairs = cursor.counts()
    metadata = read_metadata(cursor, pairs)
    alignment = alignment_of(cursor, metadata)
    infos = read_infos(cursor, tensors)
    if not infos and any(key.startswith("tokenizer.") for key in metadata):
        raise FormatError(source.name, "holds a vocabulary only, and no weights")
    begin = -(-cursor.offset // alignment) * alignment
    known = isinstance((outer or metadata).get("general.architecture"), str)
    facts = metadata.pop(FACTS, None)
    weights = list(_weights(cursor, infos, begin, alignment, known=known))
    if isinstance(facts, str):
        weights = with_facts(weights, facts, source)
    return Weights(
        weights,
        meta={"version": cursor.version, "metadata": metadata, ORIGINAL: Original(cursor.source, FRAMEWORK, retyped=_RETYPED)},
    )


def _weights(
    cursor: HeaderCursor, infos: Mapping[str, TensorInfo], begin: int, alignment: int, *, known: bool
) -> Iterator[Weight]:
    overlaps = _overlaps(infos)
    for name, info in infos.items():
        try:
            if name in overlaps:
                shown = f"{printable(name)} overlaps {printable(overlaps[name])}"
                raise FormatError(cursor.source.name, shown, begin + info.offset)
            read = _reader(cursor, printable(name), info, begin + info.offset, alignment)
        except FormatError as error:
            read = Refused(error)
        role, axes = _meaning(name, len(info.shape)) if known else (Role.OTHER, "")
        yield Weight(
            name=name,
            shape=info.shape,
            dtype=info.dtype,
            encoding=info.encoding,
            read=read,
            role=role,
            axes=axes,
            layer=layer_of(name),
        )


def _overlaps(infos: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Return each tensor that begins before an earlier one ends, with the name of the earlier one."""
    overlaps, end, before = {}, 0, ""
    for name, info in sorted(infos.items(), key=lambda item: item[1].offset):
        if info.nbytes and info.offset < end:
            overlaps[name] = before
        if info.offset + info.nbytes > end:
            end, before = info.offset + info.nbytes, name
    return overlaps


def _reader(cursor: HeaderCursor, shown: str, info: TensorInfo, offset: int, alignment: int) -> Reader:
    """Return the reader of a tensor whose data begins at `offset`. Raises `FormatError` for one that cannot be read."""
    source, kind, shape = cursor.source, info.kind, info.shape
    if kind not in PLAIN and kind not in QUANTISED:
        raise FormatError(source.name, f"{shown} is of the unknown type {kind:,}")
    if not is_possible(shape):
        raise FormatError(source.name, f"{shown} has the impossible shape {printable(list(shape))}")
    if offset % alignment:
        raise FormatError(source.name, f"{shown} does not begin at a multiple of {alignment:,} bytes", offset)
    end = offset + info.nbytes
    if end > source.size:
        raise FormatError(source.name, f"{shown} ends at byte {end:,} of {source.size:,} (partial download?)", offset)
    if kind in PLAIN:
        return source.numbers(offset, PLAIN[kind], cursor.order)
    size = QUANTS[QUANTISED[kind]][0]
    if not shape or shape[-1] % size:
        raise FormatError(source.name, f"{shown} has the shape {list(shape)}, whose rows are not whole blocks of {size}")
    if cursor.order == ">":
        raise FormatError(source.name, f"{shown} is quantised and big-endian, which is not supported")
    return Blocks(source, offset, QUANTISED[kind])


def _meaning(name: str, ndim: int) -> tuple[Role, str]:
    """Return role and axes by llama.cpp's names; weights with other names stay "other"."""
    if _EMBEDDING.fullmatch(name) and ndim == 2:
        return Role.EMBEDDING, "vocab out"
    layer, _, leaf = name.rpartition(".")
    if not _BLOCK.fullmatch(name) or leaf not in ("weight", "bias"):
        return Role.OTHER, ""
    if layer.endswith("norm") or "_norm_" in layer:
        return (Role.SCALE if leaf == "weight" else Role.OFFSET), "channel" if ndim == 1 else ""
    if leaf == "bias":
        return Role.BIAS, "out" if ndim == 1 else ""
    return (Role.KERNEL, {2: "out in", 3: "expert out in"}.get(ndim, "")) if ndim > 1 else (Role.OTHER, "")


def write(weights: Weights, path: Path) -> None:
    """Write version 3, little-endian, each tensor in its own type, with all key-values of the GGUF that the weights are from.

    Bytes whose encoding is a quantisation, as `steelyard.quantize` makes them, are written as its blocks. Weights that are
    written like a GGUF have the types that its tensors have.
    """
    from steelyard.formats.gguf.writing import write_file

    write_file(weights, path)
