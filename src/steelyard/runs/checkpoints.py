"""A pile of checkpoints with the records of a run, which are computed when one is asked for, in one pass over the numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, UnreadableError, WeightNotFoundError, printable
from steelyard.io import weights
from steelyard.numerics.summary import Summary
from steelyard.runs import sketch
from steelyard.runs.copying import require_same
from steelyard.runs.layout import COLUMNS, SKETCH, Layout, facts_of, histogram_dtype
from steelyard.runs.measuring import figures, histograms_of, is_sketched, moved, signs_of
from steelyard.runs.store import Row

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.runs.steps import Checkpoint, Pile

RUN = 64 * sketch.BLOCK
"""The numbers of a weight that are read at a time, of each checkpoint in turn: two such runs are held."""


class Measured(NamedTuple):
    """The records of all checkpoints, in the types of a run's files."""

    stats: Array
    histograms: Array
    sketches: Array


class CheckpointRun:
    """Checkpoints as a run: `rows`, `steps`, `names`, `stats`, `histograms` and `sketches` are those of `RecordedRun`.

    Nothing is read until a record is asked for; then each number is read once, and the records are kept in memory. `snapshots`
    has the source of each step. Raises `ShapeError` if two checkpoints do not have the same weights.
    """

    def __init__(self, path: str, pile: Pile, seed: int = 0) -> None:
        self.path = path
        self.pile = pile
        self.seed = seed
        self.rows = tuple(map(_row, pile.checkpoints))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> list[int]:
        """The step of each checkpoint, ascending."""
        return [row.step for row in self.rows]

    @cached_property
    def layout(self) -> Layout:
        """The facts of the weights, which are those of the first checkpoint; raises `ShapeError` if none has numbers."""
        layout = Layout(facts_of(weights(self.pile.checkpoints[0].source).values()), 1, self.seed)
        if not layout.recorded:
            raise ShapeError(f"there is nothing to look back at: {printable(self.path)} without a weight that has numbers")
        return layout

    @property
    def names(self) -> list[str]:
        """The names of the weights that have records, in the framework's order."""
        return [fact.name for fact in self.layout.recorded]

    def column(self, name: str) -> Array:
        """Return one of `layout.COLUMNS`, with a row for each checkpoint and a column for each weight."""
        if name not in COLUMNS:
            raise WeightNotFoundError(name, COLUMNS, "column")
        return self.stats[:, :, COLUMNS.index(name)]

    @property
    def histogram_rows(self) -> range:
        """The checkpoints that have a histogram: all."""
        return range(len(self.rows))

    @property
    def stats(self) -> Array:
        """The statistics, of shape (checkpoints, weights, columns)."""
        return self._measured.stats

    @property
    def histograms(self) -> Array:
        """The histograms, of shape (checkpoints, weights)."""
        return self._measured.histograms

    def sketches(self) -> Array:
        """Return the sketch at each checkpoint."""
        return self._measured.sketches

    def snapshots(self) -> dict[int, Any]:
        """Return the source of each checkpoint by its step."""
        return {each.step: each.source for each in self.pile.checkpoints}

    @cached_property
    def _measured(self) -> Measured:
        return _measure([self._opened(each) for each in self.pile.checkpoints], self.layout)

    def _opened(self, checkpoint: Checkpoint) -> Sequence[Weight]:
        listed = weights(checkpoint.source)
        named = f"{printable(self.path)}, step {checkpoint.step:,}"
        if refused := listed.unreadable:
            name, reason = next(iter(refused.items()))
            raise UnreadableError(f"{named}: {printable(name)}: {printable(reason, 400)}")
        ordered = [listed[fact.name] for fact in self.layout.weights if fact.name in listed]
        if len(ordered) < len(listed) or len(listed) < len(self.layout.weights):
            ordered = list(listed.values())  # of other names, which is refused
        require_same(self.layout.weights, facts_of(ordered), named, "so pass those of one training")
        return [listed[fact.name] for fact in self.layout.recorded]


def _row(found: Checkpoint) -> Row:
    time = float("nan")
    if isinstance(found.source, (str, os.PathLike)):
        with suppress(OSError):
            time = os.path.getmtime(found.source)
    return Row(found.step, found.epoch, time, _name(found.source), found.metrics)


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__


def _measure(nets: Sequence[Sequence[Weight]], layout: Layout) -> Measured:
    """Measure weight by weight, in all checkpoints, so that no more than a part of one weight is held."""
    count = len(layout.recorded)
    stats = np.full((len(nets), count, len(COLUMNS)), np.nan)
    histograms = np.zeros((len(nets), count), histogram_dtype())
    changes, signs = np.zeros((len(nets), SKETCH)), signs_of(layout)
    for rank, fact in enumerate(layout.recorded):
        adds = [partial(signs.add, total, rank) if is_sketched(fact.dtype) else None for total in changes]
        found, squares = _over_time([net[rank] for net in nets], adds)
        stats[:, rank, :-1] = [figures(summary) for summary in found]
        stats[1:, rank, -1] = np.sqrt(squares[1:])
        histograms[:, rank] = histograms_of(found)
    return Measured(stats, histograms, np.cumsum(changes, axis=0).astype(np.float32))


def _over_time(listed: Sequence[Weight], adds: Sequence[Any]) -> tuple[list[Summary], list[float]]:
    """Return the summary of one weight at each step, and its squared distance to the step before."""
    found, squares = [Summary() for _ in listed], [0.0] * len(listed)
    for start in range(0, listed[0].size, RUN):
        before: Array | None = None
        for nth, weight in enumerate(listed):
            now = weight.read(start, min(start + RUN, weight.size))
            found[nth].add(now, start)
            pairs = 2 if weight.dtype.startswith("complex") else 1
            squares[nth] += moved(now, before, adds[nth], finite=False, first=pairs * start // sketch.BLOCK)
            before = now
    return found, squares


def require_steps(run: Any) -> None:
    """Raise `ShapeError` for a run without records."""
    if not len(run):
        raise ShapeError(f"{printable(run.path)} has no records yet")


def snapshot_of(run: Any, step: int) -> Weights:
    """Return the weights of a snapshot; raises `ShapeError` for a step that has none."""
    kept = run.snapshots()
    if step in kept:
        return _with_facts(weights(kept[step]), run.layout)
    if not kept:
        what = f"{printable(run.path)} has no snapshots; steelyard.record(..., snapshot=N) keeps some"
    else:
        near = sorted(sorted(kept, key=lambda each: abs(each - step))[:3])
        rest = f" and {len(kept) - len(near):,} others" if len(kept) > len(near) else ""
        what = f"{printable(run.path)} has no snapshot of step {step:,}; there are those of {_listed(near)}{rest}"
    raise ShapeError(what)


def _with_facts(found: Weights, layout: Layout) -> Weights:
    """Return the weights of a file with the facts that the model had: a file of numbers knows no axes."""
    facts = {fact.name: fact for fact in layout.weights}
    return found.with_weights(
        weight
        if (fact := facts.get(weight.name)) is None or weight.axes
        else weight.replace(role=_role(fact.role), layer=fact.layer, axes=fact.axes, trainable=fact.trainable)
        for weight in found.values()
    )


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(f"{step:,}" for step in steps)


def _role(word: str) -> Role:
    return Role(word) if word in set(Role) else Role.OTHER
