"""Which weights match a pattern, a role, a layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError


def selected(
    weights: Iterable[Weight], pattern: str | Iterable[str], role: str | Iterable[str] | None, layer: str, trainable: bool | None
) -> Iterator[Weight]:
    """Return the weights that match all of these, as `Weights.select` takes them."""
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
