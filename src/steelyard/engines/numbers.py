"""Numbers that workers compute, and that this process writes: of averages, and of quantised, dequantised and cast weights.

Such weights compute their numbers when these are read. `from_workers` gives them readers that, while a file is written, have
runs of numbers computed by an engine: a worker opens the files itself, makes the same weights of them, and reads the same
chunks as a writer would here, so the file is the same to the last bit. Runs are given out in the order of the weights, a few
ahead of the writer. A writer that reads in another order is served too, from where it goes on. Numbers that a file stores as
they are read are not computed: this process copies them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard import sizes
from steelyard.core.lasting import ending
from steelyard.core.readers import Live, Placed
from steelyard.core.stacked import relaid
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.engines import require_engine
from steelyard.engines.calls import Asked, paths_of
from steelyard.engines.journal import key_of
from steelyard.engines.opening import Opening
from steelyard.engines.ordered import in_order
from steelyard.engines.tasks import Failure
from steelyard.errors import ShapeError
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.engines import Engine

    Run = tuple[str, int, int]
    """The name of a weight, and its first and last element, exclusive."""

TASK_BYTES = 1 << 24
"""The numbers that a task returns, at most twice as many."""
TASK_RUNS = 1024
"""The weights of a task, at most."""
AHEAD = 2
"""Tasks for each worker that run or wait to; as many results may wait until they are written."""
_KEPT = threading.local()


class Recipe(NamedTuple):
    """How a worker makes the same weights: a `partial` of a function of a module, the files, and a `key` of all this."""

    make: Callable[[], Weights]
    openings: tuple[Opening, ...]
    key: str


def by_workers(make: Callable[[Any], Weights], source: Any, engine: object, workers: int | None) -> Weights:
    """Return what `make` makes of a path, or of a list of paths, with numbers that come from workers.

    Raises `ShapeError` for a source in the memory of this process, which other processes cannot open.
    """
    paths = paths_of(source)
    if paths is None:
        what = "workers open the files themselves, but this source is in the memory of this process"
        raise ShapeError(f"{what}; pass its path, or leave out engine and workers")
    given = paths[0] if isinstance(source, (str, bytes)) or hasattr(source, "__fspath__") else paths
    return from_workers(make(given), partial(make, given), paths, Asked(engine, workers))


def from_workers(made: Weights, make: Callable[[], Weights], paths: Iterable[str], asked: Asked) -> Weights:
    """Return weights made of files, whose numbers come from workers, which make them by `make`, while they are written."""
    require_engine(asked.engine, asked.workers, asked.scheduler)
    openings = tuple(Opening(path).stamped() for path in paths)
    owners = {id(w.read): w for w in made.distinct().values() if _is_computed(w)}
    plan = Plan(Recipe(make, openings, key_of(make, openings)), [*owners.values()], asked)
    readers = {key: relaid(weight.read, Numbers(plan, weight)) for key, weight in owners.items()}
    return made.with_weights(w.replace(read=readers[id(w.read)]) if id(w.read) in readers else w for w in made.values())


def _is_computed(weight: Weight) -> bool:
    return not isinstance(weight.read, (Stored, Refused, Live, Placed))


class Numbers:
    """A reader of computed numbers: of those that workers send while a file is written, else of those computed here."""

    __slots__ = ("_plan", "_weight")

    def __init__(self, plan: Plan, weight: Weight) -> None:
        self._plan = plan
        self._weight = weight

    def __call__(self, start: int, stop: int) -> Array:
        stream = self._plan.stream() if stop > start else None
        return self._weight.read(start, stop) if stream is None else stream.read(self._weight, start, stop)


class Plan:
    """The tasks for weights that are made by a recipe, and the stream of their results, if one runs."""

    __slots__ = ("_asked", "_stream", "places", "recipe", "tasks")

    def __init__(self, recipe: Recipe, weights: Sequence[Weight], asked: Asked) -> None:
        self.recipe = recipe
        self.tasks = list(_tasks(weights))
        self.places = {run[:2]: (nth, place) for nth, task in enumerate(self.tasks) for place, run in enumerate(task)}
        self._asked = asked
        self._stream: Stream | None = None

    def stream(self) -> Stream | None:
        """Return the stream of what is written now; the first call starts the engine, which ends with the file."""
        until = ending()
        if until is None:
            return None
        if self._stream is None:
            engine, _ = until.enter_context(self._asked.started())
            self._stream = Stream(self, engine)
            until.callback(self._end)
        return self._stream

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _tasks(weights: Iterable[Weight]) -> Iterator[list[Run]]:
    task: list[Run] = []
    held = 0
    for weight in weights:
        step = run_of(weight)
        for start in range(0, weight.size, step):
            stop = min(start + step, weight.size)
            task.append((weight.name, start, stop))
            held += (stop - start) * itemsize(weight.dtype)
            if held >= TASK_BYTES or len(task) >= TASK_RUNS:
                yield task
                task, held = [], 0
    if task:
        yield task


def run_of(weight: Weight) -> int:
    """Return the elements of a run: whole chunks of a writer, so that a worker reads no other parts than this process would."""
    return max(TASK_BYTES // sizes.WRITE_CHUNK_BYTES, 1) * chunk_of(weight)


def chunk_of(weight: Weight) -> int:
    """Return the elements that a writer reads at a time."""
    return max(sizes.WRITE_CHUNK_BYTES // itemsize(weight.dtype), 1)


class Stream:
    """The results of a plan's tasks, from any task on; the last two are held, by the numbers of their tasks."""

    __slots__ = ("_engine", "_held", "_plan", "_results")

    def __init__(self, plan: Plan, engine: Engine) -> None:
        self._plan = plan
        self._engine = engine
        self._results: Iterator[Any] = iter(())
        self._held: dict[int, list[Array]] = {}

    def read(self, weight: Weight, start: int, stop: int) -> Array:
        """Return the elements [start, stop) of a weight, in memory of their own."""
        import numpy as np

        made = np.empty(stop - start, numpy_dtype(weight.dtype))
        step, at = run_of(weight), start
        while at < stop:
            first = at - at % step
            numbers = self._run(weight.name, first).view(made.dtype)
            end = min(stop, first + len(numbers))
            made[at - start : end - start] = numbers[at - first : end - first]
            at = end
        return made

    def _run(self, name: str, first: int) -> Array:
        nth, place = self._plan.places[name, first]
        if nth not in self._held:
            if nth - 1 not in self._held:
                self._begin(nth)
            self._held = {each: held for each, held in self._held.items() if each == nth - 1}
            self._held[nth] = self._next()
        return self._held[nth][place]

    def _begin(self, nth: int) -> None:
        self.close()
        window = AHEAD * max(self._engine.workers, 1)  # a cluster that grows begins without workers
        mapped = partial(self._engine.map_unordered, partial(made_there, self._plan.recipe), window=window)
        self._results = in_order(mapped, self._plan.tasks[nth:], 2 * window)

    def _next(self) -> list[Array]:
        found = next(self._results)
        if isinstance(found, Failure):
            self.close()
            raise found.error()
        held: list[Array] = found
        return held

    def close(self) -> None:
        """Give up the tasks that run."""
        if hasattr(self._results, "close"):
            self._results.close()
        self._results, self._held = iter(()), {}


def made_there(recipe: Recipe, runs: Sequence[Run]) -> list[Array]:
    """Return the bytes of runs of numbers, in a worker."""
    weights = _made(recipe)
    return [_bytes_of(weights[name], start, stop) for name, start, stop in runs]


def _made(recipe: Recipe) -> Mapping[str, Weight]:
    """Return the weights of a recipe, which this thread keeps for the next task."""
    kept: tuple[str, Mapping[str, Weight]] | None = getattr(_KEPT, "made", None)
    if kept is None or kept[0] != recipe.key:
        for opening in recipe.openings:
            opening.require_unchanged()
        _KEPT.made = kept = (recipe.key, recipe.make())
    return kept[1]


def _bytes_of(weight: Weight, start: int, stop: int) -> Array:
    import numpy as np

    made, step = np.empty(stop - start, numpy_dtype(weight.dtype)), chunk_of(weight)
    for at in range(start, stop, step):
        end = min(at + step, stop)
        made[at - start : end - start] = weight.read(at, end)
    return made.view(np.uint8)
