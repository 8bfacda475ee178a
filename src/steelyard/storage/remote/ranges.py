"""The ranges of a remote file: which are fetched, how many at once, and which are kept.

A read at the beginning of the file fetches 128 KiB, one at its end the last 128 KiB, where archives have their directory, and
one elsewhere 64 KiB. A read that goes on where another ended fetches twice as much as that did, up to 8 MiB, in several
requests at once, and the next as much is fetched while this is worked on. A read of 4 MiB or more is fetched as it is, and
not kept.
"""

from __future__ import annotations

import warnings
from _thread import allocate_lock
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from steelyard import sizes
from steelyard.errors import FormatError, RemoteWarning
from steelyard.storage.remote.addresses import WHOLE

if TYPE_CHECKING:
    from concurrent.futures import Future


class File(Protocol):
    """A file on another machine."""

    name: str
    size: int

    def submit(self, start: int, stop: int) -> Future[bytes]:
        """Begin to fetch the bytes from `start` to `stop`, which are within the file."""


class _Span:
    """Bytes from `start` to `stop`, which may still be on their way."""

    __slots__ = ("coming", "start", "stop")

    def __init__(self, start: int, stop: int, coming: Future[bytes]) -> None:
        self.start = start
        self.stop = stop
        self.coming = coming


_listing = [0]
"""How many files are being listed: only then is a file said to take many requests."""


@contextmanager
def listing() -> Iterator[None]:
    """Warn, while the block runs, of a file that takes many requests."""
    _listing[0] += 1
    try:
        yield
    finally:
        _listing[0] -= 1


