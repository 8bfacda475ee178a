"""Have the jobs of a measurement done by an engine: the same jobs, whose results are merged in the same order.

A measurement passes jobs to `core.threads.in_turn`: weights, and which run of them. Within `shipped`, a weight of a file becomes
its name and the way to open the file; consecutive jobs become a task, of at least `TASK_BYTES`; and a worker, which opens the
file itself, does them with the same function as a thread would here. No number is sent to it, and only sums come back. So
the results are those of one thread, to the last bit, however many workers there are, and whichever dies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.threads import elsewhere
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.engines.journal import remembered
from steelyard.engines.opening import Opening, listed
from steelyard.engines.ordered import in_order
from steelyard.engines.tasks import AHEAD, Failure

if TYPE_CHECKING:
    from steelyard.engines import Engine
    from steelyard.engines.journal import Journal

LEAF_BYTES = 1 << 24
"""The run of a job, at most, whatever the engine and the number of workers."""
TASK_BYTES = 1 << 26
"""The numbers that the jobs of a task read, at least, unless the last jobs read less."""
TASK_JOBS = 4096
"""The jobs of a task, at most."""


WAITING = 16
"""Tasks for each worker that are given out and not yet merged, at most: their results wait for a slow one."""


class Named(NamedTuple):
    """A weight by its name, or with None all weights, of a file that is opened in this way."""

    opening: Opening
    name: str | None


@contextmanager
def shipped(engine: Engine, openings: Iterable[tuple[Weights, Opening]], journal: Journal | None = None) -> Iterator[None]:
    """Have an engine do the jobs of this block that read these weights, each with the way in which it was opened."""
    with elsewhere(Shipping(engine, openings, journal)):
        yield


class Shipping:
    """Does the jobs of one block."""

    __slots__ = ("_engine", "_held", "_journal", "_known")

    def __init__(self, engine: Engine, openings: Iterable[tuple[Weights, Opening]], journal: Journal | None = None) -> None:
        self._engine = engine
        self._journal = journal
        self._held = list(openings)  # an id is only its object's as long as the object lives
        self._known = {id(weights): Named(opening, None) for weights, opening in self._held}
        for weights, opening in self._held:
            self._known |= {id(weight.read): Named(opening, weight.name) for weight in weights.distinct().values()}

    def __call__(self, jobs: Iterable[tuple[object, ...]], work: Callable[..., object]) -> Iterator[Any] | None:
        """Return the results of the jobs in order; None for work that another process cannot import."""
        return self._done(jobs, work) if is_importable(work) else None

    def _done(self, jobs: Iterable[tuple[object, ...]], work: Callable[..., object]) -> Iterator[Any]:
        turns: deque[Callable[[], object] | None] = deque()  # a job for this thread, or None for the next of a task
        mapped = partial(remembered, self._engine, partial(done_here, work), journal=self._journal)
        most = WAITING * max(self._engine.workers, AHEAD)
        for results in in_order(mapped, self._tasks(jobs, work, turns), most):
            yield from _own(turns)
            if isinstance(results, Failure):
                raise results.error()
            for each in results:
                turns.popleft()
                yield each
                yield from _own(turns)
        yield from _own(turns)

    def _tasks(self, jobs: Iterable[tuple[object, ...]], work: Callable[..., object], turns: deque[Any]) -> Iterator[Any]:
        """Yield lists of jobs to be sent, and note whose turn each job is."""
        task: list[tuple[object, ...]] = []
        held = 0
        for job in jobs:
            sent = self._sent(job)
            if sent is None:
                turns.append(partial(work, *job))
                continue
            turns.append(None)
            task.append(sent)
            held += max(map(_bytes_of, job))
            if held >= TASK_BYTES or len(task) >= TASK_JOBS:
                yield task
                task, held = [], 0
        if task:
            yield task

    def _sent(self, job: tuple[object, ...]) -> tuple[object, ...] | None:
        """Return a job with names in place of weights; None if a weight is not one of a file, or there is none."""
        found = []
        for each in job:
            named = each
            if isinstance(each, (Weight, Weights)):
                named = self._known.get(id(each.read if isinstance(each, Weight) else each))
                if named is None:
                    return None
            found.append(named)
        return tuple(found) if any(isinstance(each, Named) for each in found) else None


def _own(turns: deque[Callable[[], object] | None]) -> Iterator[object]:
    """Do the jobs of this thread whose turn has come."""
    while turns and (job := turns[0]) is not None:
        turns.popleft()
        yield job()


def _bytes_of(each: object) -> int:
    """Return the bytes that a job reads of an argument: all weights, or a run of one."""
    return each.nbytes if isinstance(each, Weights) else min(each.nbytes, LEAF_BYTES) if isinstance(each, Weight) else 0


def done_here(work: Callable[..., object], jobs: Iterable[tuple[object, ...]]) -> list[object]:
    """Return the result of each job, with the weights that this process reads itself."""
    return [work(*(_opened(each) if isinstance(each, Named) else each for each in job)) for job in jobs]


def _opened(named: Named) -> Weight | Weights:
    weights = listed(named.opening)
    return weights if named.name is None else weights[named.name]


def is_importable(work: object) -> bool:
    """Whether another process can import a function: one of a module, or a `partial` of one with plain arguments."""
    while isinstance(work, partial):
        work = work.func
    name, module = getattr(work, "__qualname__", ""), getattr(work, "__module__", None)
    return isinstance(module, str) and module.startswith("steelyard.") and "<" not in name and "." not in name
