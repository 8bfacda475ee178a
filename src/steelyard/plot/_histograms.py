"""`histograms`: the distribution of the numbers of each weight, in a panel of its own."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError
from steelyard.numerics.summary import summaries
from steelyard.plot.canvas import LARGEST, axes_for, caption, inks, left_out, role_colour, shown
from steelyard.plot.sources import drawable
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.numerics.summary import Summary

BINS, LIMIT = 60, 12
ACROSS = 4  # panels in a row, at most
WIDE, HIGH = 2.7, 1.9  # inches of a panel
ALIKE = 1e-9  # relative range below which an axis cannot separate the numbers
POWERS = ("", "k", "M", "G", "T")
ROOM = 0.3  # free space above the highest bar, relative to its height


def histograms(source: Any, *, bins: int = BINS, limit: int = LIMIT, log: bool = False, ax: Axes | None = None) -> Axes:
    """Draw a histogram of each weight in a panel of its own: counts per bin, from the least to the greatest number.

    Only the first `limit` weights are drawn, which the caption notes; `plot.overview` draws all of them in one picture, and
    `steelyard.weights(source).select(...)` selects others. `log` makes the axis of counts logarithmic, which shows the tails.
    NaN and Inf are left out, and the panel counts them; complex numbers are drawn by their magnitude. The panels are the
    `child_axes` of the Axes; for a single weight the panel is the Axes itself.

    Every number is read once, block by block. The counts are those of `steelyard.stats`: exact for dtypes of one or two bytes,
    otherwise each number is placed within 1/256 of its value. Raises `ShapeError` if there are no numbers or no bins.

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
    measured = list(summaries(drawn))
    across = min(len(drawn), ACROSS if len(drawn) > 4 else max(ceil(sqrt(len(drawn))), 1))
    down = ceil(len(drawn) / across)
    size = (6.4, 4.0) if len(drawn) == 1 else (WIDE * across, HIGH * down + 0.4)
    ax = axes_for(ax, *size)
    panels = [ax] if len(drawn) == 1 else _panels(ax, len(drawn), across, down)
    for nth, (panel, weight, summary) in enumerate(zip(panels, drawn, measured, strict=True)):
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
    panels = []
    for nth in range(count):
        left, top = nth % across * width, 1 - nth // across * height
        box = (left + width * 0.17, top - height * 0.74, width * 0.8, height * 0.64)
        panels.append(ax.inset_axes(box))
    return panels


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
    if not log:
        ax.locator_params(axis="y", nbins=5)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda count, _: short(count)))
    ax.set_title(shown(weight.name, 34), fontsize="medium")
    ax.margins(y=ROOM)
    facts = "\n".join(filter(None, (*_facts(summary), left_out(summary.nan, summary.inf))))
    ax.text(0.99, 0.99, facts, transform=ax.transAxes, ha="right", va="top", fontsize="x-small", color=ink.soft)


def short(count: float) -> str:
    """Return a count as the short label of a tick, so that it does not reach into the panel to the left.

    >>> short(950), short(10000), short(2.5e6)
    ('950', '10k', '2.5M')
    """
    power = min(max(int(np.log10(max(count, 1.0)) // 3), 0), len(POWERS) - 1)
    return f"{count / 1000**power:g}{POWERS[power]}"


def _counts(summary: Summary, bins: int) -> tuple[Array, Array]:
    """Return counts and edges in the layout of `numpy.histogram`."""
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
