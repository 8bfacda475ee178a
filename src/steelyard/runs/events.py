"""What happened along a run: where NaN began, what moved when, jumps, frozen weights, and dead units, each as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.core.indexing import place_of
from steelyard.errors import first_of, printable
from steelyard.runs.curves import STATE, broken, known_updates
from steelyard.text import tabular

if TYPE_CHECKING:
    from steelyard.core.weight import Array

NEAR = 10
"""The records on each side with whose median a jump is compared."""
LEAP = 10.0
"""A jump of at least this factor is an alarm."""
STILL = 10
"""The last records, at most, in all of which a frozen weight did not move."""


class HistoryRows:
    """Rows of a table on a run, each a `NamedTuple`; `title` is what they are, `note` how to read them."""

    __slots__ = ("note", "rows", "title")

    def __init__(self, title: str, rows: Iterable[Any], note: str = "") -> None:
        self.title = title
        self.rows = tuple(rows)
        self.note = note

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __getitem__(self, nth: int) -> Any:
        return self.rows[nth]

    def __repr__(self) -> str:
        from steelyard.text.histories import rows_text

        return rows_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.histories_html import rows_html

        return rows_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""
        return [{key: _plain(value) for key, value in row._asdict().items()} for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"title": self.title, "rows": self.to_records(), "note": self.note}

    to_columns = tabular.to_columns
    to_frame = tabular.to_frame
    write = tabular.write


class NonFiniteStart(NamedTuple):
    """The first record in which a weight holds NaN or Inf: the place (index) of the first such number, and their counts."""

    weight: str
    step: int
    place: tuple[int, ...]
    nan: int
    inf: int


class Movement(NamedTuple):
    """How a weight moved: its `share` of the squared movement, the sum of its updates, and the step of the greatest."""

    weight: str
    share: float
    path: float
    largest: float
    at: int | None


class Jump(NamedTuple):
    """An update of all weights, `factor` times the median of those near it, of which `weight` has the greatest `share`."""

    step: int
    factor: float
    update: float
    weight: str
    share: float


@np.errstate(all="ignore")  # a damaged record may have any numbers
def nonfinite(run: Any) -> HistoryRows:
    """Return the first record of each weight in which it is not finite, the earliest first."""
    nan, inf, first = (np.asarray(run.column(name)) for name in ("nan", "inf", "first_nonfinite"))
    bad = broken(run)
    rows = []
    for rank, fact in enumerate(run.layout.recorded):
        if bad[:, rank].any():
            at = int(bad[:, rank].argmax())
            counts = (_whole(each[at, rank]) for each in (nan, inf))
            rows.append(NonFiniteStart(fact.name, run.steps[at], _place(fact.shape, _whole(first[at, rank])), *counts))
    rows.sort(key=lambda row: row.step)
    return HistoryRows("first NaN and Inf", rows, "" if rows else "all numbers of all records are finite")


@np.errstate(all="ignore")  # a damaged record may have any numbers
def blame(run: Any, since: int | None, until: int | None) -> HistoryRows:
    """Return how much each weight moved in the records after step `since` up to `until`, the most first."""
    steps = np.array(run.steps)
    kept = (steps > (-1 if since is None else since)) & (steps <= (steps.max(initial=0) if until is None else until))
    known = _moves(run)[kept]
    squares = np.square(known).sum(axis=0)
    total = float(squares.sum())
    rows = []
    for rank, name in enumerate(run.names):
        moved = known[:, rank].max(initial=0.0) > 0
        at = int(steps[kept][known[:, rank].argmax()]) if moved else None
        share = float(squares[rank]) / total if total > 0 else 0.0
        if run.layout.recorded[rank].role in STATE:
            continue
        rows.append(Movement(name, share, float(known[:, rank].sum()), float(known[:, rank].max(initial=0.0)), at))
    rows.sort(key=lambda row: -row.share)
    note = "share is that of the squared movement, path the sum of all updates, at the step of the largest"
    return HistoryRows("which weights moved", rows, note)


@np.errstate(all="ignore")  # a damaged record may have any numbers
def jumps(run: Any, top: int) -> HistoryRows:
    """Return the updates that are largest beside those near them, the largest factor first."""
    updates = _moves(run)
    total = np.sqrt(np.square(updates).sum(axis=1))
    factors = factors_of(total)
    order = np.argsort(-factors, kind="stable")[:top]
    rows = [_jump(run, int(nth), updates[nth], float(total[nth]), float(factors[nth])) for nth in order if factors[nth] > 1]
    note = f"factor is that of the median of the {NEAR} updates before and the {NEAR} after"
    return HistoryRows("largest jumps", rows, note)


def _whole(number: float) -> int:
    return int(number) if isfinite(number) else 0


def _place(shape: Sequence[int], index: int) -> tuple[int, ...]:
    """Return the place of a number; that of none for an index that a weight of this shape does not have."""
    return place_of(shape, index) if 0 <= index < prod(shape) else ()


def _moves(run: Any) -> Array:
    """Return the updates, 0 where they are not known, and for running statistics and counters."""
    moves = np.nan_to_num(known_updates(run), nan=0.0)
    moves[:, [fact.role in STATE for fact in run.layout.recorded]] = 0.0
    return moves


@np.errstate(all="ignore")  # a damaged record may have any numbers
def factors_of(total: Array) -> Array:
    """Return each number over the median of those near it that are not zero; 0 where there are none.

    >>> factors_of(np.array([0.0, 1.0, 1.0, 8.0, 1.0])).tolist()
    [0.0, 1.0, 1.0, 8.0, 1.0]
    """
    if not len(total):
        return total
    padded = np.pad(np.where(total > 0, total, np.nan), NEAR, constant_values=np.nan)
    near = np.delete(np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR + 1), NEAR, axis=1)
    known = np.isfinite(near).any(axis=1) & (total > 0)
    made = np.zeros(len(total))
    made[known] = total[known] / np.nanmedian(near[known], axis=1)
    return made


def _jump(run: Any, nth: int, updates: Array, total: float, factor: float) -> Jump:
    rank = int(updates.argmax())
    return Jump(run.steps[nth], factor, total, run.names[rank], float(updates[rank] / total) ** 2)


def frozen(run: Any, last: int = STILL) -> list[str]:
    """Return the weights that did not move in the last records while others did; counters and buffers are left out."""
    updates = known_updates(run)[-last:]
    updates = updates[~np.isnan(updates).all(axis=1)]
    if not len(updates) or not np.nan_to_num(updates).any():
        return []
    still = (updates == 0).all(axis=0)
    roles = [fact.role in STATE for fact in run.layout.recorded]
    return [name for name, is_still, is_state in zip(run.names, still, roles, strict=True) if is_still and not is_state]


def alarms(run: Any) -> list[str]:
    """Return a sentence for each thing that a reader should look at: NaN, jumps, frozen weights that are trainable."""
    found = []
    started = nonfinite(run)
    if len(started):
        first = started[0]
        what = "NaN" if first.nan else "Inf"
        more = f"; {len(started) - 1:,} more later" if len(started) > 1 else ""
        found.append(f"{what} since step {first.step:,}: {printable(first.weight)}{list(first.place)}{more}")
    found += [
        f"step {row.step:,} moved {row.factor:.3g} times as far as those near it, most in {printable(row.weight)}"
        for row in jumps(run, 3)
        if row.factor >= LEAP and len(run) > NEAR
    ]
    chosen = {fact.name for fact in run.layout.recorded if fact.trainable is False}
    still = [name for name in frozen(run) if name not in chosen]
    if still:
        found.append(f"frozen in the last {min(len(run) - 1, STILL):,} records: {first_of(still, 3)}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
