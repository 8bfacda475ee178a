"""`architecture`: a net's layers from the first to the last, what feeds each, and repeated blocks once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError, printable
from steelyard.measures.architecture import ABOVE, BLOCK_INPUT, Architecture
from steelyard.measures.architecture import architecture as measured
from steelyard.plot.canvas import axes_for, blended, caption, inks, shown
from steelyard.text.architectures import remarks, shape_text, weights_text
from steelyard.text.table import TIMES
from steelyard.text.terminal import cut_alike
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.measures.architecture import LayerRow
    from steelyard.plot.canvas import Inks

    Colour = tuple[float, float, float]

MOST = 60
"""Rows that are drawn."""
ROW, LETTER, LANE, INDENT = 0.25, 0.074, 0.09, 0.16
"""Inches of a row, of a letter, between arcs, and that the layers of a block are moved to the right."""
LANES = 12
"""Arcs beside one another at most; more share the outermost place."""
KIND, HELD, OUTPUT, BAR, COUNT = 0.36, 0.56, 0.79, 0.81, 0.88
"""Where columns begin, as shares of the width; that of the outputs ends there."""


class Wire(NamedTuple):
    """What flows from a row to a row below; one that passes others is an arc in this `lane`, else -1."""

    start: int
    end: int
    lane: int


def architecture(source: Any, *, probe: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the layers of a net in order, a row for each, with what it is, its weights, its output and its parameters.

    A line leads from each layer to the next that it feeds; arcs show what passes others, such as a residual connection.
    Repeated layers and blocks are drawn once, with their number; the layers of a block are moved to the right. Where no graph
    is known, as in a state dict, the rows are the layers by their names, without lines. The bars are shares of the parameters.
    `source` and `probe` are those of `steelyard.architecture`, of which `source` may be a result. No number of a file is read.
    Raises `ShapeError` if there is nothing to draw, and the errors of `steelyard.architecture`.

    Examples:
        >>> import torch
        >>> from steelyard import plot
        >>> ax = plot.architecture(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
        >>> [text.get_text() for text in ax.texts if text.get_text() in ("dense", "relu")]
        ['dense', 'relu', 'dense']
    """
    if isinstance(source, Weight):
        raise ShapeError("a single weight has no architecture; pass the net")
    found = source if isinstance(source, Architecture) else measured(source, probe)
    if not any(row.what or row.parameters or row.buffers for row in found.rows):
        raise ShapeError("there is nothing to draw: the source has no layers with numbers")
    rows = found.rows[:MOST]
    ax = axes_for(ax, 9.0, ROW * (len(rows) + 3))
    ink, width = inks(ax), _width(ax)
    ax.set(xlim=(0, width), ylim=(len(rows), -1))
    ax.set_axis_off()
    wires = wires_of(rows) if found.order == "execution" else []
    left = 0.25 + LANE * (2 + max((wire.lane for wire in wires), default=-1)) if wires else 0.1
    for nth, row in enumerate(rows):
        if is_block(row):
            ground = blended(ink.text, ink.ground, 0.08)
            ax.add_patch(Rectangle((left, nth), width - left, 1, facecolor=ground, edgecolor=ink.ground))
        _facts(ax, row, nth, width, ink)
    _names(ax, rows, left + 0.05, (KIND if any(row.what for row in rows) else HELD) * width, ink)
    _heads(ax, rows, left, width, ink)
    _bars(ax, rows, width, ink)
    _wires(ax, rows, wires, left - 0.15, ink)
    more = counted(len(found.rows) - len(rows), "more row") if len(found.rows) > len(rows) else ""
    notes = (shown(line, 300) for line in remarks(found))
    caption(ax, [more and f"and {more}", *(fill(note, max(int(width / LETTER), 20)) for note in notes)], 0.01)
    return ax


def _width(ax: Axes) -> float:
    figure = ax.get_figure(root=True)
    return max(ax.get_window_extent().width / (figure.dpi if figure else 100.0), 1.0)


def _names(ax: Axes, rows: Sequence[LayerRow], left: float, right: float, ink: Inks) -> None:
    """Write the name of each row, and how many times it is there within the block that it is in."""
    letters = int((right - left) / LETTER)
    cuts = cut_alike({printable(row.label, 10_000) for row in rows if not row.depth}, letters - 5)
    for nth, (row, times) in enumerate(zip(rows, _times(rows), strict=True)):
        label = cuts.get(printable(row.label, 10_000), row.label)
        x = left + INDENT * min(row.depth, 8)
        _text(ax, x, nth, f"{times:,} {TIMES} {label}" if times > 1 else label, ink.text, room=right - x)


