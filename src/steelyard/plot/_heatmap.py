"""`heatmap`: a weight as a matrix of coloured cells."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError
from steelyard.numerics.picture import Picture, cut_of, picture
from steelyard.plot.canvas import CELLS, axes_for, caption, entitle, inks, reach, shown, signed_colours
from steelyard.plot.sources import one_weight
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.numerics.picture import Window

OUTLIER = 3.0
"""The colour scale is clipped at its usual limit if the greatest magnitude is at least this many times as large."""
SQUARE = 6.0
"""Cells are square up to this ratio of the matrix's sides."""


def heatmap(
    source: Any,
    name: str | None = None,
    *,
    window: Window | None = None,
    vmax: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a weight as a heat map: blue is negative, orange positive, and zero the colour of the background.

    `source` is a `Weight`, or any source of weights; `name` selects one. A weight with more than two axes is unfolded
    into the matrix whose sides are most alike; `window` is a part of it (top, left, bottom, right). If there are more rows or
    columns than fit, each cell stands for several numbers: it has the one of greatest magnitude, with its sign, and the caption
    counts them. The scale of colours ends at plus and minus `vmax`, by default the greatest magnitude, or less if a few cells
    far exceed all others. Cells with NaN or Inf have the colour of the text.

    Numbers are read block by block. Raises `WeightNotFoundError`, `AmbiguityError` for several weights without a `name`, and
    `ShapeError` for a window outside of the matrix.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.heatmap({"w": np.array([[1.0, -3.0], [0.0, 2.0]])})
        >>> ax.images[0].get_array().tolist(), ax.images[0].get_clim()
        ([[1.0, -3.0], [0.0, 2.0]], (-3.0, 3.0))
    """
    weight = one_weight(source, name, lambda each: each.size, "a weight that holds numbers")
    if vmax is not None and not 0 < vmax < inf:
        raise ShapeError(f"vmax is {vmax}; it must be a positive number")
    drawn = picture(weight, CELLS, CELLS, window)
    end, beyond = _end(drawn) if vmax is None else (vmax, _beyond(drawn.values, vmax))
    top, left, bottom, right = drawn.window
    rows, columns = bottom - top, right - left
    ax = axes_for(ax, 6.4, min(max(5.0 * rows / columns, 1.9), 6.4))
    square = 1 / SQUARE <= rows / columns <= SQUARE
    height, width = drawn.values.shape
    image = ax.imshow(
        drawn.values,
        cmap=signed_colours(inks(ax)),
        norm=Normalize(-end, end),
        aspect="equal" if square else "auto",
        interpolation="nearest",
        extent=(left - 0.5, left + width * drawn.across - 0.5, top + height * drawn.down - 0.5, top - 0.5),
    )
    ax.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
    _axes(ax, weight, drawn)
    if np.isfinite(drawn.values).any():  # else no cell has a colour of the scale
        extend = "both" if beyond else "neither"
        bar = ax.figure.colorbar(image, ax=ax, label="weight value", extend=extend, fraction=0.05, pad=0.02)
        bar.outline.set_visible(False)
    entitle(ax, weight.name)
    caption(ax, _notes(weight, drawn, end, beyond))
    return ax


def _end(drawn: Picture) -> tuple[float, int]:
    """Return the limit of the colour scale, and the number of cells beyond it."""
    sizes = np.abs(drawn.values[np.isfinite(drawn.values)])
    greatest = float(sizes.max(initial=0.0))
    end = reach(drawn.usual if greatest >= OUTLIER * drawn.usual else greatest)
    return end, _beyond(drawn.values, end)


def _beyond(values: Array, end: float) -> int:
    return int((np.abs(values[np.isfinite(values)]) > end).sum())


def _axes(ax: Axes, weight: Weight, drawn: Picture) -> None:
    """Label rows and columns by the words of the weight's axes, and number them."""
    words = weight.axes.split()
    words = words if len(words) == len(weight.shape) else [f"axis {nth}" for nth in range(len(weight.shape))]
    cut = cut_of(weight.shape)
    for axis, parts, length in ((ax.yaxis, words[:cut], drawn.rows), (ax.xaxis, words[cut:], drawn.columns)):
        label = shown(" \u00d7 ".join(parts))
        axis.set_label_text(f"{label} ({length:,})" if parts else "")
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if not cut:
        ax.set_yticks([])
    ax.tick_params(length=2)
    ax.spines[:].set_visible(False)


def _notes(weight: Weight, drawn: Picture, end: float, beyond: int) -> list[str]:
    """Return notes on the weight, the numbers behind a cell, and the cells whose colours are not to scale."""
    shape = " \u00d7 ".join(map(str, weight.shape)) or "a single number"
    whole = drawn.window == (0, 0, drawn.rows, drawn.columns)
    bad = int(np.isnan(drawn.values).sum())
    return [
        f"{shape}, {weight.dtype}{'' if whole else '; a part of it'}; {drawn.caption}",
        f"{counted(beyond, 'cell')} beyond \u00b1{end:.3g}" if beyond else "",
        f"{counted(bad, 'cell')} with NaN or Inf, in the colour of text" if bad else "",
    ]
