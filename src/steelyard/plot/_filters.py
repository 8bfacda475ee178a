"""`filters`: the filters of a convolution as small pictures."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba

from steelyard.errors import ShapeError
from steelyard.measures.filters import COLOURS, axes_of_filters
from steelyard.measures.filters import filters as filters_of
from steelyard.plot.canvas import axes_for, caption, counted, inks, shown, signed_colours
from steelyard.plot.sources import one_weight

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.measures.filters import Filters
    from steelyard.plot.canvas import Inks

LIMIT = 64  # filters that are drawn
FINE = 8  # dots along each side of a number, so that the gaps between filters can be narrower than one number


def filters(source: Any, name: str | None = None, *, limit: int = LIMIT, each: bool = False, ax: Axes | None = None) -> Axes:
    """Draw the filters of a convolution of images: each is the pattern that one unit responds to.

    Without a `name` the first convolution of the source is drawn. Filters with three inputs are drawn in red, green and blue,
    with mid-grey for zero; others have one picture for each output and input, in the colours of `heatmap`. All share one scale,
    from minus to plus their greatest magnitude; with `each` every filter has its own. Only the first `limit` filters are drawn.
    The caption notes omitted filters, and whether the axes were assumed to be PyTorch's because the file does not specify them.

    Raises `ShapeError` if there is no convolution of images, or the named weight is not one.

    Examples:
        >>> from steelyard import Role, plot
        >>> from steelyard.core.readers import from_array
        >>> kernel = from_array("conv.weight", np.eye(5)[None, None].repeat(8, 0), role=Role.KERNEL, axes="out in kh kw")
        >>> plot.filters(kernel).get_title()
        'conv.weight'
    """
    if limit < 1:
        raise ShapeError(f"limit is {limit}; it must be positive")
    weight = one_weight(source, name, axes_of_filters, "a convolution of images with filters of 2 \u00d7 2 or more", first=True)
    chosen = filters_of(weight, limit)
    assert chosen is not None  # `one_weight` has checked its axes
    pictures = np.abs(chosen.pictures) if chosen.pictures.dtype.kind == "c" else chosen.pictures
    ends = _ends(pictures, each=each)
    across = ceil(sqrt(len(chosen.pictures)))
    down = ceil(len(chosen.pictures) / across)
    height, width = chosen.pictures.shape[1:3]
    ax = axes_for(ax, 6.0, min(5.6 * down / across * height / width + 0.8, 9.0))
    ink = inks(ax)
    ax.imshow(
        mosaic(coloured(pictures / ends, ink), across),
        extent=(-0.5, across - 0.5, down - 0.5, -0.5),
        aspect=height / width,
        interpolation="nearest",
    )
    _axes(ax, chosen, across, down)
    if chosen.pictures.shape[-1] != COLOURS:
        end, label = (1.0, "weight value over the greatest of its filter") if each else (float(ends.max()), "weight value")
        scale = ScalarMappable(Normalize(-end, end), signed_colours(ink))
        ax.figure.colorbar(scale, ax=ax, label=label, fraction=0.05, pad=0.02).outline.set_visible(False)
    ax.set_title(shown(weight.name))
    caption(ax, _notes(chosen, "the greatest of each" if each else f"\u00b1{ends.max():.3g}"))
    return ax


def _ends(pictures: Array, *, each: bool) -> Array:
    """Return the scale limit of each filter: its greatest magnitude, or that of all filters; 1 if that is zero."""
    sizes = np.abs(np.where(np.isfinite(pictures), pictures, 0)).max(axis=(1, 2, 3), keepdims=True).astype(float)
    ends: Array = sizes if each else np.full_like(sizes, sizes.max())
    return np.where(ends > 0, ends, 1.0)


def coloured(pictures: Array, ink: Inks) -> Array:
    """Return the RGBA colours of filters scaled to [-1, 1]; NaN and Inf have the colour of text."""
    bad = ~np.isfinite(pictures).all(axis=-1)
    if pictures.shape[-1] == COLOURS:
        rgba = np.ones((*pictures.shape[:-1], 4))
        rgba[..., :3] = np.clip(0.5 + np.nan_to_num(pictures) / 2, 0, 1)
    else:
        rgba = signed_colours(ink)(Normalize(-1, 1)(pictures[..., 0]))
    rgba[bad] = to_rgba(ink.text)
    return rgba


def mosaic(tiles: Array, across: int) -> Array:
    """Arrange pictures in rows, with transparent gaps; each number is `FINE` dots wide."""
    count, height, width, _ = tiles.shape
    gap = max(FINE * min(height, width) // 16, 2)
    high, wide = height * FINE + 2 * gap, width * FINE + 2 * gap
    image = np.zeros((ceil(count / across) * high, across * wide, 4))
    for nth, tile in enumerate(tiles):
        top, left = nth // across * high + gap, nth % across * wide + gap
        image[top : top + height * FINE, left : left + width * FINE] = tile.repeat(FINE, 0).repeat(FINE, 1)
    return image


def _axes(ax: Axes, chosen: Filters, across: int, down: int) -> None:
    """Label each row with its first filter, and the columns with their distance from it."""
    ax.set_yticks(range(down), [shown(chosen.units[row * across]) for row in range(down)])
    ax.set_xticks(range(across), [f"+{column}" for column in range(across)])
    ax.tick_params(length=0, labelcolor=inks(ax).soft, labelsize="small")
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)


def _notes(chosen: Filters, end: str) -> list[str]:
    count, height, width, channels = chosen.pictures.shape
    some = f"the first {count:,} of " if count < chosen.count else ""
    colour = f", in red, green and blue: mid-grey is 0, full colour {end}" if channels == COLOURS else ""
    bad = int((~np.isfinite(chosen.pictures).all(axis=-1)).sum())
    return [
        f"{some}{counted(chosen.count, 'filter')} of {height} \u00d7 {width}{colour}",
        "the file does not specify axes; assumed to be PyTorch's, out in kh kw" if chosen.guessed else "",
        f"{counted(bad, 'place')} with NaN or Inf, in the colour of text" if bad else "",
    ]
