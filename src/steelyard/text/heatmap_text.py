"""A weight as a heat map: each character shows two cells, one above the other; blue is negative and orange positive.

A dark terminal gets the scale whose zero is dark, a light one that whose zero is light. Zero is drawn in its colour on either,
so the picture is legible too where the terminal's background is taken for the other kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.weight import Weight
from steelyard.errors import printable
from steelyard.numerics.picture import Picture, cut_of, matrix_of, picture
from steelyard.text.colours import DARK, LIGHT, between
from steelyard.text.sparkline import round_up
from steelyard.text.terminal import Screen

if TYPE_CHECKING:
    from steelyard.core.weight import Array

LINES = 20
"""Maximum lines of a heat map."""
PAPER = 80
"""Width of a heat map where the screen has none, in characters."""
LARGER = 4
"""Maximum width of one number of a small matrix, in characters."""
LEVELS = 12
"""Shades on either side of zero."""
FEWER = (25, 32, 74, 117, 153, 195, 231, 230, 223, 215, 208, 166, 130)
"""The light scale in the palette of 256 colours: one for two shades, chosen by eye, since the nearest change their hue."""
FEWER_DARK = (195, 153, 117, 74, 31, 24, 234, 94, 130, 172, 215, 223, 230)
"""The dark one."""
HOLE, HOLE_DARK = (0, 0, 0), (135, 0, 255)
"""The colours of NaN and Inf: on neither scale, and distinguished with any kind of colour vision."""
_HOLES = {False: 16, True: 93}
"""The same in the palette of 256 colours."""
SHADES = " \u2591\u2592\u2593\u2588"
"""Characters for magnitudes, written after a sign, where there are no colours."""


def can_be_drawn(weight: Weight) -> bool:
    """Whether a weight has a matrix that shows more as a picture than as a line of numbers."""
    return min(matrix_of(weight.shape)) > 1


def heatmap_lines(weight: Weight, screen: Screen) -> Iterator[str]:
    """Yield the lines of the picture, its caption and the scale; without colours each cell is a sign and a shade."""
    width = screen.width or PAPER
    if not weight.size:
        yield "no numbers to draw"
        return
    rows, columns = (LINES * 2, width) if screen.colour else (LINES, max(width // 2, 1))
    drawn = picture(weight, rows, columns)
    levels, end = _levels(drawn)
    if screen.colour:
        times = max(min(rows // levels.shape[0], columns // levels.shape[1], LARGER), 1)
        yield from _coloured(levels.repeat(times, 0).repeat(times, 1), screen)
    else:
        yield from ("".join(map(_shaded, row)).rstrip() for row in levels.tolist())
    yield screen.broken(_caption(weight, drawn))
    yield from _legend(drawn, levels, end, screen)


def _levels(drawn: Picture) -> tuple[Array, float]:
    """Return the level of each cell, from -LEVELS to LEVELS or -LEVELS - 1 if not finite, and the scale's end."""
    values, end = drawn.values, round_up(drawn.usual) if drawn.usual else 1.0
    scaled = np.clip(values / end, -1.0, 1.0) * LEVELS
    shown = np.copysign(np.ceil(np.abs(scaled)), scaled)  # only zero itself has the colour of zero
    return np.where(np.isfinite(values), shown, -LEVELS - 1).astype(int), end


def _coloured(levels: Array, screen: Screen) -> Iterator[str]:
    """Yield a line for each two rows of cells: an upper half block in one's colour on a background in the other's."""
    scale = screen.true_colour, screen.dark
    for upper in range(0, len(levels), 2):
        below = levels[upper + 1].tolist() if upper + 1 < len(levels) else [None] * levels.shape[1]
        codes = [(_code(one, 38, *scale), _code(two, 48, *scale)) for one, two in zip(levels[upper].tolist(), below, strict=True)]
        yield "".join(_letter(code, before) for code, before in zip(codes, [("", ""), *codes], strict=False)) + "\x1b[0m"