class Ranges:
    """Fills buffers with the bytes of a remote file; several threads may do so at once."""

    __slots__ = ("_asked", "_file", "_held", "_lock", "_spans", "_starts", "_streams")

    def __init__(self, file: File, head: bytes = b"") -> None:
        self._file = file
        self._lock = allocate_lock()
        self._asked = 0  # requests of a listing that did not go on where another ended
        self._starts: list[int] = []  # of the spans, which do not overlap, in ascending order
        self._spans: dict[int, _Span] = {}  # by their starts, in the order in which they were fetched
        self._held = 0
        self._streams: dict[int, int] = {}  # where a fetch ended, and how much it fetched
        if head:
            self._add(0, len(head), _done(head))
            self._streams[len(head)] = len(head)

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from `offset`; raises `FormatError` if they cannot be fetched."""
        end = offset + len(buffer)
        if end > self._file.size:
            raise FormatError(self._file.name, f"ends at byte {self._file.size:,}, and {end:,} are needed", offset)
        at = offset
        while at < end:
            with self._lock:
                span, stop = self._next(at, end)
            place = buffer[at - offset : stop - offset]
            if span is None:
                self._transfer(at, place)
            else:
                place[:] = self._content(span)[at - span.start : stop - span.start]
            at = stop
        with self._lock:
            self._read_on(end)

    def ahead(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Begin to fetch many ranges, each given by its offset and length, that will be read soon; neighbours in one request."""
        joined: list[list[int]] = []
        for offset, length in sorted(wanted):
            stop = min(offset + length, self._file.size)
            if joined and offset - joined[-1][1] <= sizes.READ_GAP_BYTES:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([offset, stop])
        with self._lock:
            for start, stop in joined:
                at = start
                while at < stop and self._held < sizes.REMOTE_KEPT_BYTES:
                    known, free = self._known(at)
                    upto = known.stop if known else min(stop, free)
                    if known is None:
                        self._add(at, upto, self._file.submit(at, upto))
                    at = upto

    def _next(self, at: int, end: int) -> tuple[_Span | None, int]:
        """Return the span with the byte at `at`, None for many bytes that are fetched at once, and where to go on."""
        span, free = self._known(at)
        if span is None:
            missing = min(end, free) - at
            if missing >= sizes.REMOTE_BULK_BYTES:
                return None, at + missing
            span = self._fetch(at, missing, end, free)
        return span, min(end, span.stop)

    def _known(self, at: int) -> tuple[_Span | None, int]:
        """Return the span with this byte, if there is one, and where the next one begins."""
        place = bisect_right(self._starts, at)
        before = self._spans[self._starts[place - 1]] if place else None
        if before is not None and before.stop > at:
            return before, before.stop
        return None, self._starts[place] if place < len(self._starts) else self._file.size

    def _fetch(self, at: int, missing: int, end: int, free: int) -> _Span:
        """Begin to fetch the bytes from `at` and, as reads go on, those that follow; returns the span with the first."""
        if end == self._file.size and not self._streams_near(at):
            place = bisect_right(self._starts, at)
            before = self._spans[self._starts[place - 1]].stop if place else 0
            spans = self._submit(max(before, min(at, end - sizes.REMOTE_TAIL_BYTES)), free)
        else:
            is_jump = not self._streams_near(at)
            window = max(self._window(at), missing)
            stop = min(at + window, self._absorbed(at, at + window) if window > sizes.REMOTE_HEAD_BYTES else free)
            spans = self._submit(at, stop)
            self._streams[stop] = window
            if is_jump:
                self._count(stop)
            while len(self._streams) > sizes.REMOTE_STREAMS:
                del self._streams[next(iter(self._streams))]
        return next(span for span in spans if span.start <= at < span.stop)

    def _count(self, reached: int) -> None:
        """Count a jump of a listing to another place, and say how many there will be once they are many."""
        self._asked += _listing[0] > 0
        if _listing[0] and self._asked == sizes.REMOTE_MANY:
            most = self._file.size // sizes.REMOTE_HEAD_BYTES
            total = min(most, self._asked * self._file.size // reached)
            how = f"about {total:,}" if total > 2 * self._asked else f"up to {most:,}"
            if most > 2 * self._asked:
                what = f"has no index, so that listing its {self._file.size:,} bytes takes {how} requests"
                remedy = f"put {WHOLE} before the URL to fetch it whole first"
                warnings.warn(f"{self._file.name}: {what}; {remedy}", RemoteWarning, stacklevel=2)

    def _absorbed(self, at: int, stop: int) -> int:
        """Drop the small spans that a large range is about to cover, and return where the next other one begins."""
        place = bisect_right(self._starts, at)
        while place < len(self._starts) and self._starts[place] < stop:
            span = self._spans[self._starts[place]]
            if span.stop - span.start > sizes.READ_GAP_BYTES or span.stop > stop:
                return span.start
            self._drop(span)
        return self._file.size

    def _streams_near(self, at: int) -> list[int]:
        """Return where the fetches ended that a read at `at` goes on after, perhaps with a small gap."""
        return [stop for stop in self._streams if 0 <= at - stop <= sizes.REMOTE_HEAD_BYTES]

    def _window(self, at: int) -> int:
        """Return how much is fetched at `at`: twice as much as before where a read goes on, and little elsewhere."""
        near = self._streams_near(at)
        before = max((self._streams.pop(stop) for stop in near), default=0)
        least = sizes.REMOTE_HEAD_BYTES if at else sizes.REMOTE_FIRST_BYTES
        return min(max(2 * before, least), sizes.REMOTE_WINDOW_BYTES)

    def _read_on(self, end: int) -> None:
        """Begin to fetch what follows a large range when half of that is read."""
        for stop, window in [*self._streams.items()]:
            if window >= sizes.REMOTE_BULK_BYTES // 4 and stop - window // 2 <= end <= stop < self._file.size:
                known, free = self._known(stop)
                if known is None:
                    del self._streams[stop]
                    upto = min(stop + min(2 * window, sizes.REMOTE_WINDOW_BYTES), free)
                    self._submit(stop, upto)
                    self._streams[upto] = upto - stop

    def _submit(self, start: int, stop: int) -> list[_Span]:
        """Begin to fetch a range, a large one in several pieces at once."""
        pieces = max(1, min(sizes.REMOTE_PIECES, (stop - start) // sizes.REMOTE_PIECE_BYTES))
        bounds = [start + (stop - start) * nth // pieces for nth in range(pieces + 1)]
        return [self._add(begin, end, self._file.submit(begin, end)) for begin, end in pairwise(bounds)]

    def _add(self, start: int, stop: int, coming: Future[bytes]) -> _Span:
        """Keep a span, and drop the oldest ones, but not the first bytes of the file, which every reader asks for again."""
        self._starts.insert(bisect_right(self._starts, start), start)
        self._spans[start] = span = _Span(start, stop, coming)
        self._held += stop - start
        if self._held > sizes.REMOTE_KEPT_BYTES:
            for old in [each for each in self._spans if each]:
                if self._held <= sizes.REMOTE_KEPT_BYTES or old == start:
                    break
                self._drop(self._spans[old])
        return span

    def _drop(self, span: _Span) -> None:
        if self._spans.get(span.start) is span:
            del self._spans[span.start]
            self._starts.remove(span.start)
            self._held -= span.stop - span.start

    def _content(self, span: _Span) -> bytes:
        try:
            return span.coming.result()
        except BaseException:
            with self._lock:
                self._drop(span)  # another read tries again
            raise

    def _transfer(self, at: int, buffer: memoryview) -> None:
        """Fill a large buffer, with a few pieces of it on their way at a time."""
        waiting: deque[tuple[int, int, Future[bytes]]] = deque()
        step = sizes.REMOTE_BULK_BYTES // 4
        for start in range(0, len(buffer), step):
            stop = min(start + step, len(buffer))
            waiting.append((start, stop, self._file.submit(at + start, at + stop)))
            if len(waiting) == sizes.REMOTE_IN_FLIGHT:
                _take(waiting, buffer)
        while waiting:
            _take(waiting, buffer)


def _take(waiting: deque[tuple[int, int, Future[bytes]]], buffer: memoryview) -> None:
    start, stop, coming = waiting.popleft()
    buffer[start:stop] = coming.result()


def _done(content: bytes) -> Future[bytes]:
    from concurrent.futures import Future

    done: Future[bytes] = Future()
    done.set_result(content)
    return done
