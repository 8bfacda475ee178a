"""Select weights by name, role and layer, and distinguish parameters from buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import NamesInOrder

NAMED = 5
"""Maximum weights that an error message names."""
STATE_ROLES = frozenset({Role.MEAN, Role.VARIANCE, Role.COUNT})
"""Roles of counters and running statistics, which are not trained."""


def selected(
    weights: Iterable[Weight], pattern: str | Iterable[str], role: str | Iterable[str] | None, layer: str, trainable: bool | None
) -> Iterator[Weight]:
    """Return the weights that match all criteria of `Weights.select`."""
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    roles = _roles(role)
    return (
        weight
        for weight in weights
        if any(_matches(weight.name, each) for each in patterns)
        and _matches(weight.layer, layer)
        and (roles is None or weight.role in roles)
        and (trainable is None or weight.trainable is trainable)
    )


def _matches(name: str, pattern: str) -> bool:
    return pattern in ("*", name) or fnmatchcase(name, pattern)


def _roles(role: str | Iterable[str] | None) -> frozenset[Role] | None:
    if role is None:
        return None
    words = [role] if isinstance(role, str) else list(role)
    known = {str(r) for r in Role}
    for word in words:
        if word not in known:
            raise ShapeError(f"{word!r} is not a role; the roles are {', '.join(sorted(known))}")
    return frozenset(map(Role, words))


def are_parameters(weights: Mapping[str, Weight], order: NamesInOrder | None) -> Iterator[tuple[Weight, bool]]:
    """Yield each weight, and whether it is a parameter: by the `order` of the parameters if there is one, else by its facts.

    Raises `ShapeError` for weights for which neither is known.
    """
    names = order() if order is not None else None
    if names is not None:
        named = set(names)
        return ((weight, weight.name in named or weight.tied in named) for weight in weights.values())
    known = [(weight, _is_parameter(weight)) for weight in weights.values()]
    unknown = [printable(weight.name) for weight, is_one in known if is_one is None]
    if unknown:
        names = ", ".join(unknown[:NAMED]) + (f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else "")
        raise ShapeError(f"it is not known whether these are parameters or buffers: {names}; select weights by name")
    return ((weight, bool(is_one)) for weight, is_one in known)


def _is_parameter(weight: Weight) -> bool | None:
    """Whether a weight is a parameter; None if its facts do not show it."""
    if weight.role in STATE_ROLES:
        return False
    return True if weight.trainable or weight.role is not Role.OTHER else None
