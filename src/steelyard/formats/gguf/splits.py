"""Models that llama.cpp's gguf-split wrote into several files, `NAME-00001-of-00002.gguf` and so on.

    split.no             number of the file, from 0
    split.count          number of files
    split.tensors.count  number of tensors of all files

The metadata of the model are in the first file only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs.sets import absent, numbered_parts, part_of
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, ShapeError, printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    Metadata = Mapping[str, Any]
    ReadPart = Callable[[Source, Metadata], Weights]

_COUNT, _NUMBER, _TENSORS = "split.count", "split.no", "split.tensors.count"


def whole(source: Source, read_part: ReadPart) -> Weights:
    """Return the weights of a file, or those of all the files that its model is split into.

    `read_part` lists a file, with the metadata of the first if it is another. Raises `FormatError` for files that do not
    fit each other.
    """
    part = read_part(source, {})
    metadata = part.meta["metadata"]
    count, number = _whole_number(metadata, _COUNT, 1), _whole_number(metadata, _NUMBER, 0)
    if count < 2:
        return part
    name = (source.path or source.name).replace("\\", "/").rpartition("/")[2]
    numbered = numbered_parts(name)
    if numbered is None or numbered[0] != number + 1 or len(numbered[1]) != count:
        return _incomplete(
            part, f"is part {number + 1:,} of {count:,} of a model by its metadata; its name does not show the others"
        )
    names = numbered[1]
    if missing := absent(source, names):
        return _incomplete(part, part_of(number + 1, names, missing, ""))
    return _joined(source, names, read_part)


def _whole_number(metadata: Metadata, key: str, default: int) -> int:
    value = metadata.get(key, default)
    return value if type(value) is int else default


def _incomplete(weights: Weights, what: str) -> Weights:
    return weights.with_weights(weights.values(), meta={**weights.meta, "incomplete": [what]})


def _joined(source: Source, names: list[str], read_part: ReadPart) -> Weights:
    first = read_part(source.beside(names[0]), {})
    metadata = first.meta["metadata"]
    parts = [first, *(read_part(source.beside(name), metadata) for name in names[1:])]
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        own = part.meta["metadata"]
        if (own.get(_NUMBER), own.get(_COUNT)) != (number, len(names)):
            raise FormatError(source.name, f"{printable(name)} is not part {number + 1:,} of {len(names):,} by its metadata")
    kept = {key: value for key, value in metadata.items() if not key.startswith("split.")}
    try:
        merged = Weights((w for part in parts for w in part.values()), meta={**first.meta, "metadata": kept, "shards": names})
    except ShapeError as error:
        raise FormatError(source.name, f"two parts have the same tensor: {error}") from None
    total = _whole_number(metadata, _TENSORS, len(merged))
    return merged if total == len(merged) else _incomplete(merged, f"has {len(merged):,} of the model's {total:,} tensors")
