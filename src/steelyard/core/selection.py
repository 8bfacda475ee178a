"""Select weights by name, role and layer; distinguish parameters from buffers, and readable weights from others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.patterns import fits
from steelyard.core.roles import leaf_of
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import is_floating
from steelyard.errors import (
    EmptySelectionWarning,
    LeftOutWarning,
    ShapeError,
    SteelyardError,
    UnreadableError,
    first_of,
    meant,
    printable,
    quoted,
)

if TYPE_CHECKING:
    from steelyard.core.protocols import NamesInOrder
    from steelyard.core.weights import Weights

    Pattern = str | Iterable[str] | Callable[[Weight], object]

NAMED = 5
"""Maximum weights that an error message names."""
STATE_ROLES = frozenset({Role.MEAN, Role.VARIANCE, Role.COUNT})
"""Roles of counters and running statistics, which are not trained."""


def selected(
    weights: Mapping[str, Weight],
    pattern: Pattern,
    role: str | Iterable[str] | None,
    layer: str,
    trainable: bool | None,
    *,
    missing_ok: bool,
) -> list[Weight]:
    """Return the weights that match all criteria of `Weights.select`."""
    named = _named(pattern)
    roles = _roles(role)
    if not isinstance(layer, str):
        raise ShapeError(f"layer is {quoted(layer)}; it must be text")
    if trainable is not None and not isinstance(trainable, bool):
        raise ShapeError(f"trainable is {quoted(trainable)}; it must be True, False or None")
    matching = [
        weight
        for weight in weights.values()
        if named(weight)
        and fits(weight.layer, layer)
        and (roles is None or weight.role in roles)
        and (trainable is None or weight.trainable is trainable)
    ]
    if weights and not matching and not missing_ok:
        _warn_of_empty(weights.values(), trainable)
    return matching


def _named(pattern: Pattern) -> Callable[[Weight], bool]:
    """Return the test of a pattern, of several, or of a function of a weight."""
    if callable(pattern):
        return lambda weight: bool(pattern(weight))
    patterns = _words(pattern, "pattern")
    return lambda weight: any(fits(weight.name, each) for each in patterns)


def _words(given: str | Iterable[str], what: str) -> list[str]:
    words = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if wrong := [word for word in words if not isinstance(word, str)]:
        raise ShapeError(f"{what} is {quoted(wrong[0])}; it must be text, or several")
    return words


def _warn_of_empty(weights: Iterable[Weight], trainable: bool | None) -> None:
    unknown = trainable is not None and all(weight.trainable is None for weight in weights)
    why = ": it is not known whether they are trainable" if unknown else "; missing_ok=True allows that"
    warnings.warn(f"no weight fits this selection{why}", EmptySelectionWarning, stacklevel=4)


def names_in_order(orders: Mapping[str, NamesInOrder], word: str) -> Iterable[str]:
    """Return the names in the order of this word; raises `ShapeError` where the weights do not have it."""
    names = orders[word]() if word in orders else None
    if names is None:
        known = f", or use one of {', '.join(orders)}{meant(word, orders)}" if orders else ""
        raise ShapeError(f"these weights have no order {quoted(word)}; leave it out for the listed order{known}")
    return names


def _roles(role: str | Iterable[str] | None) -> frozenset[Role] | None:
    if role is None:
        return None
    words = _words(role, "role")
    known = {str(r) for r in Role}
    for word in words:
        if word not in known:
            raise ShapeError(f"{quoted(word)} is not a role; the roles are {', '.join(sorted(known))}{meant(word, known)}")
    return frozenset(map(Role, words))


def of_kind(weights: Mapping[str, Weight], order: NamesInOrder | None, *, parameters: bool) -> list[Weight]:
    """Return the parameters, or the buffers: by the `order` of the parameters where there is one, else by their facts.

    Raises `ShapeError` for weights for which neither is known.
    """
    known = list(_kinds(weights, order))
    unknown = [weight.name for weight, is_one in known if is_one is None]
    if unknown:
        names = first_of(unknown, NAMED, lambda name: printable(name) or "(unnamed)")
        raise ShapeError(f"it is not known whether these are parameters or buffers: {names}; select weights by name")
    return [weight for weight, is_one in known if is_one is parameters]


def kinds(weights: Mapping[str, Weight], order: NamesInOrder | None) -> Iterator[tuple[Weight, bool | None]]:
    """Yield each weight, and whether it is a parameter, as far as an order or its facts show; None where neither does."""
    try:
        return _kinds(weights, order)
    except ShapeError:  # a file may not show this order; a total counts what its facts show
        return _kinds(weights, None)


def _kinds(weights: Mapping[str, Weight], order: NamesInOrder | None) -> Iterator[tuple[Weight, bool | None]]:
    """Yield each weight, and whether it is a parameter; None where it is not known."""
    names = None if order is None else order()
    if names is None:
        return ((weight, _is_parameter(weight)) for weight in weights.values())
    named = set(names)
    return ((weight, weight.name in named or weight.tied in named) for weight in weights.values())


class Counts(NamedTuple):
    """How many elements are in parameters, in buffers, and in weights that may be either; tied ones count once."""

    parameters: int = 0
    buffers: int = 0
    unknown: int = 0

    def __str__(self) -> str:
        if not self.parameters and not self.buffers and self.unknown:
            return f"{self.unknown:,} number{'s' * (self.unknown != 1)}"
        words = [f"{self.parameters:,} parameter{'s' * (self.parameters != 1)}"]
        words += [f"{self.buffers:,} in buffers"] if self.buffers else []
        words += [f"{self.unknown:,} other number{'s' * (self.unknown != 1)}"] if self.unknown else []
        return ", ".join(words)


def counts(weights: Mapping[str, Weight], order: NamesInOrder | None) -> Counts:
    """Count the elements of parameters and buffers, by the `order` of the parameters where there is one; tied weights once."""
    sizes: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    seen: set[str] = set()
    for weight, is_parameter in kinds(weights, order):
        owner = weight.tied or weight.name
        if owner not in seen:
            seen.add(owner)
            sizes[is_parameter] += weight.size
    return Counts(sizes[True], sizes[False], sizes[None])


def _is_parameter(weight: Weight) -> bool | None:
    """Whether a weight is a parameter; None if its facts do not show it."""
    if weight.role in STATE_ROLES:
        return False
    if weight.trainable or weight.role is not Role.OTHER:
        return True
    return True if is_floating(weight.dtype) and leaf_of(weight.name) in ("weight", "w", "W") else None


def readable(weights: Weights, *, skip_unreadable: bool) -> Weights:
    """Return the weights if all can be read, as far as the listing shows; raise `UnreadableError`, which names the others.

    With `skip_unreadable` every number is read once, and weights with a number that cannot be read are left out, with a
    `LeftOutWarning` that names them.
    """
    if not skip_unreadable:
        refuse_unreadable(weights.unreadable, len(weights))
        return weights
    reasons = {weight.name: reason for weight in weights.distinct().values() if (reason := _trouble_of(weight)) is not None}
    if not reasons:
        return weights
    warnings.warn(f"left out {unreadable_line(reasons, len(weights))}", LeftOutWarning, stacklevel=4)
    return weights.with_weights(w for w in weights.values() if w.name not in reasons and w.tied not in reasons)


def refuse_unreadable(reasons: Mapping[str, str], total: int) -> None:
    """Raise `UnreadableError` if there are any weights that cannot be read, with the reason of each."""
    if reasons:
        raise UnreadableError(f"{unreadable_line(reasons, total)}; skip_unreadable=True leaves them out")


def unreadable_line(reasons: Mapping[str, str], total: int) -> str:
    """Name the weights, of `total`, that cannot be read, with the reasons of the first few.

    >>> unreadable_line({"fc.packed": "is packed"}, 9)
    "1 of 9 weights, which cannot be read: 'fc.packed' (is packed)"
    """
    named = first_of(list(reasons.items()), NAMED, lambda each: f"{quoted(each[0])} ({each[1]})")
    return f"{len(reasons):,} of {total:,} weights, which cannot be read: {named}"


def _trouble_of(weight: Weight) -> str | None:
    """Read a weight to its end, and return why that is not possible, if it is not."""
    try:
        for _ in weight.blocks():
            pass
    except SteelyardError as error:
        return str(error)
    return None
