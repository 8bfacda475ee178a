"""Folders of torch's writer for the Hub before they are joined: each process has its chunks in a file of safetensors of its own.

    shard-00002-model-00001-of-00001.safetensors   the chunks of the second process
    __metadata__["DCP_SHARDING_INFO"]              {"fc.weight": {"saved_offsets": [4, 0]}, ...} in each file

No file has the shape of the whole: it is what the chunks reach, and they must cover it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget, check_json
from steelyard.codecs.chunks import Chunk, joined, tiles
from steelyard.codecs.limits import is_possible
from steelyard.codecs.plain import from_json
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats import INCOMPLETE, NOTES, part_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

_SHARD = re.compile(r"shard-(\d{5})-model-\d{5}-of-\d{5}\.safetensors")
_INFO = "DCP_SHARDING_INFO"


class _Part(NamedTuple):
    """A chunk in the file of one process."""

    source: Source
    offsets: tuple[int, ...]
    weight: Weight


def shards_in(names: list[str]) -> list[str]:
    """Return the files of the processes, in their order."""
    return sorted(name for name in names if _SHARD.fullmatch(name))


def read_shards(folder: Source, names: list[str]) -> Weights:
    """List the weights of these files, in the order of their first chunks."""
    parts: dict[str, list[_Part]] = {}
    for name in names:
        source = folder.beside(name)
        held = part_in(source)
        offsets = _offsets(source, held)
        for weight in held.values():
            parts.setdefault(weight.name, []).append(_Part(source, _at(source, weight, offsets.get(weight.name)), weight))
    budget = Budget(folder.beside(names[0]))
    weights = infer_roles([_weight(folder, name, chunks, budget) for name, chunks in parts.items()])
    note = f"no file has the number of processes that saved it; these are the {len(names):,} that are here"
    lost = _lost(names)
    missing = {INCOMPLETE: [f"lacks the file of process {', '.join(map(str, lost[:5]))}"]} if lost else {}
    return Weights(weights, meta={"format": "PyTorch distributed checkpoint for the Hub", NOTES: [note], **missing})


def _lost(names: list[str]) -> list[int]:
    """Return the numbers of the processes, from 1, that lie between others and have no file."""
    there = {int(match[1]) for name in names if (match := _SHARD.fullmatch(name))}
    return [number for number in range(1, max(there) + 1) if number not in there] if max(there) <= 10 * len(there) else [1]


def _offsets(source: Source, held: Weights) -> dict[str, Plain]:
    text = held.meta.get(_INFO)
    if not isinstance(text, str):
        raise FormatError(source.name, f"lacks {_INFO}, which has the places of its chunks")
    check_json(text, source)
    content = from_json(text.encode())
    if not isinstance(content, dict):
        raise FormatError(source.name, f"its {_INFO} is not an object of names")
    return {name: entry.get("saved_offsets") for name, entry in content.items() if isinstance(entry, dict)}


def _at(source: Source, weight: Weight, offsets: Plain) -> tuple[int, ...]:
    listed = tuple(each for each in offsets if type(each) is int and each >= 0) if isinstance(offsets, list) else (-1,)
    if len(listed) != len(weight.shape) or len(listed) != len(offsets):  # type: ignore[arg-type]
        raise FormatError(
            source.name, f"the offsets of {quoted(weight.name)} are {printable(offsets, 80)}, not one for each axis"
        )
    return listed


def _weight(folder: Source, name: str, parts: list[_Part], budget: Budget) -> Weight:
    first = parts[0].weight
    shape = tuple(_ends(parts))
    plain = Weight(name=name, shape=shape, dtype=first.dtype, read=first.read, layer=layer_of(name), encoding=first.encoding)
    if len(parts) == 1 and not any(parts[0].offsets):
        return plain
    refusal = next((part.weight.read for part in parts if isinstance(part.weight.read, Refused)), None)
    if refusal is not None:
        return plain.replace(read=refusal)
    chunks = [Chunk(part.offsets, part.weight.shape, part.weight.read) for part in parts if part.weight.size]
    same = {(len(part.offsets), part.weight.dtype) for part in parts}
    if len(same) > 1 or not is_possible(shape) or not tiles(shape, chunks, budget):
        what = f"the chunks of {quoted(name)} do not cover it, each element once (is the file of a process missing?)"
        return plain.replace(read=Refused(FormatError(folder.name, what)), shape=shape if is_possible(shape) else ())
    return plain.replace(read=joined(shape, first.dtype, chunks))


def _ends(parts: list[_Part]) -> Iterator[int]:
    """Yield the length of each axis of the whole: the furthest that a chunk reaches."""
    for axis in range(len(parts[0].offsets)):
        yield max(part.offsets[axis] + part.weight.shape[axis] for part in parts if len(part.offsets) > axis)
