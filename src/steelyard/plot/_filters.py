"""`filters`: the filters of a convolution, or the units of a dense layer on images, as small pictures."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba

from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.measures.filters import COLOURS, axes_of_filters
from steelyard.measures.filters import filters as filters_of
from steelyard.measures.images import images, is_on_images, layout_of
from steelyard.plot.canvas import axes_for, caption, entitle, inks, shown, signed_colours
from steelyard.plot.sources import one_weight, weights_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.measures.filters import Filters
    from steelyard.plot.canvas import Inks

LIMIT = 64  # filters that are drawn
FINE, DOTS = 8, 64
"""Dots along each side of a number, so that gaps can be narrower than one number, if a picture has at most so many dots."""
CONVOLUTION = "a convolution of images with filters of 2 \u00d7 2 or more"


def filters(
    source: Any,
    name: str | None = None,
    *,
    grid: Sequence[int] | None = None,
    limit: int = LIMIT,
    each: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the filters of a convolution, or the units of a dense layer on images: each is the pattern that a unit responds to.

    Without a `name` the first convolution of the source is drawn, or else its first layer, if that is dense and its inputs are
    a square image. `grid` is the height and width of the image that is the input of a dense layer, with its colours if it has
    any: (32, 32, 3) for those of a pixel in consecutive inputs, (3, 32, 32) for one plane after another. Without it the image
    is taken to be square, grey or in three colours, and the title says so.

    Filters with three inputs are drawn in red, green and blue, with mid-grey for zero; others have one picture for each output
    and input, in the colours of `heatmap`. All share one scale, from minus to plus their greatest magnitude; with `each` every
    filter has its own. Only the first `limit` filters are drawn. The caption notes omitted filters, and whether the axes were
    assumed to be PyTorch's because the file does not specify them.

    Raises `ShapeError` if there is no such layer, or the named weight is not one.

    Examples:
        >>> from steelyard import Role, plot
        >>> from steelyard.core.readers import from_array
        >>> kernel = from_array("conv.weight", np.eye(5)[None, None].repeat(8, 0), role=Role.KERNEL, axes="out in kh kw")
        >>> plot.filters(kernel).get_title()
        'conv.weight'
        >>> plot.filters(from_array("fc.weight", np.ones((9, 6)), role=Role.KERNEL, axes="out in"), grid=(2, 3)).get_title()[:22]
        'fc.weight: 6 inputs as'
    """
    if limit < 1:
        raise ShapeError(f"limit is {limit}; it must be positive")
    weight, chosen = _chosen(source, name, limit, grid)
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
    if chosen.pictures.shape[-1] != COLOURS and np.isfinite(pictures).any():
        end, label = (1.0, "weight value over the greatest of its filter") if each else (float(ends.max()), "weight value")
        scale = ScalarMappable(Normalize(-end, end), signed_colours(ink))
        ax.figure.colorbar(scale, ax=ax, label=label, fraction=0.05, pad=0.02).outline.set_visible(False)
    entitle(ax, weight.name, chosen.deduced)
    caption(ax, _notes(chosen, "the greatest of each" if each else f"\u00b1{ends.max():.3g}"))
    return ax


def _chosen(source: Any, name: str | None, limit: int, grid: Sequence[int] | None) -> tuple[Weight, Filters]:
    """Return the weight to draw, and its pictures."""
    listed = weights_of(source)
    given = None if grid is None else layout_of(grid)
    what = CONVOLUTION if given is None else f"a dense kernel with {given.inputs:,} inputs, {given}"
    on_images = _first_of(listed) if given is None and name is None else None

    def fits(weight: Weight) -> object:
        if given is None and axes_of_filters(weight):
            return True
        return is_on_images(weight, grid) and (on_images is None or weight.name == on_images)

    weight = one_weight(listed, name, fits, what, first=True)
    chosen = (filters_of(weight, limit) if given is None else None) or images(weight, limit, grid)
    assert chosen is not None  # `one_weight` has checked its axes
    return weight, chosen


def _first_of(weights: Weights) -> str:
    """Return the name of the kernel on which an image may be drawn without being named: the first one of a net that has neither
    a convolution nor an embedding; blank if there is none.
    """
    listed = [weight for weight in weights.values() if weight.size]
    if any(weight.role is Role.EMBEDDING or axes_of_filters(weight) for weight in listed):
        return ""
    return next((weight.name for weight in listed if weight.role in (Role.KERNEL, Role.OTHER) and len(weight.shape) > 1), "")


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
    """Arrange pictures in rows, with transparent gaps; each number is up to `FINE` dots wide."""
    count, height, width, _ = tiles.shape
    fine = min(max(DOTS // max(height, width), 1), FINE)
    gap = max(fine * min(height, width) // 16, 2)
    high, wide = height * fine + 2 * gap, width * fine + 2 * gap
    image = np.zeros((ceil(count / across) * high, across * wide, 4), np.float32)
    for nth, tile in enumerate(tiles):
        top, left = nth // across * high + gap, nth % across * wide + gap
        image[top : top + height * fine, left : left + width * fine] = tile.repeat(fine, 0).repeat(fine, 1)
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
        f"{some}{counted(chosen.count, 'unit' if chosen.deduced else 'filter')} of {height} \u00d7 {width}{colour}",
        "the file does not specify axes; assumed to be PyTorch's, out in kh kw" if chosen.guessed else "",
        f"{counted(bad, 'place')} with NaN or Inf, in the colour of text" if bad else "",
    ]
