"""The file of a folder that has one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard.storage.source import Source


def lone_file(folder: Source, names: Sequence[str], is_ours: Callable[[Source], bool]) -> Source | None:
    """Return the file of a folder that has the only one of these names; None for several, and for one that is not `is_ours`."""
    if len(names) != 1:
        return None
    try:
        file = folder.beside(names[0])
        return file if not file.is_folder and is_ours(file) else None
    except SteelyardError:
        return None
