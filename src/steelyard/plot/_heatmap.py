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
from steelyard.plot.canvas import CELLS, axes_for, caption, counted, inks, reach, shown, signed_colours
from steelyard.plot.sources import one_weight

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.numerics.picture import Window

OUTLIER = 3.0
"""How many times the usual end of the colours the greatest number must be, for the colours to end before it."""
SQUARE = 6.0
"""How many times as long as wide a matrix may be, for its cells to be drawn square."""


def heatmap(
    source: Any,
    name: str | None = None,
    *,
    window: Window | None = None,
    vmax: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a weight as a heat map: blue is negative, red positive, and zero the colour of the ground.

    `source` is a `Weight`, or anything that has some, and `name` then says which. A weight of several axes is drawn as a
    matrix, cut where its sides are most alike; `window` is a part of it (top, left, bottom, right). Where there are more
    rows or columns than fit, each cell is the number of greatest magnitude, with its sign, and the caption says of how
    many. Colours end at plus and minus `vmax`: the greatest magnitude, or less where few cells are far beyond all others.
    Cells that hold NaN or Inf have the colour of the text.

    Numbers are read block by block. Raises `WeightNotFoundError`, `AmbiguityError` without a name where there are several,
    and `ShapeError` for a window that does not lie in the matrix.

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
    bar = ax.figure.colorbar(image, ax=ax, label="weight value", extend="both" if beyond else "neither", fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    ax.set_title(shown(weight.name))
    caption(ax, _notes(weight, drawn, end, beyond))
    return ax


def _end(drawn: Picture) -> tuple[float, int]:
    """Return where the colours end, and how many cells lie beyond."""
    sizes = np.abs(drawn.values[np.isfinite(drawn.values)])
    greatest = float(sizes.max(initial=0.0))
    end = reach(drawn.usual if greatest >= OUTLIER * drawn.usual else greatest)
    return end, _beyond(drawn.values, end)


def _beyond(values: Any, end: float) -> int:
    return int((np.abs(values[np.isfinite(values)]) > end).sum())


def _axes(ax: Axes, weight: Weight, drawn: Picture) -> None:
    """Say what rows and columns are, in the words of the weight's axes, and number them."""
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
    """Say what the weight is, what a cell is, and what the colours do not show."""
    shape = " \u00d7 ".join(map(str, weight.shape)) or "a single number"
    whole = drawn.window == (0, 0, drawn.rows, drawn.columns)
    bad = int(np.isnan(drawn.values).sum())
    return [
        f"{shape}, {weight.dtype}{'' if whole else '; a part of it'}; {drawn.caption}",
        f"{counted(beyond, 'cell')} beyond \u00b1{end:.3g}" if beyond else "",
        f"{counted(bad, 'cell')} with NaN or Inf, in the colour of text" if bad else "",
    ]
