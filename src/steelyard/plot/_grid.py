"""`grid`: a net as a grid of coloured cells, blocks by parts."""

from __future__ import annotations

from math import ceil, floor, log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colors
from matplotlib.transforms import BboxTransformTo, ScaledTranslation, blended_transform_factory

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError
from steelyard.measures.grid import Grid
from steelyard.measures.grid import grid as measured
from steelyard.plot.canvas import Inks, axes_for, caption, inks, shown, signed_colours
from steelyard.plot.sources import weights_of
from steelyard.text.grid_cells import all_cells, labels_of, number, remarks, title, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from steelyard.measures.grid.values import Cell

NAMED = 64
"""Rows or columns up to which each has a label; of more, some have."""
LETTERS, LETTER = 40, 0.075
"""Characters of a label at most, and the inches that one takes."""
ROW, GAP = 0.24, 0.12
"""The inches of a row, and those between the grid and the row of other weights."""
BELOW = 32
"""Weights outside of the blocks that are drawn; the rest is counted."""


def grid(source: Any, *, value: str | None = None, before: Any = None, ax: Axes | None = None, **how: Any) -> Axes:
    """Draw a net as a grid: rows are its blocks, columns their parts, and the colour of a cell is one number of its weight.

    `value`, `before` and `how` are those of `steelyard.grid`: the default is the standard deviation, or with `before` the
    relative change. `source` may also be a `Grid` that is already measured. Weights outside of the blocks, such as embeddings,
    are the cells of the row below, which is the Axes' only child. The scale of colours is logarithmic for magnitudes; a dot
    is a weight whose number is zero, such as one that did not change, a cross one with NaN or Inf, a dash one without a number.

    Numbers are read block by block. Raises the errors of `steelyard.grid`, and `ShapeError` if there is nothing to draw.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.grid({f"h.{nth}.{part}.weight": np.eye(2) for nth in range(3) for part in ("attn", "mlp")})
        >>> [label.get_text() for label in ax.get_yticklabels()], ax.images[0].get_array().shape
        (['h.0', 'h.1', 'h.2'], (3, 2))
    """
    found = source if isinstance(source, Grid) else _measured(source, before, value=value, **how)
    if not any(cell.value is not None or cell.nonfinite for cell in all_cells(found)):
        raise ShapeError("there is nothing to draw: the source has no weight with numbers")
    ax = axes_for(ax, *_size(found))
    image = _draw(ax, found.cells, found)
    _label(ax, found)
    _scale(ax, image, found)
    below = _below(ax, found)
    caption(ax if below is None else below, _notes(found, _letters(ax)))
    return ax


def _measured(source: Any, before: Any, **how: Any) -> Grid:
    source, before = (weights_of(each) if isinstance(each, Weight) else each for each in (source, before))
    return measured(source, before=before, **how)


