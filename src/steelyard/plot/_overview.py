"""`overview`: the distributions of the numbers of all weights, in one picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError
from steelyard.numerics.summary import Summary, summaries
from steelyard.plot.canvas import axes_for, caption, inks, reach, role_colour, role_legend, shown
from steelyard.plot.rows import NAMED, height_of, label_rows
from steelyard.plot.sources import drawable, weights_of
from steelyard.storage.opening import public
from steelyard.text.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.weight import Array

KINDS = ("", "ridges", "strips")
BINS = 135
"""An odd number, so that zero is in the middle of a bin."""
MERGED_BINS = ((1, 4000), (3, 400), (5, 0))
"""How many bins are merged into one, by the least size of a weight; odd too."""
RISE = 1.7  # height of the densest bin of a ridge, in rows
SCALE_ROLES = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
"""The roles whose numbers determine the scale of the axis."""
TICK_DISTANCE = 0.4  # least distance of two ticks, relative to the length of the logarithmic part
LETTER, ROOM = 6.5, 0.72
"""The width of a letter of a tick's label in points, and the part of the width that names and the legend leave."""
MOST_STRIPS = 2000
"""More rows would be thinner than a pixel, and take memory."""
NEAREST = 1e-12  # least end of the linear part, relative to the end of the axis
STRETCH = 2.5  # a linear axis may reach this many times as far as the numbers of the kernels


def overview(source: Any, *, kind: str = "", ax: Axes | None = None) -> Axes:
    """Draw the distributions of the numbers of all weights on one axis: a row for each weight, in order, coloured by role.

    Up to forty weights are ridges, which show the shape of the distribution. More are strips, whose opacity shows the density
    and whose labels are groups of names, so that several hundred weights are legible in one picture. `kind` forces "ridges" or
    "strips". The density is the count of a bin divided by its width, so that a uniform distribution is flat on any axis; each
    row is scaled to its densest bin, and weights of few numbers have wider bins. If some numbers are much larger than most of
    the kernels', the axis is linear around zero and logarithmic beyond, and the caption gives the limit. Tied weights are drawn
    once. Rows with NaN or Inf are marked, and these numbers left out.

    Every number is read once, block by block. Raises `ShapeError` if there are no numbers.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.overview({"fc": {"kernel": np.eye(3), "bias": np.zeros(3)}})
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['fc.kernel', 'fc.bias']
    """
    if kind not in KINDS:
        raise ShapeError(f'kind is {kind!r}; it must be "ridges" or "strips", or be left out')
    listed = drawable(source)
    stats = list(summaries(listed))
    ax = axes_for(ax, 7.0, height_of(len(listed)))
    edges, near = _scaled(ax, listed, stats)
    ridges = kind == "ridges" or (not kind and len(listed) <= NAMED)
    (_ridges if ridges else _strips)(ax, listed, stats, edges)
    label_rows(ax, [weight.name for weight in listed])
    if ridges:
        ax.set_ylim(len(listed) - 0.4, -RISE)
    _finish(ax, listed, stats, near)
    ax.set_title(_title(source))
    caption(ax, _notes(source, listed, stats, near, 1 if ridges else _together(listed)))
    return ax


def _scaled(ax: Axes, listed: Sequence[Weight], stats: Sequence[Summary]) -> tuple[Array, float | None]:
    """Scale the axis so that kernels are visible; return the edges of the bins, and the end of the linear part, if any."""
    ends = (abs(float(end or 0.0)) for s in stats for end in (s.moments.minimum, s.moments.maximum))
    far = reach(max(ends))
    setting = [summary for summary, weight in zip(stats, listed, strict=True) if weight.role in SCALE_ROLES] or stats
    usual = float(np.median([size for size in map(_usual, setting) if size] or [far]))
    near = _rounded(max(usual, far * NEAREST))
    ax.set_xlim(-far, far)
    if far <= STRETCH * near:
        return np.linspace(-far, far, BINS + 1), None
    ax.set_xscale("symlog", linthresh=near, linscale=float(np.log10(far / near)))
    width = ax.get_window_extent().width / ax.figure.dpi * 72  # before constrained layout, which makes room for the labels
    ticks = _ticks(near, far, width * ROOM / LETTER / 2)
    ax.set_xticks(ticks, list(map(_label, ticks)))
    ax.set_xticks([], minor=True)
    scale = ax.xaxis.get_transform()
    low, high = scale.transform(np.array([-far, far]))
    edges: Array = np.array(scale.inverted().transform(np.linspace(low, high, BINS + 1)))
    edges[0], edges[-1] = -far, far  # exactly, without the rounding of the scale and its inverse
    return edges, near


