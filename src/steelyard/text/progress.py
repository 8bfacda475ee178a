"""A progress bar on the terminal for commands that take more than a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from steelyard.core.together import likeness, rows_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.storage.source import Source, Stored
from steelyard.text.terminal import cut, screen_of
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader

    Watch = Callable[[Weight], Weight]

PATIENCE = 1.0
"""Seconds before the bar appears."""
PAUSE = 0.1
"""Seconds between two updates."""
WIDTH = 30


class _Bar:
    """A line on stderr with the share of `total` bytes that was read, and the bytes that were read again."""

    __slots__ = ("again", "begun", "done", "due", "lock", "shown", "total", "what")

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = self.again = 0
        self.begun = monotonic()
        self.due = self.begun + PATIENCE
        self.shown = False
        self.lock = Lock()  # several threads may read

    def add(self, count: int, again: int) -> None:
        with self.lock:
            self.done, self.again = self.done + count, self.again + again
            now = monotonic()
            if now >= self.due:
                self.due, self.shown = now + PAUSE, True
                print(f"\r{self._text(now)}\x1b[K", end="", file=sys.stderr, flush=True)

    def _text(self, now: float) -> str:
        part = min(self.done / max(self.total, 1), 1.0)
        speed = in_units(int((self.done + self.again) / (now - self.begun)))
        of = f" and {in_units(self.again)} again" if part == 1.0 and self.again else f" of {in_units(self.total)}"
        rest = f"] {part:4.0%}{of}, {speed}/s"
        columns = (screen_of(sys.stderr).width or 80) - 1  # a character in the last column would wrap the line
        width = min(max(columns - len(self.what) - len(rest) - 2, 0), WIDTH)
        return cut(f"{self.what} [{'#' * round(part * width):<{width}}{rest}", columns)

    def clear(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def watching(what: str, total: int, passes: int = 1, *, shown: bool = True) -> Iterator[Watch]:
    """Yield a wrapper that shows the reading of a weight on a bar of `total` bytes; it does nothing if stderr is not a terminal.

    Bytes of a weight that are read in more than `passes` passes do not advance the bar.
    """
    if not (shown and is_terminal()):
        yield lambda weight: weight
        return
    bar = _Bar(what, total)
    try:
        yield _Watching(bar, passes).watched
    finally:
        bar.clear()


@contextmanager
def following(weights: Weights, what: str, passes: int = 1) -> Iterator[Weights]:
    """Yield the same weights, whose reading advances a bar if stderr is a terminal; otherwise they are untouched.

    The bar is full when everything was read `passes` times.
    """
    with following_all([weights], what, passes) as (watched,):
        yield watched


@contextmanager
def following_all(sources: Sequence[Weights], what: str, passes: int = 1) -> Iterator[list[Weights]]:
    """Yield the same weights of several sources, whose reading advances one bar."""
    if not is_terminal():
        yield list(sources)
        return
    with watching(what, passes * sum(weights.nbytes for weights in sources), passes) as watch:
        yield [each.with_weights(map(watch, each.values())) for each in sources]


def is_terminal() -> bool:
    """Whether stderr is a terminal; false where it is closed."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # a stand-in for a stream, or a closed one
        return False


class _Watching:
    """Wraps weights so that what is read of them advances a bar; those of one file share a source, to be read together."""

    __slots__ = ("bar", "passes", "sources")

    def __init__(self, bar: _Bar, passes: int) -> None:
        self.bar = bar
        self.passes = passes
        self.sources: dict[int, tuple[_Counter, Source, Source]] = {}

    def watched(self, weight: Weight) -> Weight:
        """Return the same weight, whose reading advances the bar."""
        read, limit = weight.read, self.passes * weight.nbytes
        if not isinstance(read, Stored):
            return weight.replace(read=counted(weight, _Counter(self.bar, limit).add))
        held = self.sources.get(id(read.source))
        if held is None:
            counter = _Counter(self.bar)
            # the source is kept, so that no other one has its id
            held = self.sources[id(read.source)] = counter, _counting(read.source, counter.add), read.source
        held[0].left += limit
        return weight.replace(read=Stored(held[1], read.offset, read.dtype, read.byteorder))


class _Counter:
    """Counts the bytes read of a weight or of a file; those beyond what is expected do not advance the bar."""

    __slots__ = ("bar", "left", "lock")

    def __init__(self, bar: _Bar, left: int = 0) -> None:
        self.bar = bar
        self.left = left
        self.lock = Lock()

    def add(self, count: int) -> None:
        """Count bytes that were read."""
        with self.lock:
            new = min(count, self.left)
            self.left -= new
        self.bar.add(new, count - new)


def counted(weight: Weight, add: Callable[[int], None]) -> Reader:
    """Return a reader of the same numbers that passes the count of bytes read to `add`; if `add` raises, reading ends."""
    read = weight.read
    if isinstance(read, Stored):  # stays `Stored`, so that its bytes can still be copied unchanged
        return Stored(_counting(read.source, add), read.offset, read.dtype, read.byteorder)
    return _Counted(read, add, itemsize(weight.dtype))


class _Counted:
    """A reader of numbers that are made when they are read, each of `size` bytes."""

    __slots__ = ("add", "read", "size")

    def __init__(self, read: Reader, add: Callable[[int], None], size: int) -> None:
        self.read = read
        self.add = add
        self.size = size

    def __call__(self, start: int, stop: int) -> Array:
        block = self.read(start, stop)
        self.add((stop - start) * self.size)
        return block

    def likeness(self) -> Hashable:
        """Return what readers share that are read together; see `core.together`."""
        return likeness(self.read)

    def rows(self, readers: Sequence[_Counted], width: int) -> Array | None:
        """Return the numbers of several readers as rows."""
        rows = rows_of([reader.read for reader in readers], width)
        if rows is not None:
            for reader in readers:
                reader.add(width * self.size)
        return rows


def _counting(source: Source, add: Callable[[int], None]) -> Source:
    def fill(offset: int, buffer: memoryview) -> None:
        source.fill(offset, buffer)
        add(len(buffer))

    def copy(offset: int, length: int, target: int, place: int) -> bool:
        is_copied = own is not None and own(offset, length, target, place)
        add(length if is_copied else 0)
        return is_copied

    own = source.copy
    return Source(source.name, source.size, fill, source.beside, source.path, remote=source.remote, copy=own and copy)
