"""`histograms`: how the numbers of weights are spread, a panel for each."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError
from steelyard.numerics.summary import summaries
from steelyard.plot.canvas import LARGEST, axes_for, caption, counted, inks, left_out, role_colour, shown
from steelyard.plot.sources import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.numerics.summary import Summary

BINS, LIMIT = 60, 12
ACROSS = 4
"""Panels beside one another, at most."""
WIDE, HIGH = 2.7, 1.9
"""Inches of a panel."""
ALIKE = 1e-9
"""How near two numbers must be, over their magnitude, for an axis not to tell them apart."""
ROOM = 0.3
"""What stays free above the highest bar for the facts, over its height."""


def histograms(source: Any, *, bins: int = BINS, limit: int = LIMIT, log: bool = False, ax: Axes | None = None) -> Axes:
    """Draw how the numbers of each weight are spread: counts per bin, from the least to the greatest, a panel for each.

    Of many weights the first `limit` are drawn, and the caption says so; `plot.overview` has all of them in one picture, and
    `steelyard.weights(source).select(...)` others. `log` counts on a logarithmic axis, which shows the tails. NaN and Inf are
    counted in the panel and left out; complex numbers go by their magnitude. The panels are the `child_axes` of the Axes; of
    a single weight it is the Axes itself.

    Every number is read once, block by block: the counts are those of `steelyard.stats`, exact for types of one or two bytes
    and else within 1/256 of a number's place. Raises `ShapeError` where there are no numbers, or fewer bins than one.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.histograms({"w": np.array([0.0, 1.0, 1.0, 4.0])}, bins=4)
        >>> ax.patches[0].get_data().values.tolist(), ax.get_title()
        ([1, 2, 0, 1], 'w')
    """
    if bins < 1 or limit < 1:
        raise ShapeError(f"bins is {bins} and limit {limit}; both must be positive")
    listed = drawable(source)
    drawn = listed[:limit]
    found = list(summaries(drawn))
    across = min(len(drawn), ACROSS if len(drawn) > 4 else max(ceil(sqrt(len(drawn))), 1))
    down = ceil(len(drawn) / across)
    size = (6.4, 4.0) if len(drawn) == 1 else (WIDE * across, HIGH * down + 0.4)
    ax = axes_for(ax, *size)
    panels = [ax] if len(drawn) == 1 else _panels(ax, len(drawn), across, down)
    for nth, (panel, weight, summary) in enumerate(zip(panels, drawn, found, strict=True)):
        _panel(panel, weight, summary, bins, log=log)
        panel.set_xlabel("weight value" if nth >= len(drawn) - across else "")
        panel.set_ylabel("count per bin" if nth % across == 0 else "")
    if len(drawn) < len(listed):
        note = f"the first {len(drawn):,} of {counted(len(listed), 'weight')}; overview draws them all"
        caption(ax, [note])
    return ax


def _panels(ax: Axes, count: int, across: int, down: int) -> list[Axes]:
    """Lay out panels inside an Axes."""
    ax.set_axis_off()
    width, height = 1 / across, 1 / down
    made = []
    for nth in range(count):
        left, top = nth % across * width, 1 - nth // across * height
        box = (left + width * 0.17, top - height * 0.74, width * 0.8, height * 0.64)
        made.append(ax.inset_axes(box))
    return made


def _panel(ax: Axes, weight: Weight, summary: Summary, bins: int, *, log: bool) -> None:
    ink = inks(ax)
    counts, edges = _counts(summary, bins)
    colour = role_colour(weight.role, ink)
    ax.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
    if edges[0] < 0 < edges[-1]:
        ax.axvline(0, color=ink.soft, linewidth=0.6, zorder=0)
    if log and counts.any():
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5)
    ax.set_xlim(edges[0], edges[-1])
    ax.spines[["top", "right"]].set_visible(False)
    ax.locator_params(axis="x", nbins=4)
    ax.set_title(shown(weight.name, 34), fontsize="medium")
    ax.margins(y=ROOM)
    facts = "\n".join(filter(None, (*_facts(summary), left_out(summary.nan, summary.inf))))
    ax.text(0.99, 0.99, facts, transform=ax.transAxes, ha="right", va="top", fontsize="x-small", color=ink.soft)


def _counts(summary: Summary, bins: int) -> tuple[Array, Array]:
    """Return the counts and the edges as `numpy.histogram` has them."""
    moments = summary.moments
    low, high = (float(np.clip(float(end or 0.0), -LARGEST, LARGEST)) for end in (moments.minimum, moments.maximum))
    if high - low <= abs(high) * ALIKE:
        half = max(0.5, abs(high) * 2 * ALIKE)
        low, high = low - half, high + half
    edges = np.linspace(low, high, bins + 1)
    return summary.counts(edges), edges


def _facts(summary: Summary) -> tuple[str, str]:
    moments = summary.moments
    return counted(moments.count, "number"), f"sd {moments.std:.3g}" if moments.std is not None else ""
