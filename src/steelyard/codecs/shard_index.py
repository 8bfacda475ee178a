"""The index of a model in shards: a JSON object that maps each tensor, or each group of tensors, to its file.

{"metadata": {...}, "weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}   the Hub: one file for each tensor
{"metadata": {...}, "weight_map": {"/layers/dense/vars": ["m_00000.weights.h5"]}}      Keras: the files of each group
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

    ShardMap = dict[str, list[str]]
    """The files of each tensor or group."""


def shard_index(source: Source) -> tuple[ShardMap, dict[str, Plain]]:
    """Return the files of each tensor or group, and the metadata. Raises `FormatError` for anything but such an index."""
    if source.size > limits.JSON:
        raise FormatError(source.name, f"the index has {source.size:,} bytes, more than the {limits.JSON:,} that are allowed")

    def unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        names = dict(pairs)
        if len(names) < len(pairs):
            raise FormatError(source.name, "duplicate name in the index; the file is ambiguous")
        return names

    try:
        text = source.read(0, source.size).decode("utf-8")
        check_json(text, source)
        index = json.loads(text, object_pairs_hook=unique)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(source.name, f"the index is not JSON: {error}") from None
    tensors = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(tensors, dict):
        raise FormatError(source.name, 'the index has no "weight_map" of names to files')
    metadata = index.get("metadata")
    files = {name: _files(source, entry) for name, entry in tensors.items()}
    return files, dict(metadata) if isinstance(metadata, dict) else {}


def _files(source: Source, entry: Plain) -> list[str]:
    files = entry if isinstance(entry, list) else [entry]
    texts = [file for file in files if isinstance(file, str)]
    if not texts or len(texts) < len(files):
        raise FormatError(source.name, 'the index has no "weight_map" of names to files')
    return texts
