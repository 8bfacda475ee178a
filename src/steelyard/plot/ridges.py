"""`overview`: how the numbers of all weights are spread, in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.summary import summaries
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.plot.canvas import axes_for, counted, heading, inks, role_colour, role_legend, shown
from steelyard.plot.rows import NAMED, height_of, label_rows
from steelyard.plot.sources import drawable, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.summary import Summary
    from steelyard.core.weight import Array

KINDS = ("", "ridges", "strips")
BINS = 121
"""An odd number, so that zero lies in the middle of one."""
RISE = 1.7
"""How high the highest bin of a ridge is, in rows."""
SETTING = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
"""The roles whose numbers set the scale."""
STRETCH = 6.0
"""How many times as far as theirs the numbers of others may reach on an axis that is even."""


def overview(source: Any, *, kind: str = "", title: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the numbers of all weights are spread: a row for each in its order, coloured by role, on one axis.

    Up to forty weights are ridges, which show the form; more are strips, the darker the more numbers lie there, and named by
    group: one picture is legible for several hundred weights. `kind` says which ("ridges" or "strips"). Each row has the scale
    of its own fullest bin. Where biases or statistics reach much farther than kernels, the axis is even about zero and
    logarithmic farther out. Tied weights are drawn once; rows that hold NaN or Inf are marked, and these left out.

    Every number is read once, block by block. Raises `ShapeError` where there are no numbers.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.overview({"fc": {"kernel": np.eye(3), "bias": np.zeros(3)}})
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['fc.kernel', 'fc.bias']
    """
    if kind not in KINDS:
        raise ShapeError(f'kind is {kind!r}; it must be "ridges" or "strips", or be left out')
    listed = drawable(source)
    found = list(summaries(listed))
    ax = axes_for(ax, 7.0, height_of(len(listed)))
    edges = _edges(ax, listed, found)
    bins = np.array([summary.counts(edges) for summary in found], float)
    shares = bins / np.maximum(bins.max(axis=1, keepdims=True), 1)
    ridges = kind == "ridges" or (not kind and len(listed) <= NAMED)
    (_ridges if ridges else _strips)(ax, listed, shares, edges)
    label_rows(ax, [weight.name for weight in listed])
    if ridges:
        ax.set_ylim(len(listed) - 0.4, -RISE)
    _finish(ax, listed, found)
    heading(ax, _title(source, title), _notes(source, listed, found))
    return ax


def _edges(ax: Axes, listed: Sequence[Weight], found: Sequence[Summary]) -> Array:
    """Return the edges of the bins on a scale on which kernels can be seen, and set the axis to it."""
    reach = np.array([max(abs(s.moments.minimum or 0.0), abs(s.moments.maximum or 0.0)) for s in found], float)
    far = float(reach.max()) or 1.0
    usual = [_usual(s) for s, weight in zip(found, listed, strict=True) if weight.role in SETTING] or [_usual(s) for s in found]
    near = float(np.median([size for size in usual if size] or [far]))
    if far <= STRETCH * near:
        ax.set_xlim(-far * 1.03, far * 1.03)
        return np.linspace(-far, far, BINS + 1)
    ax.set_xscale("asinh", linear_width=near, base=10)
    ax.set_xlim(-far * 1.1, far * 1.1)
    ticks = _ticks(near, far)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    end = np.arcsinh(far / near)
    edges: Array = np.sinh(np.linspace(-end, end, BINS + 1)) * near
    edges[0], edges[-1] = -far, far
    return edges


def _usual(summary: Summary) -> float:
    """Return the magnitude that all but a few numbers have at most."""
    return max(abs(summary.quantile(share) or 0.0) for share in (0.01, 0.99))


def _ticks(near: float, far: float) -> list[float]:
    """Return zero, and powers of ten on both sides, no more than can be told apart."""
    low, high = int(np.ceil(np.log10(near))), int(np.floor(np.log10(far)))
    powers = list(range(high, low - 1, -max((high - low) // 3, 1))) or [high]
    sizes = [float(f"1e{power}") for power in powers[::-1]]
    return [*(-size for size in sizes[::-1]), 0.0, *sizes]


def _ridges(ax: Axes, listed: Sequence[Weight], shares: Array, edges: Array) -> None:
    ink = inks(ax)
    for nth, (weight, share) in enumerate(zip(listed, shares, strict=True)):
        colour = role_colour(weight.role, ink)
        steps = np.repeat(nth - RISE * 0.9 * share, 2)
        places = np.repeat(edges, 2)[1:-1]
        ax.fill_between(places, nth, steps, color=colour, alpha=0.75, linewidth=0, zorder=2 + nth)
        ax.plot(places, steps, color=ink.ground, linewidth=0.7, zorder=2 + nth)
        ax.plot(edges[[0, -1]], [nth, nth], color=colour, linewidth=0.6, zorder=2 + nth)


def _strips(ax: Axes, listed: Sequence[Weight], shares: Array, edges: Array) -> None:
    ink = inks(ax)
    colours = np.empty((*shares.shape, 4))
    colours[..., :3] = np.array([role_colour(weight.role, ink) for weight in listed])[:, None]
    colours[..., 3] = np.sqrt(shares)
    ax.pcolormesh(edges, np.arange(len(listed) + 1) - 0.5, colours, rasterized=True)


def _finish(ax: Axes, listed: Sequence[Weight], found: Sequence[Summary]) -> None:
    ink = inks(ax)
    bad = [nth for nth, summary in enumerate(found) if not summary.finite]
    if bad:
        ax.plot([1.01] * len(bad), bad, "x", color=ink.text, markersize=5, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.axvline(0, color=ink.soft, linewidth=0.6, zorder=1)
    ax.set_xlabel("weight value")
    ax.spines[["top", "right", "left"]].set_visible(False)
    role_legend(ax, [weight.role for weight in listed], ink)


def _title(source: Any, title: str | None) -> str:
    if title is not None:
        return title
    return shown(source) if isinstance(source, str) else type(source).__name__ if not isinstance(source, dict) else ""


def _notes(source: Any, listed: Sequence[Weight], found: Sequence[Summary]) -> list[str]:
    tied = len(weights_of(source)) - len(listed)
    size = sum(weight.size for weight in listed)
    bad = sum(not summary.finite for summary in found)
    rest = f"; {tied:,} tied or empty ones are not drawn" if tied else ""
    return [
        f"{counted(len(listed), 'weight')}, {counted(size, 'parameter')}; each row to the scale of its fullest bin{rest}",
        f"{counted(bad, 'weight')} with NaN or Inf (\u00d7), which {'is' if bad == 1 else 'are'} left out" if bad else "",
    ]
