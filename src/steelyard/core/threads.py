"""The one thread pool: jobs that are safe to share run in threads, and their results come in the order of the jobs."""

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
    """Yield the result of `work` for each job, in the order of the jobs; threads do those that may be `shared`.

    The others are done when their turn comes. No thread starts before the first job that may be shared. Raises what a job
    raises, in its turn.

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
    """Do all jobs by threads, and return when all are done. Raises what a job raises."""
    deque(in_turn(((job,) for job in jobs), work, lambda _: True), maxlen=0)


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # it imports logging, which a listing need not wait for

    return ThreadPoolExecutor(sizes.THREADS)
