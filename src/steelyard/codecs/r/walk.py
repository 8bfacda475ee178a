"""Going through what an R object holds, in its order and without recursion: lists in lists to any depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.r.values import Pairlist, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Path = tuple[str, ...]


def leaves(root: Any, file: str, enter: Callable[[Path, Any], bool] | None = None) -> Iterator[tuple[Path, Any]]:
    """Yield what is no list, with its path; and lists that `enter` does not let in.

    A member without a name goes by its place, counted from 1 as R does. Raises `FormatError` where lists lie too deep
    in one another.
    """
    frames: list[Iterator[tuple[Path, Any]]] = [iter([((), root)])]
    while frames:
        for path, value in frames[-1]:
            if not is_list(value) or (enter is not None and not enter(path, value)):
                yield path, value
                continue
            if len(frames) > limits.DEPTH:
                raise FormatError(file, f"more than {limits.DEPTH:,} lists lie in one another")
            frames.append(_members(path, value))
            break
        else:
            frames.pop()


def is_list(value: Any) -> bool:
    """Tell whether a value is a list, of whichever of R's two kinds."""
    return isinstance(value, Pairlist) or (isinstance(value, Vector) and value.items is not None)


def _members(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    return (((*path, name or str(place)), member) for place, (name, member) in enumerate(value.pairs(), 1))
