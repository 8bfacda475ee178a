"""How far a command is, on a terminal, where it takes more than a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from steelyard.core.dtypes import itemsize
from steelyard.core.source import Source, Stored
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.views.terminal import in_units

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader

    Watch = Callable[[Weight], Weight]

PATIENCE = 1.0
"""Seconds that pass before anything is shown."""
PAUSE = 0.1
"""Seconds between two looks."""
WIDTH = 30


class _Bar:
    """One line on stderr that says how many of `total` bytes were read."""

    __slots__ = ("begun", "done", "due", "shown", "total", "what")

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.begun = monotonic()
        self.due = self.begun + PATIENCE
        self.shown = False

    def add(self, count: int) -> None:
        self.done += count
        now = monotonic()
        if now >= self.due:
            self.due, self.shown = now + PAUSE, True
            print(f"\r{self._text(now)}\x1b[K", end="", file=sys.stderr, flush=True)

    def _text(self, now: float) -> str:
        part = min(self.done / max(self.total, 1), 1.0)
        filled = "#" * round(part * WIDTH)
        speed = in_units(int(self.done / (now - self.begun)))
        return f"{self.what} [{filled:<{WIDTH}}] {part:4.0%} of {in_units(self.total)}, {speed}/s"

    def clear(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def watching(what: str, total: int, *, shown: bool = True) -> Iterator[Watch]:
    """Give what makes the reading of a weight show on a bar of `total` bytes; it does nothing where stderr is no terminal."""
    if not (shown and _is_terminal()):
        yield lambda weight: weight
        return
    bar = _Bar(what, total)
    try:
        yield lambda weight: weight.replace(read=counted(weight, bar.add))
    finally:
        bar.clear()


@contextmanager
def following(weights: Weights, what: str) -> Iterator[Weights]:
    """Give the same weights, whose reading is shown as a bar where stderr is a terminal; elsewhere they are untouched."""
    if not _is_terminal():
        yield weights
        return
    with watching(what, weights.nbytes) as watch:
        yield Weights(map(watch, weights.values()), meta=weights.meta, graph=weights._graph)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # a stand-in for a stream, or a closed one
        return False


def counted(weight: Weight, add: Callable[[int], None]) -> Reader:
    """Return a reader of the same numbers that tells `add` how many bytes were read; what that raises ends the reading."""
    read, size = weight.read, itemsize(weight.dtype)
    if isinstance(read, Stored):  # remains one, so that its bytes can still be passed on as they are
        return Stored(_counting(read.source, add), read.offset, read.dtype, read.byteorder)

    def counting(start: int, stop: int) -> Array:
        block = read(start, stop)
        add((stop - start) * size)
        return block

    return counting


def _counting(source: Source, add: Callable[[int], None]) -> Source:
    def fill(offset: int, buffer: memoryview) -> None:
        source.fill(offset, buffer)
        add(len(buffer))

    return Source(source.name, source.size, fill, source.beside, source.path)
