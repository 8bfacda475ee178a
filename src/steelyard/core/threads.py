"""The only thread pool: thread-safe jobs run in threads, and results are in the order of the jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from steelyard import sizes

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    Elsewhere = Callable[[Iterable[tuple[object, ...]], Callable[..., object]], Iterator[Any] | None]
    """Returns the results of jobs that other processes do, in order; None for work that they cannot do."""

Job = TypeVar("Job")
Found = TypeVar("Found")
_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)
_IN_ORDER: list[bool] = []
"""Not empty once all jobs of this process must run in the calling thread."""
_ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Run the jobs of this block in so many threads; with 1, as for a block that is one of many, in the calling thread."""
    before = _THREADS.set(count), _ELSEWHERE.set(None)
    try:
        yield
    finally:
        _THREADS.reset(before[0])
        _ELSEWHERE.reset(before[1])


@contextmanager
def elsewhere(do: Elsewhere) -> Iterator[None]:
    """Let `do` have the jobs of this block done by other processes."""
    before = _ELSEWHERE.set(do)
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def only_in_order() -> None:
    """Run all jobs of this process in the calling thread from now on.

    Reading what several processes have in parts is a call that all of them make in the same order, which threads do not keep.
    """
    _IN_ORDER[:] = [True]


def in_turn(jobs: Iterable[tuple[object, ...]], work: Callable[..., Found], shared: Callable[..., bool]) -> Iterator[Found]:
    """Return the result of `work` for each job, in order; jobs for which `shared` is true run in threads.

    Within `elsewhere`, other processes do those whose weights they can read. The others run in the calling thread, in their
    turn. No thread starts before the first shared job. An exception of a job is raised in its turn.

    >>> list(in_turn([(1,), (2,), (3,)], lambda number: number * number, lambda number: number > 1))
    [1, 4, 9]
    """
    do = _ELSEWHERE.get()
    done = do(jobs, work) if do else None
    return _in_threads(jobs, work, shared) if done is None else done


def _in_threads(jobs: Iterable[tuple[object, ...]], work: Callable[..., Found], shared: Callable[..., bool]) -> Iterator[Found]:
    count = 1 if _IN_ORDER else _THREADS.get() or sizes.THREADS
    ahead = sizes.WINDOW * max(count // sizes.THREADS, 1)
    pool: ThreadPoolExecutor | None = None
    waiting: deque[Callable[[], Found]] = deque()
    try:
        for job in jobs:
            if count > 1 and shared(*job):
                pool = pool or _pool(count)
                waiting.append(pool.submit(work, *job).result)
            else:
                waiting.append(partial(work, *job))
            if len(waiting) >= ahead:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def at_once(jobs: Iterable[Job], work: Callable[[Job], object]) -> None:
    """Run all jobs in threads, and return when all are done; an exception of a job is raised."""
    deque(in_turn(((job,) for job in jobs), work, lambda _: True), maxlen=0)


def _pool(count: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # it imports logging, which would slow down a listing

    return ThreadPoolExecutor(count)
