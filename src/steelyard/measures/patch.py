"""Patches: small files that turn the weights of one source into those of another, bit for bit.

A patch is a safetensors file whose metadata have, under "steelyard.patch", a JSON object:

| key | value |
|---|---|
| "base", "result" | the sha256 digests of both sides, as `steelyard.digest` returns them |
| "weights" | for each weight of the result, in order, [name, how, dtype, shape] |
| "facts" | roles, axes and layers of the weights, as in other files of Steelyard |
| "bases" | the name in the base of each weight that has another name there; absent if there is none |

| `how` | tensors of the patch |
|---|---|
| "same" | none: the weight is that of the base |
| "sparse" | "places/NAME": the indices of the changed entries of the flattened weight, increasing; "values/NAME": their numbers |
| "full" | "values/NAME": all numbers |
| ["tied", owner] | none: the weight is tied to `owner` |

Each changed weight is stored sparse or in full, whichever is smaller.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from steelyard import sizes
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import FormatError, ShapeError, printable, quoted
from steelyard.io import readable_weights
from steelyard.measures.digest import digest
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.wrappers import Wrapping

KEY = "steelyard.patch"
VERSION = 1
BASES = "bases"
"""The key of the names in the base of the weights that have another name there, as within a wrapper."""
ALGORITHM: Final = "sha256"


class Patch:
    """A patch: the digests of its `base` and its `result`, and the way in which each weight is stored (`how`), by name.

    `wrapped` has the words of wrappers without which names were paired.
    """

    __slots__ = ("base", "how", "nbytes", "result", "wrapped")

    def __init__(self, base: str, result: str, how: Mapping[str, str], nbytes: int, wrapped: Wrapping) -> None:
        self.wrapped = wrapped
        self.base = base
        self.result = result
        self.how = dict(how)
        self.nbytes = nbytes

    def __repr__(self) -> str:
        from steelyard.text.differences import patch_line

        return patch_line(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        whole = {"base": self.base, "result": self.result, "bytes": self.nbytes, "prefixes": self.wrapped.to_dict()}
        return {**whole, "weights": self.how}


class _PatchedWeight(NamedTuple):
    """One weight of a patch; `owner` is the name of the weight to which it is tied."""

    name: str
    how: str
    dtype: str
    shape: tuple[int, ...]
    owner: str = ""


def save_patch(before: object, after: object, path: str | os.PathLike[str], *, skip_unreadable: bool = False) -> Patch:
    """Write a patch that turns the weights of `before` into those of `after`, and return its description.

    Both are models, files or `Weights`; weights are paired by name, also without the words of wrappers, as in `diff`. The
    suffix of `path` must be .safetensors; an existing file is replaced only when the patch is complete. `apply_patch` restores
    numbers, dtypes, shapes, names, order, roles, axes and layers, but not a file's other metadata. Raises the errors of
    `weights`, `FormatError` for another suffix or a dtype that safetensors does not have, and `UnreadableError` for weights
    that cannot be read; with `skip_unreadable` the patch is made without them, with a warning, and `apply_patch` needs
    `skip_unreadable` too if `before` has such weights.

    Examples:
        >>> import numpy as np, tempfile
        >>> before, after = {"w": np.zeros(1000)}, {"w": np.zeros(1000)}
        >>> after["w"][7] = 1.0
        >>> path = f"{tempfile.mkdtemp()}/p.safetensors"
        >>> save_patch(before, after, path).how
        {'w': 'sparse'}
        >>> apply_patch(before, path)["w"].numpy()[7]
        np.float64(1.0)
    """
    from steelyard.codecs.metadata import dump_facts
    from steelyard.formats import check_names, writer_of

    path = Path(path)
    if path.suffix != ".safetensors":
        raise FormatError(str(path), "a patch is a safetensors file; give it the suffix .safetensors")
    one, other = (readable_weights(each, skip_unreadable=skip_unreadable) for each in (before, after))
    wrapped = wrapping(shapes_of(one), shapes_of(other))
    bases = {theirs: one[mine] for mine, theirs in wrapped.names.items()}
    kept = [(weight, *_kept(bases.get(weight.name), other, weight)) for weight in other.values()]
    base, result = (digest(each, ALGORITHM).whole for each in (one, other))
    head = {
        "version": VERSION,
        "base": base,
        "result": result,
        "weights": [_listed(weight, how, other) for weight, how, _ in kept],
        "facts": dump_facts(other),
    }
    renamed = {name: weight.name for name, weight in bases.items() if weight.name != name}
    head |= {BASES: renamed} if renamed else {}
    tensors = Weights((tensor for _, _, tensors in kept for tensor in tensors), meta={KEY: json.dumps(head)})
    check_names(tensors, path)
    writer_of(path).write(tensors, path)
    return Patch(base, result, {weight.name: how for weight, how, _ in kept}, os.path.getsize(path), wrapped)


def _listed(weight: Weight, how: str, other: Weights) -> list[Any]:
    end = [weight.tied] if how == "tied" and weight.tied in other else []
    return [weight.name, how, weight.dtype, list(weight.shape), *end]


def _kept(base: Weight | None, other: Weights, weight: Weight) -> tuple[str, list[Weight]]:
    """Return the way in which a weight is stored, and its tensors in the patch."""
    if weight.tied is not None and weight.tied in other:
        return "tied", []
    full = weight.replace(name=f"values/{weight.name}", tied=None)
    if base is None or (base.dtype, base.shape) != (weight.dtype, weight.shape):
        return "full", [full]
    count = sum(len(places) for places, _ in _changes(base, weight))
    if not count:
        return "same", []
    word = _places_word(weight)
    # the index and the number of each change would take at least as many bytes as all numbers
    if count * (itemsize(word) + itemsize(weight.dtype)) >= weight.nbytes:
        return "full", [full]
    run = _Changes(base, weight, word)
    places = weight.replace(name=f"places/{weight.name}", tied=None, dtype=word, shape=(count,), read=run.places)
    return "sparse", [places, full.replace(shape=(count,), read=run.values)]


def _places_word(weight: Weight) -> str:
    return "uint32" if weight.size <= 1 << 32 else "uint64"


def _changes(base: Weight, weight: Weight) -> Iterator[tuple[Array, Array]]:
    """Yield the indices and the numbers of the changed entries, block by block."""
    import numpy as np

    from steelyard.measures.diff.arithmetic import changed_entries, equal
    from steelyard.numerics.blocks import pairs_of

    for start, x, y in pairs_of(base, weight, sizes.DIFF_BLOCK):
        if not equal(x, y):
            places = np.flatnonzero(changed_entries(x, y))
            yield places + start, y[places]


class _Changes:
    """Lazy readers of the changed entries of one weight; the entries of the current block are cached."""

    __slots__ = ("_base", "_kept", "_weight", "_word")

    def __init__(self, base: Weight, weight: Weight, word: str) -> None:
        self._base = base
        self._weight = weight
        self._word = word
        self._kept: tuple[Array, Array] | None = None

    def _found(self, nth: int, start: int, stop: int) -> Array:
        import numpy as np

        if self._kept is None:
            places, values = zip(*_changes(self._base, self._weight), strict=True)
            self._kept = np.concatenate(places).astype(self._word), np.concatenate(values)
        # dropped after the last block, so that the changes of one weight at a time are held
        both, self._kept = self._kept, self._kept if stop < len(self._kept[0]) else None
        return both[nth][start:stop]

    def places(self, start: int, stop: int) -> Array:
        return self._found(0, start, stop)

    def values(self, start: int, stop: int) -> Array:
        return self._found(1, start, stop)


def apply_patch(before: object, path: str | os.PathLike[str], *, skip_unreadable: bool = False) -> Weights:
    """Apply a patch to the weights of `before`, and return the result, bit for bit; `steelyard.save` writes it.

    Numbers are patched when they are read. Digests verify both sides: `ShapeError` is raised if the patch was made for other
    weights than `before`, and `FormatError` if the result is wrong, or if the file is damaged or not a patch. Weights of
    `before` that cannot be read are refused, or left out with `skip_unreadable`.

    Examples:
        >>> import numpy as np, tempfile
        >>> path = f"{tempfile.mkdtemp()}/change.safetensors"
        >>> _ = save_patch({"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 5.0])}, path)
        >>> apply_patch({"w": np.array([1.0, 2.0])}, path)["w"].numpy().tolist()
        [1.0, 5.0]
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ShapeError(f"a patch is a file, whose path comes second, not a {printable(type(path).__name__)}")
    base, stored = readable_weights(before, skip_unreadable=skip_unreadable), readable_weights(path)
    file = str(path)
    head = _head(file, stored)
    own = digest(base, ALGORITHM).whole
    if own != head["base"]:
        raise ShapeError(
            f"{printable(file)} was made for other weights: their sha256 is {printable(head['base'], 80)}, not {own}"
        )
    bases = _renamed(file, base, head)
    made = [_made(file, _patched_weight(file, fact), bases, stored) for fact in head["weights"]]
    result = _meaning(made, head)
    if digest(result, ALGORITHM).whole != head["result"]:
        raise FormatError(file, "the result does not have the digest in the patch: the file is damaged")
    return result


def _renamed(file: str, base: Weights, head: Mapping[str, Any]) -> Mapping[str, Weight]:
    """Return the weights of the base by the names that the result has for them."""
    names = head.get(BASES, {})
    if not isinstance(names, dict) or not all(isinstance(name, str) and name in base for name in names.values()):
        raise FormatError(file, "the patch names weights of its base that it does not have")
    return {**base, **{name: base[own].replace(name=name) for name, own in names.items()}}


def _meaning(made: list[Weight], head: Mapping[str, Any]) -> Weights:
    from steelyard.codecs.metadata import with_facts

    facts = head.get("facts")
    return Weights(with_facts(made, facts if isinstance(facts, str) else None))


def _head(file: str, stored: Weights) -> dict[str, Any]:
    text = stored.meta.get(KEY)
    try:
        head = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or not isinstance(head.get("weights"), list):
        raise FormatError(file, "this is not a patch; `steelyard save-patch BEFORE AFTER -o p.safetensors` writes one")
    if head.get("version") != VERSION:
        raise FormatError(file, f"a patch of the unknown version {printable(head.get('version'))}")
    if not all(isinstance(head.get(key), str) for key in ("base", "result")):
        raise FormatError(file, "the patch has no digest of the weights that it was made for")
    return head


def _patched_weight(file: str, fact: Any) -> _PatchedWeight:
    try:
        name, how, dtype, shape, *owner = fact
        kept = _PatchedWeight(name, how, dtype, tuple(shape), *owner)
    except (TypeError, ValueError):
        raise FormatError(file, "the patch lists a weight without a name, dtype or shape") from None
    words = all(isinstance(word, str) for word in (name, how, dtype, kept.owner))
    if not words or dtype not in ITEMSIZES or not all(type(length) is int and 0 <= length < 1 << 48 for length in kept.shape):
        raise FormatError(file, f"the patch gives {printable(name)} an invalid dtype or shape")
    return kept


def _made(file: str, kept: _PatchedWeight, base: Mapping[str, Weight], stored: Weights) -> Weight:
    """Return a weight of the result."""
    name, how, dtype, shape, owner = kept
    if how == "tied":
        return Weight(name=name, shape=shape, dtype=dtype, read=_tied_reader(file, owner, base, stored, kept), tied=owner)
    values = stored.get(f"values/{name}")
    if how == "full" and values is not None and (values.dtype, values.shape) == (dtype, shape):
        return values.replace(name=name)
    old = base.get(name)
    if how in ("same", "sparse") and old is not None and (old.dtype, old.shape) == (dtype, shape):
        return old.replace(tied=None) if how == "same" else _edited(file, old, stored)
    raise FormatError(file, f"{printable(name)} is stored as {quoted(how)}, but its numbers are missing or have another shape")


def _tied_reader(file: str, owner: str, base: Mapping[str, Weight], stored: Weights, kept: _PatchedWeight) -> Any:
    """Return the reader of a tied weight's owner."""
    head = _head(file, stored)
    listed = (_patched_weight(file, fact) for fact in head["weights"])
    fact = next((each for each in listed if each.name == owner), None)
    if fact is None or fact.how == "tied" or (fact.dtype, fact.shape) != (kept.dtype, kept.shape):
        raise FormatError(
            file, f"{printable(kept.name)} is tied to {printable(owner)}, which is missing or has another dtype or shape"
        )
    return _made(file, fact, base, stored).read


def _edited(file: str, old: Weight, stored: Weights) -> Weight:
    """Return a weight of the base whose changed entries are replaced while it is read."""
    import numpy as np

    places, values = (stored.get(f"{what}/{old.name}") for what in ("places", "values"))
    if places is None or values is None or values.dtype != old.dtype or places.dtype not in ("uint32", "uint64"):
        raise FormatError(file, f"{printable(old.name)} lacks the indices or the numbers of its changed entries")
    if len(places.shape) != 1 or values.shape != places.shape or places.size > old.size:
        raise FormatError(
            file, f"{printable(old.name)} has {prod(places.shape):,} changed indices but {prod(values.shape):,} numbers"
        )
    where = places.numpy().astype(np.int64)
    if places.size and (where[0] < 0 or where[-1] >= old.size or (np.diff(where) <= 0).any()):
        raise FormatError(file, f"the changed indices of {printable(old.name)} do not increase, or exceed its size")
    read, new = old.read, values.read

    def edited(start: int, stop: int) -> Array:
        first, last = np.searchsorted(where, (start, stop))
        block = read(start, stop)
        if first < last:
            block = block if isinstance(read, Stored) else block.copy()  # a reader of a file returns a copy
            block[where[first:last] - start] = new(int(first), int(last))
        return block

    return old.replace(read=edited, tied=None, encoding="")
