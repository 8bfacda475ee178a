"""`diff`: the relative change of each weight from one net to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.measures.diff import diff as compared
from steelyard.plot.canvas import axes_for, caption, inks, role_colour, role_legend, shown
from steelyard.plot.rows import APART, LETTERS, NAMED, height_of, label_rows
from steelyard.plot.sources import weights_of
from steelyard.text.order import in_natural_order
from steelyard.text.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.measures.diff import Diff, Difference

COMPARED = ("equal", "renamed", "changed")
MOST = 16  # names next to their points, where rows are labelled by groups
UNPAIRED = {"added": "only in the second", "removed": "only in the first", "shape": "with another shape"}


def diff(before: Any, after: Any, *, ax: Axes | None = None, **how: Any) -> Axes:
    """Draw the relative change of each weight, |after - before| / |before| in l2 norms, on a logarithmic axis, coloured by role.

    `before` and `after` are two models, files or `Weights`, paired and compared as by `steelyard.diff`; `how` are its options
    (`align`, `rules`, `pairs`). Rows are in the natural order of `after`. If there are too many for labels of their own, the
    names of those that changed most are next to their points. A ring at the left end is a weight without any change. The
    caption counts the weights without a partner, and those whose relative change is undefined, such as those that were zero.

    Numbers are read block by block. Raises the errors of `steelyard.diff`, and `ShapeError` if no weights can be compared.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.diff({"w": np.ones(4), "b": np.ones(2)}, {"w": np.full(4, 1.5), "b": np.ones(2)})
        >>> ax.lines[0].get_xdata().tolist(), [label.get_text() for label in ax.get_yticklabels()]
        ([0.5], ['w', 'b'])
    """
    before, after = (weights_of(each) if isinstance(each, Weight) else each for each in (before, after))
    result = compared(before, after, verdicts=False, **how)
    drawn = weights_of(after)
    places = {name: nth for nth, name in enumerate(in_natural_order(drawn, str))}
    rows = sorted((row for row in result.rows if row.kind in COMPARED), key=lambda row: places[row.name])
    if not rows:
        why = "; ".join(filter(None, ["no weight of the first net has a partner in the second", _unpaired(result)]))
        raise ShapeError(f"there is nothing to draw: {why}")
    ax = axes_for(ax, 6.8, height_of(len(rows)))
    _draw(ax, rows, [drawn[row.name].role for row in rows])
    label_rows(ax, [row.name for row in rows])
    if len(rows) > NAMED:
        _name_the_largest(ax, rows)
    caption(ax, _notes(result, rows))
    return ax


def _draw(ax: Axes, rows: Sequence[Difference], roles: Sequence[Role]) -> None:
    ink = inks(ax)
    changes = np.array([_change(row) for row in rows])
    moved = np.isfinite(changes) & (changes > 0)
    low = 10.0 ** np.floor(np.log10(changes[moved].min()) - 0.5) if moved.any() else 1e-8
    size = 6 if len(rows) <= NAMED else 3.5
    ax.set_xscale("log")
    for role in dict.fromkeys(roles):
        mine = [nth for nth, each in enumerate(roles) if each is role and moved[nth]]
        if not mine:
            continue
        colour = role_colour(role, ink)
        ax.plot(changes[mine], mine, "o", color=colour, markersize=size, markeredgewidth=0, zorder=3)
        if len(rows) <= NAMED:
            ax.hlines(mine, low, changes[mine], color=colour, linewidth=1.2, alpha=0.55)
    same = np.flatnonzero(changes == 0)
    ax.plot([low] * len(same), same, "o", color="none", markeredgecolor=ink.soft, markersize=size, clip_on=False, zorder=3)
    ax.set_xlim(low, max(changes[moved].max(initial=0.0) * 1.6, low * 100))
    ax.set_xlabel("relative change |after \u2212 before| / |before|")
    ax.grid(axis="x", color=ink.soft, alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right", "left"]].set_visible(False)
    role_legend(ax, [role for role, shown in zip(roles, moved, strict=True) if shown], ink)


def _name_the_largest(ax: Axes, rows: Sequence[Difference]) -> None:
    """Write the names of the weights that changed most next to their points, as far as they do not touch each other."""
    low, high = np.log10(ax.get_xlim())
    changes = {nth: change for nth, row in enumerate(rows) if np.isfinite(change := _change(row)) and change > 0}
    named: list[int] = []
    for nth in sorted(changes, key=lambda each: -changes[each]):
        if len(named) < MOST and all(abs(nth - other) >= len(rows) / APART for other in named):
            named.append(nth)
            left = (np.log10(changes[nth]) - low) / (high - low) < 0.45
            ax.annotate(
                shown(rows[nth].name, LETTERS),
                (changes[nth], nth),
                (5 if left else -5, 0),
                textcoords="offset points",
                ha="left" if left else "right",
                va="center",
                fontsize="x-small",
                color=inks(ax).text,
                bbox={"facecolor": inks(ax).ground, "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
                zorder=4,
            )


def _change(row: Difference) -> float:
    """Return the relative change: 0 if no bit differs, NaN if the weight changed but the relative change is undefined."""
    return row.relative or (np.nan if row.relative is None or row.changed else 0.0)


def _notes(result: Diff, rows: Sequence[Difference]) -> list[str]:
    changes = np.array([_change(row) for row in rows])
    same, undefined = int((changes == 0).sum()), int(np.isnan(changes).sum())
    bad = sum(row.nonfinite for row in rows)
    return [
        f"{counted(len(rows), 'weight')}, {same:,} unchanged" + (" (rings)" if same else ""),
        _unpaired(result),
        f"not drawn: {counted(undefined, 'weight')} with an undefined change (zero before, overflow, or NaN and Inf only)"
        if undefined
        else "",
        f"left out: {counted(bad, 'number')} with NaN or Inf on one side only" if bad else "",
    ]


def _unpaired(result: Diff) -> str:
    """Return a note that counts the weights without a partner; blank if there are none."""
    counts = {kind: sum(row.kind == kind for row in result.rows) for kind in UNPAIRED}
    parts = [f"{count:,} {UNPAIRED[kind]}" for kind, count in counts.items() if count]
    return f"not compared: {', '.join(parts)}" if parts else ""
