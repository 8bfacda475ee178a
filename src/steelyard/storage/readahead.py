"""Read-ahead: a thread reads the next runs of a file, and computes their checksums, while one is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue import SimpleQueue

    from steelyard.storage.source import Stored

    Run = tuple[Stored, int, int]
    """A reader, its first element, and a number of bytes."""

BUFFERS = 3  # one is written, one is read, and a third lets neither wait for the other


def read_ahead(runs: Iterable[Run], limit: int) -> Iterator[memoryview]:
    """Yield the bytes of each run, of at most `limit` bytes, valid until the next; raises the errors of reading."""
    from queue import SimpleQueue
    from threading import Thread

    jobs: SimpleQueue[Any] = SimpleQueue()
    done: SimpleQueue[BaseException | None] = SimpleQueue()
    reader = Thread(target=_work, args=(jobs, done), daemon=True)
    reader.start()
    try:
        yield from _in_turn(runs, jobs, done, [memoryview(bytearray(limit)) for _ in range(BUFFERS)])
    finally:
        jobs.put(None)
        reader.join()


def _in_turn(
    runs: Iterable[Run], jobs: SimpleQueue[Any], done: SimpleQueue[BaseException | None], buffers: list[memoryview]
) -> Iterator[memoryview]:
    """Submit one buffer after another, and yield the oldest once all are submitted."""
    waiting: deque[memoryview] = deque()
    for nth, (read, start, length) in enumerate(runs):
        waiting.append(buffers[nth % BUFFERS][:length])
        jobs.put((read, start, waiting[-1]))
        if len(waiting) == BUFFERS:
            _raise(done.get())
            yield waiting.popleft()
    for chunk in waiting:
        _raise(done.get())
        yield chunk


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


def _work(jobs: SimpleQueue[Any], done: SimpleQueue[BaseException | None]) -> None:
    """Fill buffers until a None arrives; an error is passed on in place of the run."""
    while (job := jobs.get()) is not None:
        read, start, buffer = job
        try:
            read.fill(start, buffer)
            done.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the run is awaited
            done.put(error)
