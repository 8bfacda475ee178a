"""A walk through nested R lists, in their order and without recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from steelyard.codecs import limits
from steelyard.codecs.r.values import Pairlist, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.r.values import Value

    Path = tuple[str, ...]


def leaves(root: Value, file: str, enter: Callable[[Path, Value], bool] | None = None) -> Iterator[tuple[Path, Value]]:
    """Yield every value that is not a list, with its path, and every list for which `enter` returns False.

    The name of an unnamed member is its place, counted from 1 as in R. Raises `FormatError` if lists are nested too deep.
    """
    frames: list[Iterator[tuple[Path, Value]]] = [iter([((), root)])]
    while frames:
        for path, value in frames[-1]:
            if not is_list(value) or (enter is not None and not enter(path, value)):
                yield path, value
                continue
            if len(frames) > limits.DEPTH:
                raise FormatError(file, f"lists are nested more than {limits.DEPTH:,} levels deep")
            frames.append(_members(path, value))
            break
        else:
            frames.pop()


def is_list(value: Value) -> TypeGuard[Vector | Pairlist]:
    """Whether a value is a list or a pairlist."""
    return isinstance(value, Pairlist) or (isinstance(value, Vector) and value.items is not None)


def _members(path: Path, value: Vector | Pairlist) -> Iterator[tuple[Path, Value]]:
    return (((*path, name or str(place)), member) for place, (name, member) in enumerate(value.pairs(), 1))
