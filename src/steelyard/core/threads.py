"""The only thread pool: thread-safe jobs run in threads, and results are in the order of the jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from steelyard import sizes

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Job = TypeVar("Job")
Found = TypeVar("Found")


def in_turn(jobs: Iterable[tuple[object, ...]], work: Callable[..., Found], shared: Callable[..., bool]) -> Iterator[Found]:
    """Yield the result of `work` for each job, in order; jobs for which `shared` is true run in threads.

    The others run in the calling thread, in their turn. No thread starts before the first shared job. An exception of a job
    is raised in its turn.

    >>> list(in_turn([(1,), (2,), (3,)], lambda number: number * number, lambda number: number > 1))
    [1, 4, 9]
    """
    pool: ThreadPoolExecutor | None = None
    waiting: deque[Callable[[], Found]] = deque()
    try:
        for job in jobs:
            if shared(*job):
                pool = pool or _pool()
                waiting.append(pool.submit(work, *job).result)
            else:
                waiting.append(partial(work, *job))
            if len(waiting) >= sizes.WINDOW:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def at_once(jobs: Iterable[Job], work: Callable[[Job], object]) -> None:
    """Run all jobs in threads, and return when all are done; an exception of a job is raised."""
    deque(in_turn(((job,) for job in jobs), work, lambda _: True), maxlen=0)


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # it imports logging, which would slow down a listing

    return ThreadPoolExecutor(sizes.THREADS)
