"""Results in the order of their tasks, of which no more wait for a slow one than is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.engines.tasks import Found

    Map = Callable[[Iterable[Any]], Iterator[Found]]
    """Yields places and results of tasks in any order, as an engine does."""


def in_order(mapped: Map, tasks: Iterable[Any], most: int) -> Iterator[Any]:
    """Yield the result of each task, or its `Failure`, in the order of the tasks.

    At most `most` tasks are given out and not yet yielded. Where so many results wait for a slow task, no more are given
    out until those that run are done.

    >>> list(in_order(lambda tasks: reversed([*enumerate(tasks)]), "abcde", 2))
    ['a', 'b', 'c', 'd', 'e']
    """
    left = iter(tasks)
    done: dict[int, Any] = {}
    given = taken = 0

    def some() -> Iterator[Any]:
        nonlocal given
        while given - taken < most:
            try:
                task = next(left)
            except StopIteration:
                return
            given += 1
            yield task

    while True:
        first = given
        for place, found in mapped(some()):
            done[first + place] = found
            while taken in done:
                taken += 1
                yield done.pop(taken - 1)
        if given == first:
            return
