"""Lets an audit judge the pickle that a reader runs, so that a command which asks for both runs it once.

The pickle is judged as soon as it has run, before its reader looks at the values; nothing of it is kept for the audit but what
the judge returns.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.values import Pickled

    Judge = Callable[[Machine, int], object]
    """Returns what is to be known of a pickle, from the machine that ran it and what the run has spent."""

_JUDGE: ContextVar[Judge | None] = ContextVar("_JUDGE", default=None)


@contextmanager
def judged_by(judge: Judge) -> Iterator[None]:
    """Let the pickles that readers run within the block be judged."""
    before = _JUDGE.set(judge)
    try:
        yield
    finally:
        _JUDGE.reset(before)


def load(machine: Machine) -> tuple[Pickled, object]:
    """Run the pickle of a reader; return its root, and what the judge says of it: None where no audit is asked for."""
    judge = _JUDGE.get()
    if judge is None:
        return machine.load(), None
    whole = machine.stream.source.whole
    before = whole.spent
    log = machine.begin_log()
    root = machine.load()
    judged = judge(machine, whole.spent - before + log.owed)
    machine.log = None
    return root, judged
