"""A weight as a heat map: a table of coloured cells, which notebooks keep where they drop images.

Blue is negative and orange positive (Okabe and Ito's colours, which colour-blind readers can distinguish). A cell's opacity is
the number's distance from zero, so zero is white on a light page and black on a dark one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steelyard.numerics.picture import matrix_of
from steelyard.text.markup import lines, shown
from steelyard.text.table import TIMES, number_text
from steelyard.text.tints import colour

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.numerics.picture import Picture

HEIGHT, WIDTH = 24, 48
"""Cells of a large heat map; each one makes the notebook's file larger."""
TALLEST, WIDEST = 64, 96
"""The sides of a matrix of which each number is a cell, if there are at most as many as in a large heat map."""
STEPS = 9
"""Number of colours of the legend; the middle one is for zero."""
_ROOM = (240, 480)
"""Pixels of the whole picture, down and across, which the cells share."""
_CAPTION = 640
"""Minimum width of the caption in pixels."""
_SMALLEST, _LARGEST = 10, 28
"""Pixels of a cell's side."""


def room_for(weight: Weight) -> tuple[int, int]:
    """Return the most rows and columns of the cells of a weight's heat map.

    >>> from steelyard.core.readers import from_array
    >>> room_for(from_array("w", np.zeros((10, 64)))), room_for(from_array("w", np.zeros((30, 64))))
    ((10, 64), (24, 48))
    """
    rows, columns = matrix_of(weight.shape)
    whole = rows <= TALLEST and columns <= WIDEST and rows * columns <= HEIGHT * WIDTH
    return (rows, columns) if whole and weight.size else (HEIGHT, WIDTH)


def heat_map(drawn: Picture, title: str) -> str:
    """Return the cells, their caption, and the scale; every cell has a tooltip with its index and its number."""
    if not drawn.values.size:
        return ""
    end = drawn.usual
    down, across = drawn.values.shape
    side = int(np.clip(min(_ROOM[0] // down, _ROOM[1] // across), _SMALLEST, _LARGEST))
    rows = "".join(_row(drawn, nth, end, side) for nth in range(down))
    caption = f"{title}, drawn as {drawn.rows:,} {TIMES} {drawn.columns:,}: {drawn.caption}"
    head = f'<caption style="caption-side:top;text-align:left;">{shown(caption)}</caption>'
    # the last column has no cells: it leaves room for the caption
    head += f'<colgroup><col span="{across}" style="width:{side}px;"><col></colgroup>'
    scale = "" if np.isnan(drawn.values).all() else _legend(drawn, end)
    missing = lines([f"{TIMES} holds NaN or Inf"] if np.isnan(drawn.values).any() else [])
    return f"{_table(max(across * side, _CAPTION))}{head}<tbody>{rows}</tbody></table>{scale}{missing}"


def _row(drawn: Picture, nth: int, end: float, side: int) -> str:
    top, left = drawn.window[0] + nth * drawn.down, drawn.window[1]
    cells = (_cell(value, f"{top}, {left + at * drawn.across}", end) for at, value in enumerate(drawn.values[nth].tolist()))
    # the page's own stripes would shine through
    return f'<tr style="height:{side}px;background-color:#0000;">{"".join(cells)}</tr>'


def _cell(value: float, place: str, end: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN alone differs
        return f'<td title="{place}: not finite" style="padding:0;text-align:center;line-height:1;">{TIMES}</td>'
    return f'<td title="{place}: {number_text(value)}" style="padding:0;background-color:{colour(value, end)};"></td>'


def _legend(drawn: Picture, end: float) -> str:
    """Return the scale as a row of colours between its ends, which are marked where numbers exceed them."""
    beyond = bool((np.abs(drawn.values) > end).any())
    swatches = "".join(
        f'<td style="padding:0;width:16px;background-color:{colour(step, STEPS // 2)};"></td>'
        for step in range(-(STEPS // 2), STEPS // 2 + 1)
    )
    low, high = (
        f"{mark} {number_text(side)}" if beyond else number_text(side) for mark, side in (("\u2264", -end), ("\u2265", end))
    )
    ends = [f'<td style="padding:0 0.5em;">{shown(text)}</td>' for text in (low, high)]
    row = f'<tr style="background-color:#0000;">{ends[0]}{swatches}{ends[1]}</tr>'
    return f'<table style="border-collapse:collapse;margin:0.5em 0 1em 0;"><tbody>{row}</tbody></table>'


def _table(width: int) -> str:
    return f'<table style="border-collapse:collapse;table-layout:fixed;width:{width}px;margin:0;">'
