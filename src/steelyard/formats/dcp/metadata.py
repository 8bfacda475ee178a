"""The `.metadata` of a distributed checkpoint: which tensors there are, their chunks, and where the bytes of each chunk are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pickle.arrays import is_shape
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Global, Record, shape_of
from steelyard.dtypes import ITEMSIZES, UNKNOWN
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.storage.source import Source

    Shape = tuple[int, ...]
    Attributes = Mapping[Key, Pickled]
    Infos = dict[tuple[str, Shape | None], "Info"]

MARK = b"torch.distributed.checkpoint.metadata"
"""The module of the classes that every `.metadata` names."""
FACTS = "steelyard"
"""The attribute with the facts of the weights in what Steelyard writes; torch never looks at it."""
ENTRY_COST = 1000
"""bytes of memory that an entry takes: the records that describe it are charged by the machine"""
_SHORT = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}


class Info(NamedTuple):
    """Where an item is: the file, offset and length in bytes, and what the bytes must pass through first, blank if nothing."""

    file: str
    offset: int
    length: int
    transforms: str


class Tensor(NamedTuple):
    """A tensor: its shape, its type, the word of torch for it, and the place of each chunk: offsets, shape, and where it is."""

    shape: Shape
    dtype: str
    word: str
    chunks: list[tuple[Shape, Shape, Info | None]]


class Checkpoint(NamedTuple):
    """All items by name: a tensor, or where the bytes of another value are. `paths` has the keys that lead to each.

    `facts` are those of the weights, if Steelyard wrote it.
    """

    items: dict[str, Tensor | Info | None]
    paths: dict[str, tuple[str, ...]]
    files: list[str]
    facts: str | None


# The pickle of a Metadata, whose attributes are:
#   state_dict_metadata  {name: TensorStorageMetadata(properties, size, chunks) | BytesStorageMetadata}
#                        a chunk is a ChunkStorageMetadata(offsets, sizes); the state of properties is a tuple, type first
#   storage_data         {MetadataIndex(fqn, offset, index): _StorageInfo(relative_path, offset, length, transform_descriptors)}
#   planner_data         {name: the keys that lead to the item in the state dict, as texts and places in lists}, or None
#   version              "1.0.0"
def checkpoint(source: Source) -> Checkpoint:
    """Decode a `.metadata`; nothing in it is run. Raises `FormatError` for anything else."""
    root = Machine(source).load()
    held = root.attributes if isinstance(root, Record) else {}
    kinds, stored = held.get("state_dict_metadata"), held.get("storage_data")
    if not isinstance(kinds, dict) or not isinstance(stored, dict):
        raise FormatError(source.name, "lacks the tables of items and of their places, so it describes no distributed checkpoint")
    Budget(source).spend(ENTRY_COST * (len(kinds) + len(stored)))
    infos = _infos(source, stored)
    paths = _paths(held.get("planner_data"))
    names = [name for name in (*(name for name in paths if name in kinds), *kinds) if type(name) is str]
    items: dict[str, Tensor | Info | None] = {}
    for name in dict.fromkeys(names):
        attributes = _attributes(kinds[name])
        items[name] = _tensor(source, name, attributes, infos) if "size" in attributes else infos.get((name, None))
    facts = held.get(FACTS)
    files = list(dict.fromkeys(info.file for info in infos.values()))
    return Checkpoint(items, paths, files, facts if type(facts) is str else None)


def _attributes(value: Pickled) -> Attributes:
    return value.attributes if isinstance(value, Record) else {}


def _infos(source: Source, stored: Attributes) -> Infos:
    """Return where each item is, by name and offsets, and by the name alone."""
    infos: Infos = {}
    for key, value in stored.items():
        index, place = _attributes(key), _attributes(value)
        name, offsets = index.get("fqn"), shape_of(index.get("offset"))
        file, offset, length = (place.get(word) for word in ("relative_path", "offset", "length"))
        transforms = place.get("transform_descriptors")
        if type(name) is not str or type(file) is not str or not is_shape((offset, length)):
            raise FormatError(source.name, f"the place of {printable(name, 100)} is not a file, an offset and a length")
        info = Info(file, offset, length, printable(transforms, 100) if transforms else "")  # type: ignore[arg-type]
        infos[name, offsets if is_shape(offsets) else None] = infos[name, None] = info
    return infos


def _paths(planned: Pickled) -> dict[str, tuple[str, ...]]:
    found = planned.items() if isinstance(planned, dict) else ()
    return {
        name: tuple(map(str, path))
        for name, path in found
        if type(name) is str and type(path) is tuple and path and all(type(key) in (str, int) for key in path)
    }


def _tensor(source: Source, name: str, attributes: Attributes, infos: Infos) -> Tensor:
    shape = shape_of(attributes.get("size"))
    if not is_shape(shape) or not is_possible(shape):
        raise FormatError(source.name, f"{quoted(name)} has an invalid shape: {printable(shape, 80)}")
    word = _word(attributes.get("properties"))
    chunks = [*_chunks(source, name, shape, attributes.get("chunks"))]
    only = len(chunks) == 1
    placed = [(at, lengths, infos.get((name, at)) or (infos.get((name, None)) if only else None)) for at, lengths in chunks]
    return Tensor(shape, word if word in ITEMSIZES and word != "object" else UNKNOWN, word, placed)


def _chunks(source: Source, name: str, shape: Shape, listed: Pickled) -> Iterator[tuple[Shape, Shape]]:
    """Yield offsets and shape of each chunk that has elements; that of a tensor without any is the whole."""
    if 0 in shape:
        yield (0,) * len(shape), shape
        return
    for chunk in listed if isinstance(listed, list) else ():
        held = _attributes(chunk)
        offsets, lengths = shape_of(held.get("offsets")), shape_of(held.get("sizes"))
        if not is_shape(offsets) or not is_shape(lengths) or {len(offsets), len(lengths)} != {len(shape)}:
            raise FormatError(source.name, f"{quoted(name)} has a chunk whose offsets and lengths are not those of its axes")
        if prod(lengths):
            yield offsets, lengths


def _word(properties: Pickled) -> str:
    """Return torch's word for the type, which is first in the state of the properties, or the attribute `dtype`."""
    state = properties.state if isinstance(properties, Record) else None
    kind = state[0] if type(state) is tuple and state else _attributes(properties).get("dtype")
    name = kind.name if isinstance(kind, Global) and kind.module == "torch" else ""
    return _SHORT.get(name, name)
