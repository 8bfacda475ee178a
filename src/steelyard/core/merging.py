"""Changes of stored weights, such as those of an adapter, which are merged into them when they are read.

A kind of adapter (`steelyard/adapters`) yields a `Change` for each weight of the base. The changes of several adapters to one
weight follow each other in float64; the result is rounded once, to the type of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard import sizes
from steelyard.core.effective import Derivation, Setting
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, UnreadableError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader

    Rows = Callable[[int, int, slice], Array]
    """Reads the rows [first, last) of a weight in float64, each of them flat, and of these the columns of a slice."""
    Apply = Callable[[Rows, tuple[int, ...]], Rows]
    """Returns changed rows; it is given the rows before the change, and the shape of the whole weight."""

_LEADING = 4
"""Words that the names of an adapter may have before those of its base."""
_ALTERNATIVES = 1000
"""Prefixes that are tried at most."""


class Change(NamedTuple):
    """What an adapter does to the weight `name` of its base.

    `apply` changes its rows. A `whole` weight takes its place, or is new. `refusal` is the reason why it cannot be computed.
    `parts` are the names of the weights of the adapter; see `Derivation` for the rest.
    """

    name: str
    scheme: str
    parts: tuple[str, ...]
    apply: Apply | None = None
    whole: Weight | None = None
    refusal: str = ""
    settings: Mapping[str, Setting] = {}
    assumed: tuple[str, ...] = ()


def merged(base: Iterable[Weight], changes: Iterable[Change]) -> list[Weight]:
    """Return the weights of a base with changes; new ones follow at the end.

    A weight that is tied to a changed one keeps the numbers of the base, since a change belongs to one layer.
    """
    by_name: dict[str, list[Change]] = {}
    for change in changes:
        by_name.setdefault(change.name, []).append(change)
    listed = [_changed(weight, own) if (own := by_name.pop(weight.name, None)) else weight for weight in base]
    new = [_changed(own[0].whole, own) for own in by_name.values() if own[0].whole is not None]
    return [*_untied(listed, {weight.name for weight in listed if weight.derivation is not None}), *new]


def _untied(listed: list[Weight], changed: set[str]) -> list[Weight]:
    """Tie weights of changed owners to the first other one that has the numbers of the base."""
    owners: dict[str, str] = {}
    return [_tied_anew(weight, owners) if weight.tied in changed else weight for weight in listed]


def _tied_anew(weight: Weight, owners: dict[str, str]) -> Weight:
    first = owners.setdefault(weight.tied or "", weight.name)
    return weight.replace(tied=None if first == weight.name else first)


def _changed(weight: Weight, changes: list[Change]) -> Weight:
    """Return a weight with its changes: whole ones first, since the others are relative to what stays."""
    ordered = sorted(changes, key=lambda change: change.whole is None)
    for change in ordered:
        weight = weight if change.whole is None else change.whole.replace(name=weight.name, layer=weight.layer)
    facts = _derivation(weight, ordered)
    refusal = next((change.refusal for change in ordered if change.refusal), "")
    if refusal or isinstance(weight.read, Refused):
        error = UnreadableError(f"{printable(weight.name)} is changed by {facts.scheme}: {refusal or weight.unreadable}")
        return weight.replace(read=Refused(error), derivation=facts, tied=None, overlaps=None, encoding="")
    applied = [change.apply for change in ordered if change.apply is not None]
    read = applying(weight, applied) if applied else weight.read
    return weight.replace(read=read, derivation=facts, tied=None, overlaps=None, encoding="")


def _derivation(weight: Weight, changes: list[Change]) -> Derivation:
    before = weight.derivation or Derivation("", (weight.name,))
    schemes = [*filter(None, (before.scheme, *(change.scheme for change in changes)))]
    return Derivation(
        " and ".join(dict.fromkeys(schemes)),
        (*before.parts, *(part for change in changes for part in change.parts)),
        {**before.settings, **{key: value for change in changes for key, value in change.settings.items()}},
        (*before.assumed, *(sentence for change in changes for sentence in change.assumed)),
    )


def applying(weight: Weight, changes: Iterable[Apply]) -> Reader:
    """Return a reader of a weight after changes of its rows, rounded to its own type at the end.

    Rows are computed in tiles of a fixed size and place, so that numbers do not depend on the run that is read: a product of
    matrices may round differently with another number of rows.
    """
    shape, width = weight.shape, prod(weight.shape[1:])
    rows = rows_of(weight)
    for change in changes:
        rows = change(rows, shape)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        made = np.empty(max(stop - start, 0), numpy_dtype(weight.dtype))
        for first, last, columns in _tiles(start, stop, width, shape[0] if shape else 1):
            begin = first * width + columns.start
            values = rows(first, last, columns).reshape(-1)
            at = max(start, begin)
            part = values[at - begin : stop - begin]
            made[at - start : at - start + len(part)] = part
        return made

    return read


def _tiles(start: int, stop: int, width: int, height: int) -> Iterator[tuple[int, int, slice]]:
    """Yield the first and last row and the columns of each tile in which a run is: several rows, or a part of a long one."""
    limit = sizes.MERGE_TILE
    if stop <= start:
        return
    if width <= sizes.MERGE_ROW:
        several = max(limit // width, 1)
        for first in range(start // (several * width) * several, -(-stop // width), several):
            yield first, min(first + several, height), slice(0, width)
        return
    for row in range(start // width, -(-stop // width)):
        low = max(start - row * width, 0) // limit * limit
        for at in range(low, min(stop - row * width, width), limit):
            yield row, row + 1, slice(at, min(at + limit, width))


def rows_of(weight: Weight) -> Rows:
    """Return what reads the rows of a stored weight; a scalar has one."""
    width = prod(weight.shape[1:])
    return lambda first, last, columns: part_of(weight, width, first, last, columns)


def part_of(weight: Weight, width: int, first: int, last: int, columns: slice) -> Array:
    """Return the rows [first, last) of a weight with rows of this width in float64, and of these some columns."""
    import numpy as np

    low, high, _ = columns.indices(width)
    if (low, high) == (0, width):
        return weight.read(first * width, last * width).astype(np.float64).reshape(last - first, width)
    made = np.empty((last - first, high - low))
    for row in range(first, last):
        made[row - first] = weight.read(row * width + low, row * width + high)
    return made


class Names:
    """The names of a base, as an adapter knows them: either may have a prefix that the other lacks, such as "transformer."."""

    __slots__ = ("_added", "_dropped", "weights")

    def __init__(self, weights: Mapping[str, Weight], layers: Iterable[str]) -> None:
        self.weights = weights
        self._dropped, self._added = _prefixes(weights, [*layers])

    def of(self, name: str) -> str:
        """Return the name in the base of what the adapter calls so."""
        bare = name.split(".", self._dropped)[-1]
        return f"{self._added}.{bare}" if self._added else bare

    @property
    def assumed(self) -> tuple[str, ...]:
        """A sentence where the names differ."""
        if self._added:
            return (f"the names of the base have '{printable(self._added)}.' in front of those of the adapter",)
        return ("the names of the adapter have a prefix that those of the base lack",) if self._dropped else ()


def _prefixes(weights: Mapping[str, Weight], layers: list[str]) -> tuple[int, str]:
    """Return the number of leading words to drop from the layers of an adapter, and the prefix to add, to find all in a base."""
    paths = {name[:at] for name in weights for at in (*_dots(name), len(name))}
    for dropped in range(_LEADING):
        bare = [layer.split(".", dropped)[-1] for layer in layers if layer.count(".") >= dropped]
        if len(bare) == len(layers) and all(layer in paths for layer in bare):
            return dropped, ""
    first = f".{layers[0]}" if layers else ""
    added = [path[: -len(first)] for path in paths if first and path.endswith(first)][:_ALTERNATIVES]
    fitting = sorted(prefix for prefix in added if all(f"{prefix}.{layer}" in paths for layer in layers))
    if len(fitting) > 1:
        what = f"both {printable(fitting[0])}{first} and {printable(fitting[1])}{first}"
        raise ShapeError(
            f"the base has {what}, and the adapter calls its layer {printable(layers[0])}; select one part of the base"
        )
    if fitting:
        return 0, fitting[0]
    missing = [layer for layer in layers if layer not in paths]
    more = f", and {len(missing) - 1:,} other layers of the adapter are missing too" if len(missing) > 1 else ""
    raise ShapeError(
        f"the base has no layer {printable(missing[0])}, which the adapter changes{more}; pass the base that it is for"
    )


def _dots(name: str) -> list[int]:
    return [at for at, mark in enumerate(name) if mark == "."]