def _times(rows: Sequence[LayerRow]) -> list[int]:
    """Return how many times each row is there within the block that it is in."""
    outer: dict[int, int] = {-1: 1}
    times = []
    for row in rows:
        outer[row.depth] = row.times
        times.append(row.times // outer[row.depth - 1])
    return times


def _facts(ax: Axes, row: LayerRow, nth: int, width: float, ink: Inks) -> None:
    """Write what a layer is, its weights, its output and its parameters."""
    _text(ax, KIND * width, nth, row.what, ink.text, room=(HELD - KIND) * width)
    _text(ax, HELD * width, nth, weights_text(row), ink.soft)
    _text(ax, OUTPUT * width, nth, shape_text(row.output_shape), ink.soft, "right")
    _text(ax, width, nth, f"{row.parameters:,}" if row.parameters else "", ink.soft, "right")


def _text(ax: Axes, x: float, nth: float, text: str, colour: Colour, side: str = "left", *, room: float = 5.0) -> None:
    if text:
        ax.text(x, nth + 0.5, shown(text, max(int(room / LETTER), 4)), ha=side, va="center", fontsize="small", color=colour)


def _heads(ax: Axes, rows: Sequence[LayerRow], left: float, width: float, ink: Inks) -> None:
    """Write the heads of the columns that are not blank."""
    columns = (
        ("layer", left + 0.05, "left", True),
        ("kind", KIND * width, "left", any(row.what for row in rows)),
        ("weights", HELD * width, "left", any(row.shapes for row in rows)),
        ("output", OUTPUT * width, "right", any(row.output_shape is not None for row in rows)),
        ("parameters", width, "right", any(row.parameters for row in rows)),
    )
    for title, x, side, is_there in columns:
        _text(ax, x, -1, title if is_there else "", ink.soft, side)


def _bars(ax: Axes, rows: Sequence[LayerRow], width: float, ink: Inks) -> None:
    """Draw the share of each row of the parameters; the largest fills the column."""
    most = max((row.share for row in rows), default=0.0)
    room = (COUNT - BAR) * width
    for nth, row in enumerate(rows):
        if row.share:
            ax.add_patch(
                Rectangle((BAR * width, nth + 0.34), room * row.share / most, 0.32, facecolor=ink.soft, edgecolor="none")
            )


def is_block(row: LayerRow) -> bool:
    """Whether the rows below, one deeper, are what this row consists of."""
    return row.layers > 1


def wires_of(rows: Sequence[LayerRow]) -> list[Wire]:
    """Return what flows between rows; each arc has a lane of its own among those that it meets, as far as there are lanes."""
    found = sorted({(start, end) for end, starts in enumerate(_feeds(rows)) for start in starts if 0 <= start < end})
    ends: list[int] = []
    wires = []
    for start, end in found:
        if _follows(rows, start, end):
            wires.append(Wire(start, end, -1))
            continue
        lane = next((nth for nth, last in enumerate(ends) if last <= start), min(len(ends), LANES - 1))
        ends[lane : lane + 1] = [max(end, *ends[lane : lane + 1])] if lane < len(ends) else [end]
        wires.append(Wire(start, end, lane))
    return wires


def _follows(rows: Sequence[LayerRow], start: int, end: int) -> bool:
    """Whether nothing but heads of blocks lies between two rows."""
    return all(is_block(row) for row in rows[start + 1 : end])


def _feeds(rows: Sequence[LayerRow]) -> Iterator[list[int]]:
    """Yield the places of the rows that feed each row, -1 for a net's input or what is not drawn; names are sought upwards."""
    last, before = -1, dict[int, int]()
    for nth, row in enumerate(rows):
        if is_block(row):
            before[row.depth] = last
            yield []
            continue
        yield [_place(rows, source, nth, last, before.get(row.depth - 1, -1)) for source in row.sources]
        last = nth


def _place(rows: Sequence[LayerRow], source: str, nth: int, last: int, block_input: int) -> int:
    if source == ABOVE:
        return last
    if source == BLOCK_INPUT:
        return block_input
    named = (at for at in range(nth - 1, -1, -1) if not is_block(rows[at]) and source in _called(rows[at]))
    return next(named, -1)


def _called(row: LayerRow) -> tuple[str, ...]:
    """Return what a row is called: its name, that within its block, and that of the first of its repetitions."""
    return row.name, row.label, row.name.partition(" \u2026 ")[0]


def _wires(ax: Axes, rows: Sequence[LayerRow], wires: Sequence[Wire], x: float, ink: Inks) -> None:
    """Draw a dot for each layer at `x`, and the wires between them."""
    for start, end, lane in wires:
        top, bottom, out = start + 0.5, end + 0.5, x - LANE * (lane + 1)
        if lane < 0:
            ax.plot([x, x], [top, bottom], color=ink.soft, linewidth=1.0, zorder=1)
            continue
        bend = [
            (x, top),
            (out, top),
            (out, top),
            (out, top + 0.5),
            (out, bottom - 0.5),
            (out, bottom),
            (out, bottom),
            (x, bottom),
        ]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
        ax.add_patch(PathPatch(Path(bend, codes), facecolor="none", edgecolor=ink.text, linewidth=1.0))
    layers = [nth + 0.5 for nth, row in enumerate(rows) if not is_block(row)] if wires else []
    ax.plot([x] * len(layers), layers, "o", markersize=4.5, color=ink.ground, markeredgecolor=ink.soft)
