"""The paths of Equinox's leaves as Python source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax.tree_util import FlattenedIndexKey, keystr

if TYPE_CHECKING:
    from jax.tree_util import KeyPath


def spelled(path: KeyPath) -> str:
    """Return a path as Python source without the leading dot; the arrays of a state are named by numbers."""
    if path and isinstance(path[0], FlattenedIndexKey):
        return f"{path[0].key}{keystr(path[1:])}"
    return f"{keystr(path)}".removeprefix(".")