def _size(found: Grid) -> tuple[float, float]:
    """Return the width and the height in inches that the cells and their labels take."""
    beside, above = (LETTER * min(max(map(len, names)), LETTERS) for names in (found.rows, found.columns))
    below = max((LETTER * min(len(cell.names[0]), LETTERS) + ROW + GAP for cell in found.outside[:BELOW]), default=0.0)
    across = max(len(found.columns), min(len(found.outside), BELOW) // 2, 6)
    return 1.8 + beside + min(0.32 * across, 13.0), 1.2 + above + below + min(ROW * max(len(found.rows), 4), 13.0)


def _draw(ax: Axes, cells: Sequence[Sequence[Cell | None]], found: Grid) -> AxesImage:
    """Draw the colours and the marks of cells, apart from each other."""
    ink, signed = inks(ax), found.scale.kind == "signed"
    shares = [[np.nan if cell is None else found.scale.share(cell.value) for cell in row] for row in cells]
    image = ax.imshow(
        np.array(shares, float),
        cmap=(signed_colours if signed else _magnitudes)(ink),
        norm=colors.Normalize(-1 if signed else 0, 1),
        aspect="auto",
        interpolation="nearest",
    )
    apart = 1.0 if max(len(cells), len(cells[0])) <= NAMED else 0.2
    for axis, count in ((ax.yaxis, len(cells)), (ax.xaxis, len(cells[0]))):
        axis.set_ticks(np.arange(count + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=ink.ground, linewidth=apart)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    _marks(ax, cells, found, ink)
    return image


def _magnitudes(ink: Inks) -> colors.Colormap:
    """Return the map of magnitudes: the half of signed numbers above zero, which begins with the background."""
    above = signed_colours(ink)(np.linspace(0.5, 1.0, 256))
    return colors.ListedColormap(above).with_extremes(bad=(0, 0, 0, 0))


def _marks(ax: Axes, cells: Sequence[Sequence[Cell | None]], found: Grid, ink: Inks) -> None:
    """Mark the cells of which the colour does not say all."""
    places: dict[str, list[tuple[int, int]]] = {}
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell is not None and (mark := _mark(cell, found)):
                places.setdefault(mark, []).append((x, y))
    for mark, some in places.items():
        across, down = zip(*some, strict=True)
        colour, size = (ink.soft, 2.5) if mark == "." else (ink.text, 5.5)
        ax.plot(across, down, marker=mark, color=colour, markersize=size, linestyle="none")


def _mark(cell: Cell, found: Grid) -> str:
    """Return the marker of a cell; blank for one of which the colour says all."""
    if cell.nonfinite and found.value != "nonfinite":
        return "x"
    if cell.value is None:
        return "_"
    return "" if found.scale.share(cell.value) else "."


def _label(ax: Axes, found: Grid) -> None:
    """Label rows and columns; of too many, some."""
    for axis, names in ((ax.yaxis, found.rows), (ax.xaxis, found.columns)):
        step = -(-len(names) // NAMED)
        axis.set_ticks(range(0, len(names), step), [shown(name, LETTERS) for name in names[::step]])
        axis.set_tick_params(labelsize="small" if len(names) <= NAMED // 2 else "x-small")
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_title(_in_lines(title(found, labels_of(found)), _letters(ax) * 5 // 8), fontsize="medium", pad=8)


def _scale(ax: Axes, image: AxesImage, found: Grid) -> None:
    """Draw the scale of colours, with its numbers."""
    kind, low, high = found.scale
    if not high:
        return
    values = [cell.value for cell in found.outside if cell.value]
    beyond = any(value < low for value in values), any(value > high for value in values)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=28, extend=extend)
    decades = [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)] if kind == "logarithmic" else []
    apart = [tick for tick in decades if all(abs(found.scale.share(tick) - found.scale.share(end)) > 0.06 for end in (low, high))]
    ticks = [low, *apart, high] if decades else [low, (low + high) / 2, high]
    bar.set_ticks([found.scale.share(tick) for tick in ticks], labels=[number(tick, found.value) for tick in ticks])
    root = ax.get_figure(root=True)
    bar.set_label("\n".join(wrap(found.what, int(9 * root.get_figheight()) if root else 40)))
    bar.outline.set_visible(False)


def _below(ax: Axes, found: Grid) -> Axes | None:
    """Draw the weights outside of the blocks in a row below the grid, as wide as its cells where they fit."""
    if not found.outside:
        return None
    some = found.outside[:BELOW]
    # across in data, so that cells are in line; down in inches, so that the layout need not know how high the rows will be
    inches = ax.figure.dpi_scale_trans + ScaledTranslation(0, 0, BboxTransformTo(ax.bbox))
    place = blended_transform_factory(ax.transData, inches)
    below = ax.inset_axes((-0.5, -ROW - GAP, len(found.columns), ROW), transform=place)
    below.set_facecolor("none")
    _draw(below, [some], found)
    below.set_xlim(-0.5, max(len(some), len(found.columns)) - 0.5)
    below.set_yticks([])
    below.set_xticks(range(len(some)), [shown(cell.names[0], LETTERS) for cell in some], rotation=90, fontsize="small")
    return below


def _letters(ax: Axes) -> int:
    """Return the characters of a line that fit into the figure."""
    root = ax.get_figure(root=True)
    return max(int(12 * root.get_figwidth()), 40) if root else 80


def _in_lines(text: str, letters: int) -> str:
    """Break a title that is too long after its first colon, and its parts at spaces."""
    parts = [text] if len(text) <= letters else text.replace(": ", ":\n", 1).split("\n")
    return "\n".join(line for part in parts for line in wrap(part, letters))


def _notes(found: Grid, letters: int) -> list[str]:
    """Return what the colours leave out, in lines of at most so many letters."""
    hidden = len(found.outside) - BELOW
    more = [f"{hidden:,} more weights outside of the blocks are not drawn"] if hidden > 0 else []
    return [part for line in (*more, *remarks(found), *wrong(found)) for part in wrap(shown(line, 3 * letters), letters)]
