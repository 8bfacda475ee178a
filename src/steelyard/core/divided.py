"""Weights of which each of several processes has a part: whose numbers all read together, and each writes its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from steelyard.core.readers import Placed
from steelyard.errors import UnreadableError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.core.weights import Weights


class Processes(Protocol):
    """All processes of a training, which call each of these functions together, in the same order."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def number(self) -> int:
        """The number of this one, from 0."""

    def meet(self, what: str) -> None:
        """Wait for the others. Raises `UnreadableError`, which says `what` they did not come for, if they do not."""

    def told(self, value: Any) -> Any:
        """Return to each the value that the first process has passed."""

    def collected(self, value: Any) -> list[Any]:
        """Return the values of all, in their order."""


class Part(NamedTuple):
    """A box of a weight that one process writes: the index of its first element, and its numbers."""

    offsets: tuple[int, ...]
    weight: Weight


class Divided:
    """The reader of a weight of which each process has a part: `read` is a call of all of them, `own` lists what this one writes.

    `processes` are None where the parts do not belong to all processes, or do not simply lie side by side.
    """

    __slots__ = ("own", "processes", "read")

    def __init__(self, read: Reader, own: Callable[[], list[Part]], processes: Processes | None) -> None:
        self.read = read
        self.own = own
        self.processes = processes

    def __call__(self, start: int, stop: int) -> Array:
        return self.read(start, stop)


def divided(weight: Weight) -> Divided | None:
    """Return the reader of a weight that several processes have in parts; None for any other weight."""
    read = weight.read
    while isinstance(read, Placed):
        read = read.read
    return read if isinstance(read, Divided) else None


def processes_of(weights: Weights) -> Processes | None:
    """Return the processes that have the weights of a live model in parts; None if each has its own model."""
    found = [reader for weight in weights.values() if (reader := divided(weight))] if weights.live else []
    return found[0].processes if found and all(reader.processes for reader in found) else None


def own_parts(weights: Weights, processes: Processes) -> list[Part]:
    """Return what this process writes of all weights, each once; the first one writes what each process has whole."""
    parts: list[Part] = []
    for weight in weights.distinct().values():
        reader = divided(weight)
        if reader is not None:
            parts += (part._replace(weight=part.weight.replace(name=weight.name)) for part in reader.own())
        elif not processes.number:
            parts.append(Part((0,) * len(weight.shape), weight))
    return parts


@contextmanager
def read_by_the_first(weights: Weights, processes: Processes) -> Iterator[Weights | None]:
    """Yield the weights to the first process, which reads them for all, and None to the others, when they have served it.

    Whenever the first reads a run, the others give their parts of it, so no process has more than its own part and that run.
    Raises `UnreadableError` on the others if the block of the first one raises.
    """
    processes.meet("the weights")
    if processes.number:
        _serve(weights, processes)
        yield None
        return
    try:
        yield weights.with_weights(_asking(weight, processes) for weight in weights.values())
    except BaseException as error:
        processes.told(str(error) or type(error).__name__)
        raise
    processes.told("")


def _asking(weight: Weight, processes: Processes) -> Weight:
    """Return a weight that asks the other processes for their parts of each run that is read."""
    reader = divided(weight)
    if reader is None:
        return weight

    def read(start: int, stop: int) -> Array:
        if start < stop:
            processes.told((weight.name, start, stop))
        return reader(start, stop)

    return weight.replace(read=read)


def _serve(weights: Weights, processes: Processes) -> None:
    """Read what the first process reads, until it is done."""
    while not isinstance(asked := processes.told(None), str):
        name, start, stop = asked
        weights[name].read(start, stop)
    require_done(asked)


def require_done(error: str) -> None:
    """Raise `UnreadableError` if the first process, which writes for all, has failed; blank if it has not."""
    if error:
        raise UnreadableError(f"the first process, which writes for all, failed: {printable(error, 500)}")


def chunks(weight: Weight, processes: int) -> Iterator[Part]:
    """Yield the part of each process, as `torch.chunk` cuts the first axis; the first process has what has no axis.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> [(part.offsets, part.weight.shape) for part in chunks(from_array("w", np.ones((5, 2))), 4)]
    [((0, 0), (2, 2)), ((2, 0), (2, 2)), ((4, 0), (1, 2))]
    """
    rows = weight.shape[0] if weight.shape else 1
    step = -(-rows // processes)
    if step >= rows or not weight.size:
        yield Part((0,) * len(weight.shape), weight)
        return
    width = weight.size // rows
    for first in range(0, rows, step):
        shape = (min(step, rows - first), *weight.shape[1:])
        yield Part((first, *(0,) * (len(shape) - 1)), weight.replace(shape=shape, read=_From(weight, first * width)))


class _From:
    """The reader of a run of a weight that begins at an element."""

    __slots__ = ("_begin", "_weight")

    def __init__(self, weight: Weight, begin: int) -> None:
        self._weight = weight
        self._begin = begin

    def __call__(self, start: int, stop: int) -> Array:
        return self._weight.read(start + self._begin, stop + self._begin)
