"""Writes CTranslate2's `model.bin` again with other numbers in its variables: a spec cannot be made of weights alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.original import copied, original_of
from steelyard.core.readers import raw_chunks
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats.ctranslate2 import FRAMEWORK, read
from steelyard.storage.atomic import replacing
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

_WHY = "CTranslate2's model.bin needs the spec of a model, which these weights do not have"


def write(weights: Weights, path: Path) -> None:
    """Write the model that the weights were read from, with these numbers; variables that are left out keep theirs.

    Raises `FormatError` for weights that the model does not have, of other shapes or types, or whose alias has other numbers.
    """
    source = original_of(weights, FRAMEWORK, path, _WHY)
    before = read(source, "all")
    for weight in weights.values():
        _require(weight, before.get(weight.name), path)
    changes = [_change(owner, weights, before, path) for owner in before.values() if owner.tied is None]
    with replacing(path) as file:
        file.writelines(_spliced(source, [change for change in changes if change is not None]))


def _require(weight: Weight, old: Weight | None, path: Path) -> None:
    if old is None:
        what = f"the model of CTranslate2 that the weights are from has no variable called {quoted(weight.name)}"
        raise FormatError(str(path), f"{what}; for PyTorch write a file that ends in .pt")
    if (old.shape, old.dtype) != (weight.shape, weight.dtype):
        kinds = f"{list(old.shape)} {old.dtype} in the model of CTranslate2, but {list(weight.shape)} {weight.dtype} here"
        raise FormatError(str(path), f"{printable(weight.name)} is {kinds}")


def _change(owner: Weight, weights: Weights, before: Weights, path: Path) -> tuple[int, Weight] | None:
    """Return where the numbers of a variable are, and the new ones, which its aliases have too; None if none are given."""
    names = [weight.name for weight in before.values() if owner.name in (weight.name, weight.tied) and weight.name in weights]
    if not names or not isinstance(owner.read, Stored):
        return None
    new = weights[names[0]]
    for alias in names[1:]:
        if any(one.tobytes() != other.tobytes() for one, other in zip(new.blocks(), weights[alias].blocks(), strict=True)):
            what = f"{printable(alias)} and {printable(names[0])} are one variable, and have different numbers here"
            raise FormatError(str(path), f"{what}; leave one out")
    return owner.read.offset, new


def _spliced(source: Source, changes: Iterable[tuple[int, Weight]]) -> Iterator[bytes | memoryview]:
    """Yield a file with new numbers at the offsets of variables."""
    at = 0
    for offset, weight in changes:
        yield from copied(source, at, offset)
        yield from raw_chunks(weight)
        at = offset + weight.nbytes
    yield from copied(source, at, source.size)