def _usual(summary: Summary) -> float:
    """Return the magnitude that 98% of the numbers do not exceed."""
    return max(abs(end or 0.0) for end in summary.quantiles((0.01, 0.99)))


def _rounded(number: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten.

    >>> _rounded(0.013), _rounded(0.3), _rounded(7.1)
    (0.02, 0.5, 10.0)
    """
    power = 10.0 ** np.floor(np.log10(number))
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= number * 0.99):.1g}")


def _ticks(near: float, far: float, room: float) -> list[float]:
    """Return the ticks: zero, the ends of the linear part, and round numbers beyond whose labels do not touch.

    `room` is the number of letters that fit between zero and the end of the axis; half of them are for the logarithmic part.

    >>> _ticks(0.2, 3000.0, 26), _ticks(0.2, 0.97, 26)
    ([-1000.0, -10.0, -0.2, 0.0, 0.2, 10.0, 1000.0], [-0.5, -0.2, 0.0, 0.2, 0.5])
    >>> _ticks(500.0, 2100.0, 20), _ticks(500.0, 2100.0, 40)
    ([-2000.0, -500.0, 0.0, 500.0, 2000.0], [-2000.0, -1000.0, -500.0, 0.0, 500.0, 1000.0, 2000.0])
    """

    def place(size: float) -> float:
        return room / 2 * (1 + float(np.log(size / near) / np.log(far / near)))

    powers = range(int(np.floor(np.log10(far))), int(np.floor(np.log10(near))) - 1, -1)
    apart = (far / near) ** TICK_DISTANCE if far >= 10 * near else 1.0
    sizes: list[float] = []
    for size in (float(f"{step}e{power}") for power in powers for step in (5, 2, 1)):
        whole = near < size <= far and (far < 10 * near or f"{size:e}".startswith("1"))
        above = sizes[-1] if sizes else np.inf
        if (
            whole
            and near * apart <= size <= above / apart
            and all(
                abs(place(size) - place(other)) >= (len(_label(size)) + len(_label(other))) / 2 + 1
                for other in (*sizes[-1:], near)
            )
        ):
            sizes.append(size)
    sizes = [near, *reversed(sizes)]
    return [*(-size for size in reversed(sizes)), 0.0, *sizes]


def _label(tick: float) -> str:
    return f"{tick:g}".replace("-", "\u2212")


def _densities(stats: Sequence[Summary], edges: Array) -> Array:
    """Return the density per weight and bin, relative to the densest bin of the weight; few numbers have wider bins.

    Bins of the logarithmic part are wider the farther from zero they are, so counts alone would show peaks that are not there.
    """
    heights = np.empty((len(stats), BINS))
    widths = {merged: np.diff(edges[::merged]) for merged, _ in MERGED_BINS}
    for row, summary in zip(heights, stats, strict=True):
        merged = next(bins for bins, least in MERGED_BINS if summary.moments.count >= least)
        row[:] = (summary.counts(edges[::merged]) / widths[merged]).repeat(merged)
    most = heights.max(axis=1, keepdims=True)
    densities: Array = heights / np.where(most > 0, most, 1.0)
    return densities


def _ridges(ax: Axes, listed: Sequence[Weight], stats: Sequence[Summary], edges: Array) -> None:
    ink = inks(ax)
    for nth, (weight, density) in enumerate(zip(listed, _densities(stats, edges), strict=True)):
        colour = role_colour(weight.role, ink)
        steps = np.repeat(nth - RISE * 0.9 * density, 2)
        places = np.repeat(edges, 2)[1:-1]
        ax.fill_between(places, nth, steps, color=colour, alpha=0.75, linewidth=0, zorder=2 + nth)
        ax.plot(places, steps, color=ink.ground, linewidth=0.7, zorder=2 + nth)
        ax.plot(edges[[0, -1]], [nth, nth], color=colour, linewidth=0.6, zorder=2 + nth)


def _strips(ax: Axes, listed: Sequence[Weight], stats: Sequence[Summary], edges: Array) -> None:
    """Draw a strip for each weight, or one for some that follow each other, where a weight would be thinner than a pixel."""
    ink, together = inks(ax), _together(listed)
    starts = range(0, len(listed), together)
    colours = np.empty((len(starts), BINS, 4))
    for row, start in zip(colours, starts, strict=True):
        own = _by_role(listed[start : start + together], stats[start : start + together])
        opacities = np.sqrt(_densities([summary for summary, _ in own.values()], edges))
        parts = opacities * np.array([[count] for _, count in own.values()])
        whole = parts.sum(axis=0)
        shares = np.divide(parts, whole, out=np.full_like(parts, 1 / len(parts)), where=whole > 0)
        row[:, :3] = shares.T @ np.array([role_colour(role, ink) for role in own])
        row[:, 3] = whole / min(together, len(listed) - start)
    ax.pcolormesh(edges, np.array([*starts, len(listed)]) - 0.5, colours, rasterized=True)


def _together(listed: Sequence[Weight]) -> int:
    """Return how many weights share a strip."""
    return -(-len(listed) // MOST_STRIPS)


def _by_role(listed: Sequence[Weight], stats: Sequence[Summary]) -> dict[Role, tuple[Summary, int]]:
    """Return what some weights have together and their number, by role; the numbers of each count as much as their count."""
    if len(listed) == 1:
        return {listed[0].role: (stats[0], 1)}
    found: dict[Role, tuple[Summary, int]] = {}
    for weight, summary in zip(listed, stats, strict=True):
        merged, count = found.get(weight.role) or (Summary(), 0)
        merged.merge(summary)
        found[weight.role] = merged, count + 1
    return found


def _finish(ax: Axes, listed: Sequence[Weight], stats: Sequence[Summary], near: float | None) -> None:
    ink = inks(ax)
    bad = [nth for nth, summary in enumerate(stats) if not summary.finite]
    if bad:
        ax.plot([1.01] * len(bad), bad, "x", color=ink.text, markersize=5, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.axvline(0, color=ink.soft, linewidth=0.6, zorder=1)
    for end in (-near, near) if near else ():
        ax.axvline(end, color=ink.soft, linewidth=0.6, linestyle=":", zorder=1)
    ax.set_xlabel("weight value")
    ax.spines[["top", "right", "left"]].set_visible(False)
    role_legend(ax, [weight.role for weight in listed], ink)


def _title(source: Any) -> str:
    """Return the name of a file without its folder, or the class of a model."""
    if isinstance(source, (str, os.PathLike)):
        return shown(os.path.basename(os.path.normpath(public(os.fspath(source)))))
    return "" if isinstance(source, (dict, list, Weight, Weights)) else shown(type(source).__name__)


def _notes(source: Any, listed: Sequence[Weight], stats: Sequence[Summary], near: float | None, together: int) -> list[str]:
    tied = len(weights_of(source)) - len(listed)
    bad = sum(not summary.finite for summary in stats)
    rows = "each row" if together == 1 else f"each row of {together} weights"
    return [
        f"{counted(len(listed), 'weight')}, {weights_of(source).counts}; {rows} scaled to its densest bin",
        f"the axis is linear up to \u00b1{near:g} and logarithmic beyond" if near else "",
        f"{tied:,} tied or empty, not drawn" if tied else "",
        f"{counted(bad, 'weight')} with NaN or Inf (\u00d7), left out" if bad else "",
    ]
