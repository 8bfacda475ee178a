"""`overview`: how the numbers of all weights are spread, in one picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError
from steelyard.numerics.summary import summaries
from steelyard.plot.canvas import axes_for, caption, counted, inks, reach, role_colour, role_legend, shown
from steelyard.plot.rows import NAMED, height_of, label_rows
from steelyard.plot.sources import drawable, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.numerics.summary import Summary

KINDS = ("", "ridges", "strips")
BINS = 135
"""An odd number, so that zero lies in the middle of one."""
TOGETHER = ((1, 4000), (3, 400), (5, 0))
"""How many of them are put together for weights of at least so many numbers; odd as well."""
RISE = 1.7
"""How high the highest bin of a ridge is, in rows."""
SETTING = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
"""The roles whose numbers set the scale."""
SPREAD = 0.4
"""How much of the logarithmic part of the axis lies between two numbers on it."""
NEAREST = 1e-12
"""Where the axis ends to be even at the earliest, over where it ends."""
STRETCH = 2.5
"""How many times as far as theirs the numbers of others may reach on an axis that is even."""


def overview(source: Any, *, kind: str = "", ax: Axes | None = None) -> Axes:
    """Draw how the numbers of all weights are spread: a row for each in its order, coloured by role, on one axis.

    Up to forty weights are ridges, which show the form; more are strips, the stronger the more numbers lie there, and named by
    group: one picture is legible for several hundred weights. `kind` says which ("ridges" or "strips"). Each row has the scale
    of its own fullest bin; few numbers have wider bins. Where some numbers lie much farther out than most of the kernels', the
    axis is even about zero and logarithmic beyond, and the caption says where. Tied weights are drawn once. Rows that hold NaN
    or Inf are marked, and these numbers left out.

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
    edges, near = _scaled(ax, listed, found)
    shares = _shares(found, edges)
    ridges = kind == "ridges" or (not kind and len(listed) <= NAMED)
    (_ridges if ridges else _strips)(ax, listed, shares, edges)
    label_rows(ax, [weight.name for weight in listed])
    if ridges:
        ax.set_ylim(len(listed) - 0.4, -RISE)
    _finish(ax, listed, found, near)
    ax.set_title(_title(source))
    caption(ax, _notes(source, listed, found, near))
    return ax


def _scaled(ax: Axes, listed: Sequence[Weight], found: Sequence[Summary]) -> tuple[Array, float | None]:
    """Scale the axis so that kernels can be seen, and return the edges of the bins, and where it ends to be even, if it does."""
    ends = (abs(float(end or 0.0)) for s in found for end in (s.moments.minimum, s.moments.maximum))
    far = reach(max(ends))
    setting = [summary for summary, weight in zip(found, listed, strict=True) if weight.role in SETTING] or found
    usual = float(np.median([size for size in map(_usual, setting) if size] or [far]))
    near = _rounded(max(usual, far * NEAREST))
    ax.set_xlim(-far, far)
    if far <= STRETCH * near:
        return np.linspace(-far, far, BINS + 1), None
    ax.set_xscale("symlog", linthresh=near, linscale=float(np.log10(far / near)))
    ticks = _ticks(near, far)
    ax.set_xticks(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
    ax.set_xticks([], minor=True)
    scale = ax.xaxis.get_transform()
    low, high = scale.transform(np.array([-far, far]))
    edges: Array = np.array(scale.inverted().transform(np.linspace(low, high, BINS + 1)))
    edges[0], edges[-1] = -far, far  # as they are, not as the scale and its inverse round them
    return edges, near


def _usual(summary: Summary) -> float:
    """Return the magnitude that all but a few numbers have at most."""
    return max(abs(summary.quantile(share) or 0.0) for share in (0.01, 0.99))


def _rounded(number: float) -> float:
    """Return the next of 1, 2, 5 and their tens.

    >>> _rounded(0.013), _rounded(0.3), _rounded(7.1)
    (0.02, 0.5, 10.0)
    """
    power = 10.0 ** np.floor(np.log10(number))
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= number * 0.99):.1g}")


def _ticks(near: float, far: float) -> list[float]:
    """Return zero, where the axis ends to be even, and round numbers farther out that can be told apart, on both sides.

    >>> _ticks(0.2, 3000.0), _ticks(0.2, 0.97)
    ([-1000.0, -10.0, -0.2, 0.0, 0.2, 10.0, 1000.0], [-0.5, -0.2, 0.0, 0.2, 0.5])
    """
    powers = range(int(np.floor(np.log10(far))), int(np.floor(np.log10(near))) - 1, -1)
    apart = (far / near) ** SPREAD
    sizes = [far * apart]
    for size in (float(f"{step}e{power}") for power in powers for step in (5, 2, 1)):
        whole = size <= far and (far < 10 * near or f"{size:e}".startswith("1"))
        if whole and near * apart <= size <= sizes[-1] / apart:
            sizes.append(size)
    sizes = [near, *reversed(sizes[1:])]
    return [*(-size for size in reversed(sizes)), 0.0, *sizes]


def _shares(found: Sequence[Summary], edges: Array) -> Array:
    """Return for each weight and bin how many numbers lie there, over those of its fullest bin; few numbers have wider bins."""
    made = np.empty((len(found), BINS))
    for row, summary in zip(made, found, strict=True):
        together = next(width for width, least in TOGETHER if summary.moments.count >= least)
        row[:] = summary.counts(edges[::together]).repeat(together)
    shares: Array = made / np.maximum(made.max(axis=1, keepdims=True), 1)
    return shares


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


def _finish(ax: Axes, listed: Sequence[Weight], found: Sequence[Summary], near: float | None) -> None:
    ink = inks(ax)
    bad = [nth for nth, summary in enumerate(found) if not summary.finite]
    if bad:
        ax.plot([1.01] * len(bad), bad, "x", color=ink.text, markersize=5, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.axvline(0, color=ink.soft, linewidth=0.6, zorder=1)
    for end in (-near, near) if near else ():
        ax.axvline(end, color=ink.soft, linewidth=0.6, linestyle=":", zorder=1)
    ax.set_xlabel("weight value")
    ax.spines[["top", "right", "left"]].set_visible(False)
    role_legend(ax, [weight.role for weight in listed], ink)


def _title(source: Any) -> str:
    """Return the name of a file without its folder, or what kind of model it is."""
    if isinstance(source, (str, os.PathLike)):
        return shown(os.path.basename(os.path.normpath(os.fspath(source))))
    return "" if isinstance(source, (dict, list, Weight, Weights)) else shown(type(source).__name__)


def _notes(source: Any, listed: Sequence[Weight], found: Sequence[Summary], near: float | None) -> list[str]:
    tied = len(weights_of(source)) - len(listed)
    size = sum(weight.size for weight in listed)
    bad = sum(not summary.finite for summary in found)
    return [
        f"{counted(len(listed), 'weight')}, {counted(size, 'parameter')}; each row to the scale of its fullest bin",
        f"the axis is even up to \u00b1{near:g}, and logarithmic beyond" if near else "",
        f"{tied:,} tied or empty, not drawn" if tied else "",
        f"{counted(bad, 'weight')} with NaN or Inf (\u00d7), which {'is' if bad == 1 else 'are'} left out" if bad else "",
    ]
