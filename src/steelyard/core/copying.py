"""Weights that are written as a file has them: the system copies their bytes, without a way through this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from steelyard import sizes
from steelyard.core.readers import chunks_of
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Weight


def put(weights: Iterable[Weight], file: BinaryIO) -> None:
    """Write the bytes of weights in order, at the end of an open file; long runs of another file are copied by the system."""
    left: list[Weight] = []
    can_copy = True
    for read, run in _runs(weights):
        length = sum(weight.nbytes for weight in run) if can_copy and read else 0
        if read is not None and length >= sizes.READ_AHEAD_BYTES:
            file.writelines(chunks_of(left))
            left = []
            can_copy = _is_copied(read, length, file)
            if can_copy:
                continue
        left += run
    file.writelines(chunks_of(left))


def _runs(weights: Iterable[Weight]) -> Iterator[tuple[Stored | None, list[Weight]]]:
    """Yield runs of weights whose bytes follow each other in a file as they are written, with the reader of the first.

    It is None for a run of weights that are in no file so.
    """
    first: Stored | None = None
    run: list[Weight] = []
    end = 0
    for weight in weights:
        read = _copied_from(weight)
        goes_on = read.source is first.source and read.offset == end if read and first else read is first
        if run and not goes_on:
            yield first, run
            run = []
        if not run:
            first = read
        run.append(weight)
        end = read.offset + weight.nbytes if read else 0
    if run:
        yield first, run


def _copied_from(weight: Weight) -> Stored | None:
    """Return the reader of a weight if its bytes can be copied from a file."""
    read = weight.read
    return read if isinstance(read, Stored) and read.byteorder == "<" and read.source.copy is not None else None


def _is_copied(read: Stored, length: int, file: BinaryIO) -> bool:
    """Let the system copy bytes to the end of an open file; False where it cannot, and they are to be written there."""
    copy = read.source.copy
    if copy is None or read.offset + length > read.source.size:
        return False
    file.flush()
    place = file.tell()
    is_copied = copy(read.offset, length, file.fileno(), place)
    file.seek(place + length if is_copied else place)
    return is_copied