def _letter(codes: tuple[str, str], before: tuple[str, str]) -> str:
    """Return a half block, preceded by the colours that differ from those of the previous one."""
    new = ";".join(code for code, old in zip(codes, before, strict=True) if code != old)
    return f"\x1b[{new}m\u2580" if new else "\u2580"


@lru_cache(maxsize=256)
def _code(level: int | None, layer: int, true_colour: bool, dark: bool) -> str:
    """Return the ANSI code of a level's colour on a layer: 38 for the foreground, 48 for the background."""
    if level is None:
        return f"{layer + 1}"
    if not true_colour:
        fewer = FEWER_DARK if dark else FEWER
        return f"{layer};5;{_HOLES[dark] if level < -LEVELS else fewer[len(fewer) // 2 + (level + (level > 0)) // 2]}"
    red, green, blue = colour_of(level, dark=dark)
    return f"{layer};2;{red};{green};{blue}"


def colour_of(level: int, *, dark: bool = False) -> tuple[int, int, int]:
    """Return red, green and blue of a level, on a light or a dark terminal.

    >>> colour_of(0), colour_of(0, dark=True)
    ((246, 244, 239), (28, 32, 36))
    """
    if level < -LEVELS:
        return HOLE_DARK if dark else HOLE
    return between(DARK if dark else LIGHT, (level + LEVELS) / (2 * LEVELS))


def _shaded(level: int) -> str:
    if level < -LEVELS:
        return "!!"
    shade = SHADES[-(-abs(level) * (len(SHADES) - 1) // LEVELS)]
    return f"{'-' if level < 0 else '+'}{shade}" if level else "  "


def _caption(weight: Weight, drawn: Picture) -> str:
    """Describe the axes of the rows and columns, and the content of a cell."""
    cut = cut_of(weight.shape)
    words = weight.axes.split()
    sides = (" ".join(words[:cut]), " ".join(words[cut:])) if len(words) == len(weight.shape) else ("", "")
    down, across = (f" ({printable(side, 80)})" if side else "" for side in sides)
    rows, columns = (f"{n:,} {word}{'s' * (n != 1)}" for n, word in ((drawn.rows, "row"), (drawn.columns, "column")))
    return f"{rows}{down}, {columns}{across}: {drawn.caption}"


def _legend(drawn: Picture, levels: Array, end: float, screen: Screen) -> Iterator[str]:
    """Yield the scale, the largest number beyond it, and the mark of cells that are not finite."""
    sizes = np.abs(drawn.values[np.isfinite(drawn.values)])
    largest = float(sizes.max(initial=0.0))
    beyond = f", beyond it up to {largest:.4g}" if largest > end else ""
    if screen.colour:
        scale = "".join(swatch(level, screen) for level in range(-LEVELS, LEVELS + 1))
        hole = f"{swatch(0, screen)}{swatch(-LEVELS - 1, screen)}{swatch(0, screen)}"
        yield f"{-end:g} {scale} {end:g}{beyond}"
    else:
        scale = " ".join(_shaded(level) for level in (-LEVELS, -LEVELS // 2, 0, LEVELS // 2, LEVELS))
        hole = "!!"
        yield f"{-end:g} {scale} {end:g}{beyond}"
    if (levels < -LEVELS).any():
        yield f"{hole} holds NaN or Inf"


def painted(text: str, level: int, screen: Screen) -> str:
    """Write a text on the colour of a level, in black or white, whichever is easier to read; at zero on the page's own."""
    if not level or not screen.colour:
        return text
    red, green, blue = colour_of(level, dark=screen.dark)
    ink = 16 if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else 231
    return f"\x1b[{_code(level, 48, screen.true_colour, screen.dark)};38;5;{ink}m{text}\x1b[0m"


def swatch(level: int, screen: Screen) -> str:
    """Return a blank on the colour of a level."""
    return f"\x1b[{_code(level, 48, screen.true_colour, screen.dark)}m \x1b[0m"
