"""`heads`: the heads of an attention layer as small heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import Normalize

from steelyard.errors import ShapeError
from steelyard.measures.heads import heads as heads_of
from steelyard.plot.canvas import axes_for, caption, entitle, inks, reach, signed_colours
from steelyard.plot.sources import weights_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.measures.heads import Heads, Part

LIMIT = 16  # heads that are drawn
ALONE = 8  # heads in a row, where a single kernel is drawn
WORDS = {"q": "queries", "k": "keys", "v": "values", "o": "output"}
WIDE, HIGH = 0.84, 0.74  # parts of its place that a panel takes


class Row(NamedTuple):
    """A row of panels: its label, the cells and the norms of its heads."""

    label: str
    values: Array
    norms: Array


def heads(source: Any, name: str | None = None, *, heads: int | None = None, limit: int = LIMIT, ax: Axes | None = None) -> Axes:
    """Draw the heads of an attention layer: a row each for queries, keys, values and the output, with a panel for each head.

    `name` is the name of the layer, or of one of its kernels; without it the first attention layer is drawn. In a panel each
    column is a dimension of the head, and each row an input (an output, for the output's kernel); the colours are those of
    `heatmap`, with one scale for all, and a cell is the largest of several numbers. Below each panel is the l2 norm of the head.
    `heads` is the number of heads; without it that of the axes, of the net's graph, or of a config.json next to the file.
    Only the first `limit` heads are drawn, which the caption notes.

    Kernels are found by the names and axes of common libraries, also fused ones. Raises `ShapeError` if there are none or the
    heads do not fit, and `AmbiguityError` if the number of heads is not known.

    Examples:
        >>> from steelyard import plot
        >>> from steelyard.core.readers import from_array
        >>> ax = plot.heads({"attn": {"q_proj": np.ones((6, 4)), "k_proj": np.eye(6)}}, heads=2)
        >>> ax.get_title(), [label.get_text() for label in ax.get_yticklabels()]
        ('attn', ['queries', 'keys'])
    """
    if limit < 1:
        raise ShapeError(f"limit is {limit}; it must be positive")
    found = heads_of(weights_of(source), name, heads)
    count = max(len(part.values) for part in found.parts)
    rows = _rows(found.parts, limit)
    across = max(len(row.values) for row in rows)
    ax = axes_for(ax, min(max(0.62 * across + 1.4, 6.4), 9.0), min(max(1.15 * len(rows), 2.4) + 1.0, 9.0))
    sizes = np.abs(np.concatenate([part.values[:limit].reshape(-1) for part in found.parts]))
    sizes = sizes[np.isfinite(sizes)]
    end = reach(float(np.quantile(sizes, 0.99, method="higher") or sizes.max()) if sizes.size else 0.0)
    for at, row in enumerate(rows):
        _draw(ax, row, at, end)
    ax.set(xlim=(-0.5, across - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="auto")
    _axes(ax, rows, across, several=len(found.parts) > 1)
    if sizes.size:  # else no cell has a colour of the scale
        extend = "both" if (sizes > end).any() else "neither"
        bar = ax.figure.colorbar(ax.images[0], ax=ax, label="weight value", extend=extend, fraction=0.04, pad=0.02)
        bar.outline.set_visible(False)
    entitle(ax, found.layer if len(found.parts) > 1 else found.parts[0].name)
    caption(ax, _notes(found, count, limit, end, sizes))
    return ax


def _rows(parts: Sequence[Part], limit: int) -> list[Row]:
    """Return a row for each part, or several rows of a single one."""
    if len(parts) > 1:
        return [Row(WORDS[part.letter], part.values[:limit], part.norms[:limit]) for part in parts]
    values, norms = parts[0].values[:limit], parts[0].norms[:limit]
    return [Row(f"head {at}", values[at : at + ALONE], norms[at : at + ALONE]) for at in range(0, len(values), ALONE)]


def _draw(ax: Axes, row: Row, at: int, end: float) -> None:
    """Draw the panels of a row, and write their norms below them."""
    ink = inks(ax)
    for nth, (cells, norm) in enumerate(zip(row.values, row.norms, strict=True)):
        top = at - 0.47
        ax.imshow(
            cells.T,
            cmap=signed_colours(ink),
            norm=Normalize(-end, end),
            interpolation="nearest",
            extent=(nth - WIDE / 2, nth + WIDE / 2, top + HIGH, top),
        )
        ax.text(nth, top + HIGH + 0.03, f"{norm:.3g}", ha="center", va="top", fontsize="x-small", color=ink.soft)


def _axes(ax: Axes, rows: Sequence[Row], across: int, *, several: bool) -> None:
    ax.set_yticks(range(len(rows)), [row.label for row in rows])
    ax.set_xticks(range(across), [str(head) if several else f"+{head}" for head in range(across)])
    ax.set_xlabel("head" if several else "")
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelcolor=inks(ax).soft, labelsize="small")
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)


def _notes(found: Heads, count: int, limit: int, end: float, sizes: Array) -> list[str]:
    first = found.parts[0]
    side = f"{first.side:,} {'outputs' if first.letter == 'o' else 'inputs'}"
    size = f"{counted(first.dim, 'dimension')} (across) and {side} (down)"
    some = f"the first {limit:,} of " if count > limit else ""
    fewer = {WORDS[part.letter]: len(part.values) for part in found.parts if len(part.values) < count}
    beyond = int((sizes > end).sum())
    return [
        f"{some}{counted(count, 'head')} of {size}; below each its norm",
        ", ".join(f"{counted(number, 'head')} of {word}" for word, number in fewer.items()),
        f"{counted(beyond, 'cell')} beyond \u00b1{end:.3g}" if beyond else "",
        found.how,
    ]
