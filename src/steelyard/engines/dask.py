"""Dask: processes of this machine, or of a cluster to which the user's Client is connected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from time import sleep
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.engines.tasks import AHEAD, Failure, tried
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.engines.tasks import Found, Function

PAUSE = 0.02
"""Seconds between two looks for results."""
PATIENCE = 2.0
"""Seconds without a result before a cluster that was started here is looked after."""
SETTINGS = {
    # the deaths of processes after which a task that they had is given up
    "distributed.scheduler.allowed-failures": 1,
    # a process that died is given this time to start again before Dask drops it for good: a busy machine needs it
    "distributed.deploy.lost-worker-timeout": "5 minutes",
}
"""The settings of a cluster that is started here."""


class Dask:
    """Runs tasks on the workers of a `client`, which may come and go; without one, of a cluster.

    Where no scheduler is given, and no Client is current, processes are started on this machine, and ended by `close`.
    """

    __slots__ = ("_client", "_cluster", "_count", "_mine", "_settings")

    def __init__(self, client: Any = None, workers: int | None = None, scheduler: str | None = None) -> None:
        self._cluster: Any = None
        self._settings: Any = None
        self._count = workers or sizes.THREADS
        self._client = client
        if client is None:
            self._client = _current() if scheduler is None and workers is None else None
        elif workers is not None:
            raise ShapeError("a Client has its workers already; leave out the number of workers")
        self._mine = self._client is None
        if self._mine:
            self._client = self._connected(scheduler)

    def _connected(self, scheduler: str | None) -> Any:
        from logging import CRITICAL

        from dask import config
        from distributed import Client, LocalCluster

        if scheduler is not None:
            try:
                return Client(scheduler, set_as_default=False)
            except (OSError, ValueError) as error:
                raise ShapeError(f"no scheduler of Dask answers at {printable(scheduler)}: {printable(error)}") from None
        # one thread a process: a task needs its memory once; a nanny starts a process again that died
        how = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": CRITICAL}
        self._settings = config.set(SETTINGS)  # it is in effect from now on, until `close`
        self._cluster = LocalCluster(n_workers=self._count, **how)
        return Client(self._cluster, set_as_default=False)

    @property
    def workers(self) -> int:
        """The number of threads of all workers that are there now."""
        return sum(self._client.nthreads().values())

    def map_unordered(self, function: Function, tasks: Iterable[Any], window: int | None = None) -> Iterator[Found]:
        """Yield the place of each task and its result, or a `Failure`, as they are done.

        Dask blames each task that a worker had when it died, and gives up those that it blames too often. So these are tried
        once more, one at a time, and only the task that ends its worker again is a `Failure`.
        """
        blamed: list[tuple[int, Any, Failure]] = []
        for place, task, found in self._each(function, enumerate(tasks), window):
            if _is_death(found):
                blamed.append((place, task, found))
            else:
                yield place, found
        retried = ((place, task) for place, task, _ in blamed) if len(blamed) > 1 else iter(())
        again = {place: found for place, _, found in self._each(function, retried, 1)}
        yield from ((place, again.get(place, found)) for place, _, found in blamed)

    def _each(self, function: Function, tasks: Iterator[tuple[int, Any]], window: int | None) -> Iterator[tuple[int, Any, Any]]:
        """Yield the place, the task and the result of each."""
        from distributed import as_completed

        running: dict[Any, tuple[int, Any]] = {}
        done = as_completed(loop=self._client.loop)
        work = partial(tried, function)
        try:
            while True:
                for place, task in islice(tasks, self._room(window) - len(running)):
                    future = self._client.submit(work, task, pure=False)
                    running[future.key] = (place, task)
                    done.add(future)
                if not running:
                    return
                for future in self._next(done):
                    found = _result(future)
                    future.release()
                    yield *running.pop(future.key), found
        finally:
            done.clear()  # what still runs is cancelled, since nothing refers to it

    def _next(self, done: Any) -> Any:
        """Wait for results, and return them."""
        waited = 0.0
        while not done.has_ready():
            sleep(PAUSE)
            waited += PAUSE
            if waited > PATIENCE:
                waited = 0.0
                self._revive()
        return done.next_batch(block=False)

    def _revive(self) -> None:
        """Start the processes of this machine again whose nanny gave up: it does if one dies right at its start."""
        if self._cluster is not None:
            spec = self._cluster.worker_spec
            for name, nanny in list(self._cluster.workers.items()):
                if nanny.status.name in ("closed", "closing", "failed"):
                    spec.pop(name, None)
            self._cluster.scale(self._count)

    def _room(self, window: int | None) -> int:
        """Return how many tasks may be submitted; a cluster that grows begins without workers."""
        return window or AHEAD * max(self.workers, AHEAD)

    def close(self) -> None:
        """Close a client, and end a cluster, that were made here."""
        if self._mine:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
            self._settings.__exit__(None, None, None)


def _current() -> Any:
    """Return the current Client, if there is one."""
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _result(future: Any) -> Any:
    """Return the result of a task that is done; if it is lost with its process meanwhile, the task is done again."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - the task itself raises none, so it is Dask that gave it up
        if type(error).__name__ == "KilledWorker":
            return Failure("KilledWorker", "the task ended the process that ran it, each time that it was tried")
        return Failure(type(error).__name__, printable(error, 2000))


def _is_death(found: Any) -> bool:
    return isinstance(found, Failure) and found.kind == "KilledWorker"
