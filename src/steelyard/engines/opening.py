"""How another process opens a file as this one did: by the same path, in the same version, with the same selection."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import FormatError, ShapeError, SteelyardError, printable, quoted
from steelyard.io import weights
from steelyard.storage.opening import public

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights

_KEPT = threading.local()
KEPT = 2
"""Files that each thread keeps open, with their listings, for its next tasks: a comparison needs two."""


class Opening(NamedTuple):
    """A `path` with its `stamp`, and which of its weights are meant, in the words of `weights`, `Weights.select` and others."""

    path: str
    scope: Scope = "model"
    effective: bool = False
    fold: str | None = None
    select: tuple[str, ...] = ()
    role: str | None = None
    skip_unreadable: bool = False
    stamp: tuple[int | str, ...] = ()

    def stamped(self) -> Opening:
        """Return it with the version of the file as it is now."""
        return self._replace(stamp=stamp_of(self.path))

    def require_unchanged(self) -> None:
        """Raise `FormatError` if the file is of another version than the one that was stamped."""
        if self.stamp and stamp_of(self.path) != self.stamp:
            raise FormatError(public(self.path), "has changed since the work was given out; start again")


def stamp_of(path: str) -> tuple[int | str, ...]:
    """Return the size of a file, and the time of its last change in ns; of a folder, those of all files in it, summed up.

    A member of an archive changes with the file of that.
    Machines that share a disk agree on these. Of a URL, what its server says of the version; empty if that is nothing.
    """
    if "://" in path:
        from steelyard.storage.remote.opening import version_of

        try:
            return tuple(str(each) for each in version_of(path))
        except SteelyardError:
            return ()
    if os.path.isdir(path):
        found = sorted((entry.name, *_version(entry.stat())) for entry in os.scandir(path) if entry.is_file())
        return (sum(size for _, size, _ in found), max((time for _, _, time in found), default=0), len(found))
    try:
        return _version(os.stat(_file_of(path)))
    except OSError:
        return ()  # opening it says why


def _file_of(path: str) -> str:
    if "!" not in path:
        return path
    from steelyard.codecs.archive import archive_of

    return archive_of(path)


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def opened(opening: Opening) -> Weights:
    """Return the weights that are meant."""
    opening.require_unchanged()
    return selected(weights(opening.path, scope=opening.scope), opening)


def listed(opening: Opening) -> Weights:
    """Return the weights that are meant, which this thread keeps open for the next call."""
    kept: dict[Opening, Weights] = _KEPT.__dict__.setdefault("openings", {})
    found = kept.pop(opening, None)
    if found is None:
        found = opened(opening)
    kept[opening] = found
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return found


def selected(listed: Weights, opening: Opening) -> Weights:
    """Select from the weights of a file; a pattern without a match is an error, since it is probably a typo."""
    if opening.fold or opening.effective:
        listed = listed.effective("norms" if opening.fold else None)
    if opening.select and listed and not listed.select(opening.select, missing_ok=True):
        raise ShapeError(unmatched(public(opening.path), opening.select))
    if opening.select or opening.role:
        listed = listed.select(opening.select or "*", role=opening.role, missing_ok=True)
    if opening.skip_unreadable:
        from steelyard.core.selection import readable

        listed = readable(listed, skip_unreadable=True)
    return listed


def unmatched(files: str, patterns: Sequence[str]) -> str:
    """Return the error message for patterns that match no name."""
    given = ", ".join(quoted(pattern) for pattern in patterns)
    return f"{printable(files)}: no weight's name matches --select {given}; steelyard ls lists the names"
