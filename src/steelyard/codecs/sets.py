"""The set of files that a file belongs to, as its name and its folder show: numbered shards, an index, a pickle's arrays.

A part that is opened alone is read as it is; the sentences returned here report that it is not the whole model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.errors import SteelyardError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

_NUMBERED = re.compile(r"(.+)-(\d+)-of-(\d+)(\.\w+)")
_OF_PROCESS = re.compile(r"shard-(\d{5})-model-\d{5}-of-\d{5}\.safetensors")
_OF_ZERO = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_\d+_(?:optim|model)_states\.pt")
_KERAS = re.compile(r"(.+)_\d{5}\.weights\.h5")
_ARRAY = re.compile(r"(.+)_\d\d\.npy(?:\.z)?|(.+?)((?:\.\w+)+)\.npy")
"""An array that joblib before 0.10 ("net.pkl_01.npy") or gensim ("words.kv.vectors.npy") wrote beside its pickle."""
NAMED = 3


def missing_parts(source: Source) -> list[str]:
    """Return a sentence for each reason why this file alone is not a model; none for a complete file."""
    if source.path is None or source.is_folder:
        return []
    name = os.path.basename(source.path)
    return [*_numbered(source, name), *_of_process(name), *_of_keras(source, name), *_of_pickle(source, name)]


def part_of(number: int, parts: list[str], missing: list[str], whole: str) -> str:
    """Return a sentence that a file is part `number` of these; `whole` names what to open if none is missing.

    >>> part_of(1, ["m-1-of-2.gguf", "m-2-of-2.gguf"], ["m-2-of-2.gguf"], "")
    'is part 1 of 2 of a model, and m-2-of-2.gguf is missing'
    """
    sentence = f"is part {number:,} of {len(parts):,} of a model"
    if not missing:
        return f"{sentence}; {whole}"
    verb = "is" if len(missing) == 1 else "are"
    return f"{sentence}, and {first_of(missing, NAMED)} {verb} missing"


def numbered_parts(name: str) -> tuple[int, list[str]] | None:
    """Return the number of a part, from 1, and the names of all parts; None for a file that is not one of several.

    >>> numbered_parts("m-00002-of-00002.gguf")
    (2, ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
    """
    match = _NUMBERED.fullmatch(name)
    if match is None or not 1 <= int(match[2]) <= int(match[3]) <= limits.SHARDS or int(match[3]) == 1:
        return None
    width = len(match[2])
    names = [f"{match[1]}-{number:0{width}}-of-{match[3]}{match[4]}" for number in range(1, int(match[3]) + 1)]
    return int(match[2]), names


def absent(source: Source, names: list[str]) -> list[str]:
    """Return those of the names that no file of the source's folder has."""
    if source.path is not None:
        there = set(os.listdir(os.path.dirname(source.path) or "."))
        return [name for name in names if name not in there]
    return [name for name in names if not _is_there(source, name)]


def _is_there(source: Source, name: str) -> bool:
    try:
        source.beside(name)
    except SteelyardError:
        return False
    return True


def _numbered(source: Source, name: str) -> Iterator[str]:
    parts = numbered_parts(name)
    if parts is None or name.lower().endswith(".gguf"):  # whose metadata decide
        return
    number, names = parts
    stem, suffix = name[: name.rindex("-of-")].rpartition("-")[0], os.path.splitext(name)[1]
    index = f"{stem}{suffix}.index.json"
    whole = f"open {printable(index)} for the whole" if _is_there(source, index) else "open its folder for the whole"
    yield part_of(number, names, absent(source, names), whole)


def _of_process(name: str) -> Iterator[str]:
    if match := _OF_PROCESS.fullmatch(name):
        yield f"has the chunks of process {int(match[1])} of a distributed checkpoint alone; open its folder for the whole"
    if match := _OF_ZERO.fullmatch(name):
        yield f"is the share of process {int(match[1])} alone of a model in DeepSpeed's ZeRO; open its folder for the whole"


def _of_keras(source: Source, name: str) -> Iterator[str]:
    match = _KERAS.fullmatch(name)
    if match is None or not _is_there(source, f"{match[1]}.weights.json"):
        return
    from steelyard.codecs.shard_index import shard_index

    index = f"{match[1]}.weights.json"
    try:
        shards = sorted({shard for shards in shard_index(source.beside(index))[0].values() for shard in shards})
    except SteelyardError:
        return
    if name in shards and len(shards) > 1:
        yield part_of(shards.index(name) + 1, shards, absent(source, shards), f"open {printable(index)} for the whole")


def _of_pickle(source: Source, name: str) -> Iterator[str]:
    match = _ARRAY.fullmatch(name)
    if match is None:
        return
    words = (match[3] or "").split(".")[1:-1]  # without the attribute that holds the array
    owners = [match[1]] if match[1] else [".".join([match[2], *words[: end + 1]]) for end in range(len(words))]
    if owner := next((owner for owner in owners if "." in owner and _is_there(source, owner)), None):
        yield f"is one array of {printable(owner)}, which is next to it; open that for the whole"


def prefixed(path: str, weight: Weight) -> Weight:
    """Prefix the names of a weight, of its layer and of the weights with which it shares numbers."""
    if not path:
        return weight
    return weight.replace(
        name=f"{path}/{weight.name}",
        layer=f"{path}/{weight.layer}" if weight.layer else path,
        tied=weight.tied and f"{path}/{weight.tied}",
        overlaps=weight.overlaps and f"{path}/{weight.overlaps}",
    )
