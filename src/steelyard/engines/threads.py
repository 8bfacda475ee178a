"""Threads of this process: files are read, and most of NumPy runs, without Python's lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.engines.tasks import AHEAD, tried

if TYPE_CHECKING:
    from concurrent.futures import Future

    from steelyard.engines.tasks import Found, Function


class Threads:
    """Runs tasks in `workers` threads. A task that ends the process ends everything: other engines survive that."""

    __slots__ = ("workers",)

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or sizes.THREADS

    def map_unordered(self, function: Function, tasks: Iterable[Any], window: int | None = None) -> Iterator[Found]:
        """Yield the place of each task and its result, or a `Failure`, as they are done."""
        from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

        pool = ThreadPoolExecutor(self.workers)
        left = enumerate(tasks)
        running: dict[Future[Any], int] = {}
        try:
            while True:
                for place, task in islice(left, (window or AHEAD * self.workers) - len(running)):
                    running[pool.submit(tried, function, task)] = place
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Nothing is left to end."""
