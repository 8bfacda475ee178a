"""joblib, with whatever backend is active: processes of this machine by default, or those that `parallel_config` names."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.engines.tasks import AHEAD, Failure, tried

if TYPE_CHECKING:
    from steelyard.engines.tasks import Found, Function


class Joblib:
    """Runs tasks by `joblib.Parallel`, on `workers`, or on as many as `parallel_config` says, else two."""

    __slots__ = ("_parallel", "workers")

    def __init__(self, workers: int | None = None) -> None:
        from joblib import Parallel, effective_n_jobs

        self._parallel = Parallel
        configured = Parallel().n_jobs  # 1 where nothing says how many
        self.workers: int = workers or (sizes.THREADS if configured == 1 else effective_n_jobs(configured))

    def map_unordered(self, function: Function, tasks: Iterable[Any], window: int | None = None) -> Iterator[Found]:
        """Yield the place of each task and its result, or a `Failure`, as they are done.

        Where a process dies, joblib ends all work: each task that is not done is a `Failure` then.
        """
        from joblib import delayed

        seen: list[int] = []
        done: set[int] = set()
        ahead = window or AHEAD * self.workers
        noted = _noted(enumerate(tasks), seen)
        jobs = (delayed(_placed)(function, each) for each in noted)
        try:
            yield from self._noting(self._results(jobs, ahead), done)
        except Exception as error:  # noqa: BLE001 - what a backend raises where a process died is its own
            died = Failure(type(error).__name__, "joblib lost a process, and with it this task; Dask and Ray go on without it")
            deque(noted, maxlen=0)
            yield from ((place, died) for place in seen if place not in done)

    def _results(self, jobs: Iterable[Any], ahead: int) -> Iterator[Found]:
        batch: Any = partial(self._parallel, n_jobs=self.workers, pre_dispatch=ahead, batch_size=1)
        try:
            parallel = batch(return_as="generator_unordered")
        except ValueError:  # some backends, as Ray's, return everything at the end
            parallel = batch()
        yield from parallel(jobs)

    @staticmethod
    def _noting(results: Iterator[Found], done: set[int]) -> Iterator[Found]:
        for place, found in results:
            done.add(place)
            yield place, found

    def close(self) -> None:
        """Processes are joblib's own, which keeps them for the next call."""


def _placed(function: Function, each: tuple[int, Any]) -> Found:
    return each[0], tried(function, each[1])


def _noted(tasks: Iterator[Any], seen: list[int]) -> Iterator[Any]:
    for each in tasks:
        seen.append(each[0])
        yield each
