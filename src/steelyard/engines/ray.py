"""Ray: processes of this machine, or of the cluster to which Ray is connected."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.engines.tasks import AHEAD, Failure, tried
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.engines.tasks import Found, Function

TRIES = 3
"""Times that a task is tried again whose process died."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report its use to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as its next version does; it warns of the old way
    "RAY_agent_register_timeout_ms": "180000",  # on a busy machine its parts start slowly
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_TQDM_PATCH_PRINT": "0",  # it would put its own in the place of Python's print
}
"""The settings of a Ray that is started here, where the user has not set them."""


def _of_this_machine(workers: int | None) -> dict[str, Any]:
    """Return how a Ray is started here, whose processes find the modules that this one finds."""
    found = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    return {"num_cpus": workers or sizes.THREADS, "include_dashboard": False, "runtime_env": found}


class Ray:
    """Runs tasks on the Ray that runs already, on the one at the address `scheduler`, or on one that is started here."""

    __slots__ = ("_mine", "_ray")

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        from logging import CRITICAL

        import ray

        self._ray = ray
        self._mine = not ray.is_initialized()
        if not self._mine:
            if scheduler is not None or workers is not None:
                raise ShapeError("Ray runs already, with its own workers; leave out workers and scheduler, or shut it down")
            return
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        how = {"address": scheduler} if scheduler else _of_this_machine(workers)
        try:
            ray.init(log_to_driver=False, logging_level=CRITICAL, **how)
        except Exception as error:  # noqa: BLE001 - Ray raises it where a part of it did not start
            ray.shutdown()
            what = f"no Ray answers at {printable(scheduler)}" if scheduler else "Ray could not be started"
            raise ShapeError(f"{what}: {printable(error)}") from None

    @property
    def workers(self) -> int:
        """The number of processors of all nodes that are there now."""
        return max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def map_unordered(self, function: Function, tasks: Iterable[Any], window: int | None = None) -> Iterator[Found]:
        """Yield the place of each task and its result, or a `Failure`, as they are done."""
        work = self._ray.remote(num_cpus=1, max_retries=TRIES)(tried)
        held = self._ray.put(function)  # pickled once
        left = enumerate(tasks)
        running: dict[Any, int] = {}
        try:
            while True:
                for place, task in islice(left, (window or AHEAD * self.workers) - len(running)):
                    running[work.remote(held, task)] = place
                if not running:
                    return
                for done in self._ray.wait(list(running))[0]:
                    yield running.pop(done), self._found(done)
        finally:
            for waiting in running:
                self._ray.cancel(waiting)

    def _found(self, done: Any) -> Any:
        try:
            return self._ray.get(done)
        except self._ray.exceptions.WorkerCrashedError:
            return Failure("WorkerCrashedError", "the task ended the process that ran it, each time that it was tried")
        except self._ray.exceptions.RayError as error:
            return Failure(type(error).__name__, printable(error, 2000))

    def close(self) -> None:
        """End the Ray that was started here."""
        if self._mine:
            self._ray.shutdown()
