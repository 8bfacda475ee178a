"""Calls of a measurement with an engine: of one file, of all that match a pattern, or of a live model in threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.threads import with_threads
from steelyard.engines import engine_of
from steelyard.engines.by_file import ByFile
from steelyard.engines.many import measured, size_of
from steelyard.engines.opening import Opening, listed, opened
from steelyard.engines.shipping import shipped
from steelyard.engines.tasks import Failure
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.paths import expanded, is_pattern
from steelyard.storage.opening import public

if TYPE_CHECKING:
    from steelyard.engines import Engine
    from steelyard.engines.journal import Journal
    from steelyard.engines.many import Measure


class Asked(NamedTuple):
    """What the caller asked for: the engine, the number of workers, the address of a cluster, and the file of a journal."""

    engine: object = None
    workers: int | None = None
    resume: str | os.PathLike[str] | None = None
    scheduler: str | None = None

    def require_versions(self, openings: Iterable[Opening]) -> None:
        """Raise `ShapeError` for a journal of a file of which no version is known."""
        for opening in openings if self.resume is not None else ():
            if "://" in opening.path and not opening.stamp:
                what = "its server says nothing of its version, so a journal could not tell whether it has changed"
                raise ShapeError(f"{printable(public(opening.path))}: {what}; leave out --resume")

    @contextmanager
    def started(self) -> Iterator[tuple[Engine, Journal | None]]:
        """Yield the engine, and the journal if there is one."""
        with ExitStack() as stack:
            journal = None
            if self.resume is not None:
                from steelyard.engines.journal import Journal

                journal = stack.enter_context(Journal(os.fspath(self.resume)))
            engine = stack.enter_context(engine_of(self.engine, self.workers, self.scheduler))
            try:
                yield engine, journal
            except Exception as error:
                if journal is None or not journal.used or isinstance(error, (SteelyardError, OSError, MemoryError)):
                    raise
                raise journal.refusal(error) from error  # of numbers that were right, none of these errors come


def spread(measure: Measure, here: Callable[[], Any], source: object, asked: Asked, **meant: Any) -> Any:
    """Return what `measure` says of a path, or a `ByFile` for a pattern or several paths.

    `meant` are the fields of the `Opening`. A source in this process's memory is measured by `here`, in threads of it.
    """
    paths = paths_of(source)
    if paths is None:
        return _of_live(here, asked)
    alone = isinstance(source, (str, os.PathLike)) and not is_pattern(paths[0])
    files = paths if alone else list(dict.fromkeys(expanded(paths)))
    openings = [Opening(file, **meant).stamped() for file in files]
    asked.require_versions(openings)
    with asked.started() as (engine, journal):
        if alone:
            return _of_one(measure, openings[0], engine, journal)
        found = {opening.path: each for opening, each in measured(measure, openings, engine, journal)}
    return ByFile({file: found[file] for file in files})


def _of_one(measure: Measure, opening: Opening, engine: Engine, journal: Journal | None) -> Any:
    with shipped(engine, [(listed(opening), opening)], journal):
        return measure(opening)


def _of_live(here: Callable[[], Any], asked: Asked) -> Any:
    if asked.engine not in (None, "threads") or asked.resume is not None or asked.scheduler is not None:
        what = "a journal and an engine of other processes are for files, but this source is in the memory of this process"
        raise ShapeError(f'{what}; pass its path, or engine="threads"')
    from steelyard import sizes

    with with_threads(asked.workers or sizes.THREADS):
        return here()


def paths_of(source: object) -> list[str] | None:
    """Return the paths that a source is, or consists of; None for any other."""
    held = list(source) if isinstance(source, (list, tuple)) else [source]
    paths = [os.fspath(each) for each in held if isinstance(each, (str, os.PathLike))]
    return paths if paths and len(paths) == len(held) else None


def together(here: Callable[..., Any], sources: Iterable[object], asked: Asked, *, effective: bool = False) -> Any:
    """Call `here` with the weights of several paths, as for a comparison, whose jobs an engine does."""
    held = list(sources)
    paths = paths_of(held)
    if paths is None:
        return _of_live(partial(here, *held, **({"effective": True} if effective else {})), asked)
    openings = [Opening(path, effective=effective).stamped() for path in paths]
    asked.require_versions(openings)
    nets = [opened(opening) for opening in openings]
    with asked.started() as (engine, journal), shipped(engine, zip(nets, openings, strict=True), journal):
        return here(*nets)


class Stream:
    """What is found of many files, taken in any order while the engine goes on; errors are raised where a file is asked for."""

    __slots__ = ("_found", "_left", "_progress", "_times")

    def __init__(self, found: Iterator[tuple[Opening, Any]], progress: Counter, times: Mapping[str, int]) -> None:
        self._left = found
        self._times = dict(times)  # a file that is named twice is asked for twice
        self._found: dict[str, Any] = {}
        self._progress = progress

    def of(self, file: str) -> Any:
        """Wait for a file, and return what was found; raises its error."""
        while file not in self._found:
            opening, found = next(self._left)
            self._found[opening.path] = found
            self._progress.add(opening)
        found = self._found[file]
        if isinstance(found, Failure):
            raise found.error()
        self._times[file] -= 1
        if not self._times[file]:
            del self._found[file]  # it is printed now, and need not be held
        return found


class Counter:
    """Counts files and bytes in a line on stderr, if that is a terminal or progress is `wanted`."""

    __slots__ = ("_begun", "_bytes", "_done", "_due", "_shown", "_terminal", "_total")

    def __init__(self, total: int, *, wanted: bool = False) -> None:
        from steelyard.text.progress import is_terminal

        self._terminal = is_terminal()
        self._shown = self._terminal or (wanted and sys.stderr is not None)  # `2>&-` leaves none
        self._total = total
        self._done = self._bytes = 0
        self._begun = self._due = monotonic()

    def add(self, opening: Opening) -> None:
        """Count a file that is done."""
        self._done += 1
        self._bytes += size_of(opening)
        now = monotonic()
        if not self._shown or (now < self._due and self._done < self._total):
            return
        self._due = now + (0.1 if self._terminal else 5.0)
        from steelyard.text.units import in_units

        speed = in_units(int(self._bytes / max(now - self._begun, 1e-3)))
        line = f"{self._done:,} of {self._total:,} files, {in_units(self._bytes)}, {speed}/s"
        sys.stderr.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Clear the line of a terminal."""
        if self._terminal and self._done:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def streamed(measure: Measure, openings: Iterable[Opening], asked: Asked, *, progress: bool = False) -> Iterator[Stream]:
    """Yield the stream of what an engine finds of some files."""
    times: dict[str, int] = {}
    stamped: dict[str, Opening] = {}
    for opening in openings:
        times[opening.path] = times.get(opening.path, 0) + 1
        stamped[opening.path] = opening
    asked.require_versions(stamped.values())
    counter = Counter(len(stamped), wanted=progress)
    with asked.started() as (engine, journal):
        found = measured(measure, stamped.values(), engine, journal)
        try:
            yield Stream(found, counter, times)
        finally:
            counter.clear()
            found.close()
