"""`size`: a net as a treemap, whose areas are the shares of parameters of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.patches import Rectangle

from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.measures.size import Size
from steelyard.measures.size import size as measured
from steelyard.plot.canvas import axes_for, blended, caption, inks, role_colour, role_legend, shown
from steelyard.plot.sources import weights_of
from steelyard.text.sizes import percent
from steelyard.text.table import TIMES
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.measures.size import SizeRow
    from steelyard.plot.canvas import Inks

LETTER, LINE = 0.078, 0.17
"""Inches that a letter and a line of small text take."""
HEAD = 0.2
"""Height in inches of the label of a part with several layers."""
LEAST = 0.45
"""The shorter side in inches from which on a part shows what it consists of."""
_TYPES = ("float16", "int8", "q4_K")


class Box(NamedTuple):
    """A rectangle: its left, its top, its width and its height, in inches."""

    left: float
    top: float
    width: float
    height: float


def size(source: Any, *, ax: Axes | None = None) -> Axes:
    """Draw a net as a treemap: each layer is a rectangle whose area is its share of the parameters, within that of its part.

    Frames with the names of parts take some room, so areas are to be compared within a part. Repeated blocks are one rectangle
    with the area of all. The colour is that of the role of a layer's largest weight. Numbers that may be parameters or buffers
    count too, buffers do not. `source` may also be a `Size` that is already measured. The line below gives the bytes as they
    are stored and in other types. No number is read. Raises `ShapeError` if there is nothing to draw.

    Examples:
        >>> import numpy as np
        >>> from steelyard import plot
        >>> ax = plot.size({f"h.{nth}": {"weight": np.ones((4, 4)), "bias": np.ones(4)} for nth in range(3)})
        >>> len(ax.patches), ax.texts[0].get_text().split()[0]
        (1, 'h.[0-2]')
    """
    found = source if isinstance(source, Size) else measured(weights_of(source))
    tops = [*_children(found.rows, 0, len(found.rows), 0)]
    if not any(map(_area, (found.rows[place] for place, _ in tops))):
        raise ShapeError("there is nothing to draw: the source has no parameters")
    ax = axes_for(ax, 8.0, 5.0)
    whole = _inches(ax)
    ax.set(xlim=(0, whole.width), ylim=(whole.height, 0))
    ax.set_axis_off()
    ink = inks(ax)
    _part(ax, found, tops, whole, ink)
    role_legend(ax, {Role(row.role) for row in found.rows if row.role and _area(row)}, ink)
    caption(ax, [_numbers(found), _bytes(found)], 0.01)
    return ax


def _numbers(found: Size) -> str:
    counts = (found.parameters, "parameters"), (found.buffers, "in buffers"), (found.other, "other numbers")
    return ", ".join(f"{count:,} {word}" for count, word in counts if count)


def _bytes(found: Size) -> str:
    types = [f"{word} {in_units(found.encodings[word].nbytes)}" for word in _TYPES]
    return f"as stored {in_units(found.nbytes)}; all as {', '.join(types)}"


def _inches(ax: Axes) -> Box:
    figure = ax.get_figure(root=True)
    extent = ax.get_window_extent()
    dpi = figure.dpi if figure else 100.0
    return Box(0.0, 0.0, max(extent.width / dpi, 0.1), max(extent.height / dpi, 0.1))


def _area(row: SizeRow) -> int:
    return row.parameters + row.other


def _children(rows: Sequence[SizeRow], start: int, stop: int, depth: int) -> Iterator[tuple[int, int]]:
    """Return the places of the rows of a depth, each with the place after the last row below it."""
    places = [place for place in range(start, stop) if rows[place].depth == depth]
    return zip(places, [*places[1:], stop], strict=False)


def _part(ax: Axes, found: Size, parts: Sequence[tuple[int, int]], box: Box, ink: Inks) -> None:
    """Draw the parts of a net in a box, the largest first, each with those that it consists of."""
    filled = sorted((part for part in parts if _area(found.rows[part[0]])), key=lambda part: -_area(found.rows[part[0]]))
    boxes = squarified([_area(found.rows[place]) for place, _ in filled], box)
    for (place, stop), inner in zip(filled, boxes, strict=True):
        row = found.rows[place]
        below = [*_children(found.rows, place + 1, stop, row.depth + 1)]
        if not below or min(inner.width, inner.height - HEAD) < LEAST:
            _leaf(ax, row, inner, ink)
            continue
        ax.add_patch(Rectangle(inner[:2], *inner[2:], facecolor=blended(ink.text, ink.ground, 0.08), edgecolor=ink.ground))
        _text(ax, _fitting(_title(row), f"{percent(row.share)} %", inner, 1), inner, "left", HEAD / 2)
        _part(ax, found, below, Box(inner.left + 0.03, inner.top + HEAD, inner.width - 0.06, inner.height - HEAD - 0.03), ink)


def _leaf(ax: Axes, row: SizeRow, box: Box, ink: Inks) -> None:
    colour = blended(role_colour(Role(row.role or Role.OTHER), ink), ink.ground, 0.45)
    ax.add_patch(Rectangle(box[:2], *box[2:], facecolor=colour, edgecolor=ink.ground))
    _text(ax, _fitting(_title(row), f"{percent(row.share)} %", box, 2), box, "center", box.height / 2)


def _title(row: SizeRow) -> str:
    return f"{row.label} {row.times:,} {TIMES}" if row.times > 1 else row.label


def _fitting(title: str, share: str, box: Box, lines: int) -> str:
    """Return the title, and the share if there is room for both; blank if not even half of the title has room."""
    letters = int((box.width - 0.08) / LETTER)
    if letters < min(len(title), 6) or box.height < LINE + 0.02:
        return ""
    text = shown(title, max(letters, 6))
    if lines == 1:
        return f"{text}  {share}" if len(title) + len(share) + 2 <= letters else text
    return f"{text}\n{share}" if box.height > 2 * LINE + 0.04 and letters >= len(share) else text


def _text(ax: Axes, text: str, box: Box, side: str, down: float) -> None:
    if text:
        left = box.left + (0.05 if side == "left" else box.width / 2)
        ax.text(left, box.top + down, text, ha=side, va="center", fontsize="small", linespacing=1.1)


def squarified(areas: Sequence[float], box: Box) -> list[Box]:
    """Return a rectangle for each area, the largest first, that fill the box and are as square as rows of them can be.

    It is the method of Bruls, Huizing and van Wijk (2000): a row is laid along the shorter side, and takes the next area
    as long as its worst rectangle becomes no longer.

    >>> [(round(each.width, 2), round(each.height, 2)) for each in squarified([6, 3, 3], Box(0, 0, 4, 3))]
    [(2.0, 3.0), (2.0, 1.5), (2.0, 1.5)]
    """
    boxes: list[Box] = []
    left, scale = list(areas), box.width * box.height / (sum(areas) or 1)
    while left:
        side = min(box.width, box.height)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side, scale) <= _worst(left[:count], side, scale):
            count += 1
        row, left = left[:count], left[count:]
        laid, box = _laid(row, box, scale)
        boxes += laid
    return boxes


def _worst(row: Sequence[float], side: float, scale: float) -> float:
    """Return the greatest ratio of sides in a row along a side."""
    total = sum(row) * scale
    squares = side * side * scale
    return max(squares * max(row) / total**2, total**2 / (squares * min(row))) if total and side else float("inf")


def _laid(row: Sequence[float], box: Box, scale: float) -> tuple[list[Box], Box]:
    """Return the rectangles of a row along the shorter side of a box, and what is left of the box."""
    across = box.width >= box.height
    thick = sum(row) * scale / (box.height if across else box.width)
    laid, place = [], box.top if across else box.left
    for area in row:
        length = area * scale / thick
        laid.append(Box(box.left, place, thick, length) if across else Box(place, box.top, length, thick))
        place += length
    if across:
        return laid, Box(box.left + thick, box.top, max(box.width - thick, 1e-9), box.height)
    return laid, Box(box.left, box.top + thick, box.width, max(box.height - thick, 1e-9))
