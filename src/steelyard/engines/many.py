"""One measurement of many files: a small file is one task, or shares one, and the jobs of a large file are tasks of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard.engines.opening import Opening, listed
from steelyard.engines.shipping import shipped
from steelyard.engines.tasks import Failure, failure, tried
from steelyard.errors import SteelyardError
from steelyard.numerics.fast import as_asked, kernels_name

if TYPE_CHECKING:
    from steelyard.engines import Engine
    from steelyard.engines.journal import Journal

    Measure = Callable[[Opening], Any]
    """A function of a module, or a `partial` of one: the whole result for a file, computed where it is called."""
    Measured = tuple[Opening, Any]

LARGE_BYTES = 1 << 28
"""A file of at least this size is read by all workers."""
TASK_BYTES = 1 << 26
"""Small files share a task of this size."""
TASK_FILES = 256
"""The files of a task, at most."""


def measured(
    measure: Measure, openings: Iterable[Opening], engine: Engine, journal: Journal | None = None
) -> Generator[Measured]:
    """Yield each file with what `measure` says of it, or the `Failure`, as they are done: small files first.

    Where a task of several files ends its process, each of them is tried alone, so only the one at fault fails.
    """
    measure = partial(as_asked, kernels_name(), measure)
    large: list[Opening] = []
    small: list[Opening] = []
    for opening in openings:
        known = journal.known(measure, opening) if journal else None
        if known is not None:
            yield opening, known
        else:
            (large if size_of(opening) >= LARGE_BYTES else small).append(opening)
    for opening, found in _small(measure, small, engine):
        yield opening, _kept(journal, measure, opening, found)
    for opening in large:
        yield opening, _kept(journal, measure, opening, _one(measure, opening, engine, journal))


def _kept(journal: Journal | None, measure: Measure, opening: Opening, found: Any) -> Any:
    if journal is not None and not isinstance(found, Failure):
        journal.keep(measure, opening, found=found)
    return found


def _small(measure: Measure, openings: Sequence[Opening], engine: Engine) -> Iterator[Measured]:
    groups = list(_groups(openings))
    alone: list[Opening] = []
    for place, results in engine.map_unordered(partial(each_of, measure), groups):
        if not isinstance(results, Failure):
            yield from zip(groups[place], results, strict=True)
        elif len(groups[place]) == 1:
            yield groups[place][0], results
        else:
            alone += groups[place]
    for place, found in engine.map_unordered(measure, alone) if alone else ():
        yield alone[place], found


def _one(measure: Measure, opening: Opening, engine: Engine, journal: Journal | None) -> Any:
    """Measure a large file here, with its jobs done by the engine."""
    try:
        weights = listed(opening)
        with shipped(engine, [(weights, opening)], journal):
            return measure(opening)
    except (SteelyardError, OSError, MemoryError) as error:
        return failure(error)


def each_of(measure: Measure, openings: Sequence[Opening]) -> list[Any]:
    """Return what `measure` says of each of some files, or why it fails."""
    return [tried(measure, opening) for opening in openings]


def _groups(openings: Iterable[Opening]) -> Iterator[list[Opening]]:
    group, held = [], 0
    for opening in openings:
        group.append(opening)
        held += size_of(opening)
        if held >= TASK_BYTES or len(group) >= TASK_FILES:
            yield group
            group, held = [], 0
    if group:
        yield group


def size_of(opening: Opening) -> int:
    """Return the bytes of a file, as its stamp says; a URL without one may be large."""
    size = str(opening.stamp[0]) if opening.stamp else ""
    return int(size) if size.isdecimal() else LARGE_BYTES if "://" in opening.path else 0
