"""Engines: the same work by threads, or by the processes of Dask, Ray or joblib, on one machine or on many.

There is one seam. `function` is a function of a module, or a `functools.partial` of one, since other processes import it by its
name; tasks and results are plain values that can be pickled. A task should read 64 MB or more: an engine needs milliseconds
for each. Results come in the order in which they are done, each with the place of its task. A task that fails is a `Failure`
in its place, and the others go on, even if it ended its process::

    from steelyard.engines import Failure, engine_of

    with engine_of("dask", workers=2) as engine:
        for place, found in engine.map_unordered(rows_of_file, paths):
            ...  # found is what rows_of_file(paths[place]) returned, or a Failure with `kind` and `text`

`tasks` may be any iterable, and is read ahead by `window` tasks only. A function runs in one thread: `core.threads` starts no
others in it. So results are the same, bit for bit, on every engine if those of the tasks are merged in the order of their places.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from steelyard.engines.tasks import AHEAD, Failure, failure, tried
from steelyard.errors import MissingExtraError, ShapeError, printable

if TYPE_CHECKING:
    from steelyard.engines.tasks import Found, Function

__all__ = ["AHEAD", "ENGINES", "Engine", "Failure", "engine_of", "failure", "require_engine", "tried"]
ENGINES = ("threads", "dask", "ray", "joblib")


@runtime_checkable
class Engine(Protocol):
    """What runs tasks; any object with these can be passed as an engine."""

    @property
    def workers(self) -> int:
        """The number of tasks that run at a time."""

    def map_unordered(self, function: Function, tasks: Iterable[Any], window: int | None = None) -> Iterator[Found]:
        """Yield the place of each task and its result, or a `Failure`, as they are done.

        At most `window` tasks are submitted at a time, by default `AHEAD` for each worker.
        """

    def close(self) -> None:
        """End what was started for this engine, and nothing else."""


@contextmanager
def engine_of(engine: object = None, workers: int | None = None, scheduler: str | None = None) -> Iterator[Engine]:
    """Yield the engine that `engine` names: None or "threads", "dask", "ray", "joblib", or a Client of Dask.

    `workers` processes are started, or threads, by default two. A Client is used as it is. "dask" connects to the `scheduler`,
    as "tcp://host:8786", or uses the current Client, or starts processes on this machine; "ray" likewise with the address of
    a cluster, or with the Ray that runs already. "joblib" uses the backend that is active. What was started here ends with the
    block.

    Raises `ShapeError` for anything else, and `MissingExtraError` if the engine is not installed.

    >>> with engine_of("threads", 2) as engine:
    ...     sorted(engine.map_unordered(abs, [3, -4]))
    [(0, 3), (1, 4)]
    """
    require_engine(engine, workers, scheduler)
    started = _started(engine, workers, scheduler)
    try:
        yield started
    finally:
        if started is not engine:  # one that the user made is the user's to close
            started.close()


def require_engine(engine: object, workers: int | None = None, scheduler: str | None = None) -> None:
    """Raise `ShapeError` for what is no engine, or cannot be had together, before anything is started."""
    if workers is not None and workers < 1:
        raise ShapeError(f"workers is {workers}; it must be at least 1")
    word = engine or "threads"
    if scheduler is not None and word not in ("dask", "ray"):
        raise ShapeError('a scheduler is an address of a cluster of Dask or Ray; pass engine="dask" or "ray" with it')
    if scheduler is not None and workers is not None:
        raise ShapeError("the cluster at the scheduler has its workers already; pass a scheduler or a number of workers")
    if word in ENGINES or _is_client(engine) or engine is sys.modules.get("joblib") or isinstance(engine, Engine):
        return
    raise ShapeError(f"{printable(repr(engine))} is not an engine; pass one of {', '.join(ENGINES)}, or a Client of Dask")


def _started(engine: Any, workers: int | None, scheduler: str | None) -> Engine:
    word = engine or "threads"
    if word == "threads":
        from steelyard.engines.threads import Threads

        return Threads(workers)
    if word == "dask" or _is_client(engine):
        from steelyard.engines.dask import Dask

        return _installed("dask", lambda: Dask(None if word == "dask" else engine, workers, scheduler))
    if word == "ray":
        from steelyard.engines.ray import Ray

        return _installed("ray", lambda: Ray(workers, scheduler))
    if word == "joblib" or engine is sys.modules.get("joblib"):
        from steelyard.engines.joblib import Joblib

        return _installed("joblib", lambda: Joblib(workers))
    own: Engine = engine
    return own


def _is_client(engine: object) -> bool:
    """Whether this is a Client, without an import: whoever holds one has imported its module."""
    client = getattr(sys.modules.get("distributed"), "Client", None)
    return client is not None and isinstance(engine, client)


def _installed(word: str, start: Callable[[], Engine]) -> Engine:
    try:
        return start()
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed", "ray", "joblib"):
            raise
        what = f"engine={word!r}"
        raise (MissingExtraError(what, package="joblib") if word == "joblib" else MissingExtraError(what, word)) from None
