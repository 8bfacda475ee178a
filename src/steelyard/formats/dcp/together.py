"""Writing a distributed checkpoint by all processes of a training: each writes its own part, and the first one `.metadata`.

The folder must be one that all of them see. The first process makes the hidden folder of the new files and tells its name; each
writes its file there and says where its chunks are; then the first gives the files their names, and replaces `.metadata`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.torch.writing import require_types
from steelyard.core.divided import require_done
from steelyard.errors import SteelyardError, UnreadableError
from steelyard.formats.dcp.writing import (
    METADATA,
    folder_of,
    free_names,
    named,
    new_folder,
    old_files,
    placed,
    require_replaceable,
    write_metadata,
)
from steelyard.storage.atomic import creating
from steelyard.storage.atomic_set import replace_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.divided import Part, Processes
    from steelyard.core.weights import Weights
    from steelyard.formats.dcp.describing import Placed

    Places = dict[str, list[Placed]]


def write_together(weights: Weights, parts: Sequence[Part], path: Path, processes: Processes) -> None:
    """Write the weights, of which this process has these parts. Raises on each process if one of them fails."""
    processes.meet("the checkpoint")
    busy = [number for number, has_any in enumerate(processes.collected(bool(parts))) if has_any]
    if processes.number:
        _follow(parts, busy, processes)
        return
    try:
        _lead(weights, parts, folder_of(path), busy, processes)
    except BaseException as error:
        processes.told(str(error) or type(error).__name__)
        raise
    processes.told("")


def _lead(weights: Weights, parts: Sequence[Part], folder: Path, busy: Sequence[int], processes: Processes) -> None:
    require_types(weights, str(folder))
    require_replaceable(folder)
    places: Places = {}

    def fill(aside: Path, names: Sequence[str]) -> None:
        processes.told((str(aside.absolute()), list(names)))
        for found in _exchanged(parts, aside, dict(zip(busy, names, strict=True)), processes):
            for name, several in found.items():
                places.setdefault(name, []).extend(several)

    def plan() -> tuple[list[str], set[str]]:
        return free_names(folder, busy), old_files(folder)

    with new_folder(folder):
        replace_set(folder / METADATA, plan, fill, lambda: write_metadata(folder, weights, places), lambda: named(folder))


def _follow(parts: Sequence[Part], busy: Sequence[int], processes: Processes) -> None:
    """Do what the first process tells this one: it fails, or has a folder for the files; and then it is done, or fails."""
    told = processes.told(None)
    if not isinstance(told, str):
        aside, names = told
        _exchanged(parts, Path(aside), dict(zip(busy, names, strict=True)), processes)
        told = processes.told(None)
    require_done(told)


def _exchanged(parts: Sequence[Part], aside: Path, names: dict[int, str], processes: Processes) -> list[Places]:
    """Write the parts of this process, and return where those of each are. Raises on all of them if one has failed."""
    mine: Places | str
    try:
        mine = _written(parts, aside, names[processes.number]) if parts else {}
    except (SteelyardError, OSError) as error:
        mine = f"process {processes.number} failed: {error}"
    found = processes.collected(mine)
    failed = [each for each in found if isinstance(each, str)]
    if failed and not processes.number:
        raise UnreadableError(failed[0])
    return found


def _written(parts: Sequence[Part], aside: Path, name: str) -> Places:
    places: Places = {}
    with creating(aside / name) as file:
        for part in parts:
            places.setdefault(part.weight.name, []).append(placed(part, file, name))
    return places
