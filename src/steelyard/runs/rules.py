"""When a recorder keeps a snapshot: never, at each epoch, at each so many steps, or of the best value of a metric."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isnan
from typing import TYPE_CHECKING

from steelyard.errors import AmbiguityError, ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.runs.store import Row

_GREATER = re.compile(r"acc|auc|f1|score|r2|precision|recall|iou|bleu", re.IGNORECASE)
"""Words of metrics that are usually better when they are greater."""


class Rule:
    """A rule for snapshots, as `record` takes it.

    Examples:
        >>> from steelyard.runs.store import Row
        >>> rule = Rule("best:val_loss")
        >>> [rule.wants(Row(step, None, 0.0, None, {"val_loss": loss})) for step, loss in enumerate([2.0, 3.0, 1.0])]
        [True, False, True]
    """

    __slots__ = ("_best", "_epoch", "_greater", "_metric", "_steps", "_word")

    def __init__(self, rule: str | int | None) -> None:
        self._word = rule
        self._steps: int | None = None
        self._metric: str | None = None
        self._best: float | None = None
        self._epoch: float | None = None
        self._greater = False
        if isinstance(rule, int) and not isinstance(rule, bool) and rule > 0:
            self._steps = rule
        elif isinstance(rule, str) and rule.startswith("best:") and rule != "best:":
            self._metric, self._greater = best_of(rule.removeprefix("best:"), 'snapshot="best:{}"')
        elif rule not in (None, "epoch"):
            words = 'None, "epoch", a number of steps, "best:val_loss" or "best:max:val_acc"'
            raise ShapeError(f"snapshot is {quoted(rule)}; it must be {words}")

    @property
    def keeps_one(self) -> bool:
        """Whether a new snapshot replaces the last one."""
        return self._metric is not None

    def wants(self, row: Row) -> bool:
        """Whether this row, the next of the run, gets a snapshot; raises `ShapeError` if it lacks an epoch that is needed."""
        if self._steps is not None:
            return row.step % self._steps == 0
        if self._word == "epoch":
            if row.epoch is None:
                raise ShapeError('snapshot="epoch" needs the epoch of each step: rec(step, model, epoch=epoch)')
            before, self._epoch = self._epoch, row.epoch
            return before != row.epoch
        value = row.metrics.get(self._metric) if self._metric is not None else None
        if value is None or isnan(value) or (self._best is not None and not self._is_better(value)):
            return False
        self._best = value
        return True

    def _is_better(self, value: float) -> bool:
        assert self._best is not None
        return value > self._best if self._greater else value < self._best

    def follow(self, rows: Iterable[Row]) -> str | None:
        """Take in the rows that a run has, and return the snapshot that the next replaces."""
        last = None
        for row in rows:
            if (self._word != "epoch" or row.epoch is not None) and self.wants(row) and self.keeps_one:
                last = row.snapshot
        return last


def best_of(word: str, written: str) -> tuple[str, bool]:
    """Return the name of a metric, without "min:" or "max:" before it, and whether greater values are better.

    `written` is how a caller writes the word. Raises `AmbiguityError` if it is not known which values are better.
    """
    for mode, greater in (("min:", False), ("max:", True)):
        if word.startswith(mode):
            return word.removeprefix(mode), greater
    if _GREATER.search(word):
        name = printable(word)
        ways = " or ".join(written.format(f"{mode}:{name}") for mode in ("max", "min"))
        raise AmbiguityError(f"is {name} better when it is greater? write {ways}")
    return word, False
