"""Writing distributed checkpoints that `torch.distributed.checkpoint.load` reads on any number of processes.

Each weight is divided along its first axis as FSDP divides it over so many processes, and each file has what one of them has:
whoever loads with as many reads one file. `.metadata` is replaced last, by one that names new files; the old ones go after it.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

from steelyard.codecs.metadata import dump_facts, owners
from steelyard.codecs.torch.writing import require_types, write_tensor
from steelyard.core.divided import Part, chunks
from steelyard.errors import FormatError, ShapeError, SteelyardError, quoted
from steelyard.formats.dcp.describing import Placed, described
from steelyard.formats.dcp.metadata import MARK, checkpoint
from steelyard.storage.atomic import creating, replacing, without_folder
from steelyard.storage.atomic_set import replace_set
from steelyard.storage.source import open_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from steelyard.core.weights import Weights

METADATA = ".metadata"
_OURS = re.compile(r"__\d+_\d+\.distcp")
_LEFT = re.compile(r"\.\.?metadata[-.].*\.?tmp")
"""What a killed process leaves."""
_MEGATRON = "common.pt"


def write_folder(weights: Weights, path: Path, processes: int) -> None:
    """Write a folder; `path` is that, or the `.metadata` in it. Raises `FormatError` for a folder with anything else."""
    if processes < 1:
        raise ShapeError(f"processes is {processes}; it must be at least 1")
    folder = folder_of(path)
    require_types(weights, str(path))
    require_replaceable(folder)
    owned = owners(weights)
    parts = {name: list(chunks(weights[name], processes)) for name in dict.fromkeys(owned.values())}
    places: dict[str, list[Placed]] = {}

    def plan() -> tuple[list[str], set[str]]:
        return free_names(folder, range(max(map(len, parts.values()), default=1))), old_files(folder)

    def fill(aside: Path, names: Sequence[str]) -> None:
        with ExitStack() as stack:
            files = [stack.enter_context(creating(aside / name)) for name in names]
            for name, several in parts.items():
                places[name] = [placed(*each) for each in zip(several, files, names, strict=False)]

    with new_folder(folder):
        replace_set(folder / METADATA, plan, fill, lambda: write_metadata(folder, weights, places), lambda: named(folder))


def write_metadata(folder: Path, weights: Weights, places: Mapping[str, list[Placed]]) -> None:
    """Replace the `.metadata` of a folder by one that says where the parts of each weight are."""
    held = {name: places[owner] for name, owner in owners(weights).items()}
    with replacing(folder / METADATA) as file:
        file.writelines(described(weights, held, dump_facts(weights)))


def folder_of(path: Path) -> Path:
    """Return the folder of a checkpoint, given by its own path or by that of the `.metadata` in it."""
    if path.name == METADATA:
        return path.parent
    if path.name.endswith(METADATA):
        raise FormatError(
            str(path), f"is no name of a distributed checkpoint; end it in .dcp, or name the {METADATA} of a folder"
        )
    return path


def placed(part: Part, file: BinaryIO, name: str) -> Placed:
    """Write a part where its file, of this name, ends; return where it is."""
    begin = file.tell()
    return Placed(part.offsets, part.weight.shape, name, begin, write_tensor(part.weight, file))


def new_folder(folder: Path) -> ExitStack:
    """Make the folder if it is missing; what is returned removes it again at an error, unless something is in it."""
    stack = ExitStack()
    with suppress(FileExistsError):
        try:
            folder.mkdir()
        except FileNotFoundError:
            raise without_folder(str(folder.parent)) from None

        def remove(kind: object, *_error: object) -> None:
            if kind is not None:
                with suppress(OSError):
                    folder.rmdir()

        stack.push(remove)
    return stack


def require_replaceable(folder: Path) -> None:
    """Raise `FormatError` for a file, a checkpoint of Megatron, and a folder with files that are no distributed checkpoint."""
    try:
        names = os.listdir(folder)  # one look, since another process may be making the folder
    except (FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return
        raise FormatError(str(folder), "is not a folder, which a distributed checkpoint is; choose another name") from None
    if _MEGATRON in names:
        raise FormatError(
            str(folder), f"is a checkpoint of Megatron with a {_MEGATRON} that belongs to it; choose another folder"
        )
    if METADATA in names and MARK in open_path(folder / METADATA).head(1 << 10):
        return
    others = sorted(name for name in names if not _OURS.fullmatch(name) and not _LEFT.fullmatch(name))
    if others:
        what = f"is a folder with other files, such as {quoted(others[0])}, and holds no distributed checkpoint"
        raise FormatError(str(folder), f"{what}; choose a new folder")


def free_names(folder: Path, processes: Iterable[int]) -> list[str]:
    """Return unused names for the files of these processes, in the form that torch gives them."""
    taken = set(os.listdir(folder))
    numbers, number = list(processes), 0
    while True:
        names = [f"__{process}_{number}.distcp" for process in numbers]
        if taken.isdisjoint(names):
            return names
        number += 1


def old_files(folder: Path) -> set[str]:
    """Return the files of the checkpoint that is replaced."""
    return {name for name in named(folder) or () if _OURS.fullmatch(name)}


def named(folder: Path) -> set[str] | None:
    """Return the files that the `.metadata` of a folder names; None if there is none that can be read."""
    try:
        return set(checkpoint(open_path(folder / METADATA)).files)
    except (SteelyardError, OSError):
        return None
