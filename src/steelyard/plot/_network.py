"""`network`: a network of dense layers as a diagram of circles for units and lines for connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.errors import ShapeError
from steelyard.measures.chain import Dense, chain
from steelyard.plot.canvas import axes_for, blended, caption, inks, shown
from steelyard.plot.sources import weights_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

UNITS = 16  # units of a layer that are drawn
WIDEST, THINNER, CROWD = 5.0, 2.5, 250
"""The width of the widest line in points: in a small diagram, in a crowded one, and the number of lines in a crowded one."""
FAINTEST, STRONGEST = 0.12, 0.95  # opacity of the lines of the smallest and the largest weight
BIAS_HEIGHT = 1.16  # a layer extends from 0 to 1
APART = 0.22  # greatest distance of two neighbouring units
STEPS = 60  # points of a curved line
LETTERS = 24  # characters of a label


class Lines(NamedTuple):
    """Connections: the points of each, and its weight."""

    paths: list[Array]
    weights: Array


class Diagram(NamedTuple):
    """The layers, the sizes of inputs and layers, the indices of the units that are drawn, and their heights."""

    layers: list[Dense]
    sizes: list[int]
    kept: list[Array]
    heights: list[Array]


def network(
    source: Any,
    *,
    layers: Sequence[str] | None = None,
    axes: str | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    units: int = UNITS,
    bias: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a network of dense layers: units as circles, connections as lines whose width is proportional to their weights.

    Blue is negative, orange positive, and the key gives the weight of the widest line. In a layer of more than `units` units
    those with the largest weights are drawn, and the text below the layer counts all. Skip connections, as in R's nnet, pass
    under the hidden layers. `inputs` and `outputs` are the names of the units at both ends; the default is those of an R file.
    `layers` selects dense layers by name, in order, in a network with other layers. `axes` ("in out" or "out in") specifies the
    axes of kernels in a file without axes.

    Raises `ShapeError` if the layers do not form a chain of dense layers, or the number of names differs from that of units, and
    `AmbiguityError` if kernels would fit both ways.

    Examples:
        >>> from sklearn.linear_model import LinearRegression
        >>> from steelyard import plot
        >>> fit = LinearRegression().fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1.0, -2.0, 0.0])
        >>> ax = plot.network(fit, inputs=["height", "width"])
        >>> [text.get_text() for text in ax.texts][:4]
        ['bias', 'height', 'width', 'y1']
    """
    if units < 1:
        raise ShapeError(f"units is {units}; it must be positive")
    weights = weights_of(source)
    diagram = _diagram(chain(weights, layers, axes), units)
    names = [_names(weights, *end) for end in (("inputs", inputs, diagram, 0), ("outputs", outputs, diagram, -1))]
    lines, left_out = _connections(diagram, bias=bias)
    ax = axes_for(ax, max(2.0 + 2.1 * len(diagram.layers), 5.2), 4.8)
    ax.set_axis_off()
    bent = any(layer.skip is not None for layer in diagram.layers[1:])
    biases = [nth for nth, layer in enumerate(diagram.layers) if bias and layer.bias is not None]
    ax.set(xlim=(-0.15, len(diagram.layers) + 0.15), ylim=(-0.42 if bent else -0.13, 1.26 if biases else 1.06))
    _draw_lines(ax, lines)
    _draw_units(ax, diagram, biases)
    _draw_text(ax, diagram, names)
    _key(ax, lines)
    if left_out:
        caption(ax, [f"{counted(left_out, 'connection')} of weight NaN or Inf left out"], 0.18)
    return ax


def _diagram(layers: list[Dense], units: int) -> Diagram:
    sizes = [layers[0].inputs, *(layer.units for layer in layers)]
    strength = [np.zeros(size) for size in sizes]
    for nth, layer in enumerate(layers):
        for at, squares in zip((nth, nth + 1), layer.squares(), strict=True):
            strength[at] += squares
    kept = [np.sort(np.argsort(-each, kind="stable")[:units]) for each in strength]
    return Diagram(layers, sizes, kept, [_heights(len(each)) for each in kept])


def _heights(count: int) -> Array:
    """Return the heights of the units of a layer, the first at the top."""
    apart = min(APART, 1 / max(count - 1, 1))
    heights: Array = 0.5 + (np.arange(count)[::-1] - (count - 1) / 2) * apart
    return heights


def _connections(diagram: Diagram, *, bias: bool) -> tuple[Lines, int]:
    """Return all lines, those of the largest weights last, and the number of connections with NaN or Inf."""
    paths, weights = [], []
    for nth, layer in enumerate(diagram.layers):
        for path, weight in _of_layer(diagram, nth, layer, bias=bias):
            paths.append(path)
            weights.append(weight)
    values = np.array(weights)
    good = np.flatnonzero(np.isfinite(values) & (values != 0))
    order = good[np.argsort(np.abs(values[good]), kind="stable")]
    return Lines([paths[nth] for nth in order], values[order]), int((~np.isfinite(values)).sum())


def _of_layer(diagram: Diagram, nth: int, layer: Dense, *, bias: bool) -> Iterator[tuple[Array, float]]:
    """Yield the line of each connection that ends at a unit of a layer."""
    units, ends = diagram.kept[nth + 1], diagram.heights[nth + 1]
    kernel, skips = layer.part(diagram.kept[nth], units), layer.skips(diagram.kept[0], units)
    shifts = layer.bias.numpy().reshape(-1)[units].astype(float) if bias and layer.bias is not None else np.empty(0)
    for to, end in enumerate(ends):
        for start, weight in zip(diagram.heights[nth], kernel[:, to], strict=True):
            yield np.array([[nth, start], [nth + 1, end]]), float(weight)
        if shifts.size:
            yield np.array([[nth, BIAS_HEIGHT], [nth + 1, end]]), float(shifts[to])
        if skips is not None and nth:
            for place, (start, weight) in enumerate(zip(diagram.heights[0], skips[:, to], strict=True)):
                bend = 0.10 + 0.14 * place / max(len(skips) - 1, 1)
                yield _bent(start, nth + 1, end, bend), float(weight)


def _bent(start: float, right: float, end: float, bend: float) -> Array:
    """Return a curve from an input that passes under the layers between."""
    t = np.linspace(0, 1, STEPS)
    middle = -2 * bend - (start + end) / 2
    return np.stack([t * right, (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end], axis=1)


def _draw_lines(ax: Axes, lines: Lines) -> None:
    from matplotlib.collections import LineCollection

    ink = inks(ax)
    share = np.abs(lines.weights) / max(np.abs(lines.weights).max(initial=0.0), 1e-300)
    widest = float(np.interp(len(lines.paths), (CROWD / 4, CROWD), (WIDEST, THINNER)))
    colours = [
        (*(ink.positive if weight > 0 else ink.negative), FAINTEST + (STRONGEST - FAINTEST) * part)
        for weight, part in zip(lines.weights, share, strict=True)
    ]
    ax.add_collection(
        LineCollection(lines.paths, colors=colours, linewidths=widest * share, capstyle="butt", zorder=1), autolim=False
    )


def _draw_units(ax: Axes, diagram: Diagram, biases: Sequence[int]) -> None:
    ink = inks(ax)
    size = _circle(diagram)
    fill, faint = blended(ink.text, ink.ground, 0.04), blended(ink.text, ink.ground, 0.12)
    for nth, heights in enumerate(diagram.heights):
        ax.plot(
            [nth] * len(heights), heights, "o", markersize=size, color=fill, markeredgecolor=ink.text, zorder=3, clip_on=False
        )
        if len(heights) < diagram.sizes[nth]:
            below = heights[-1] - 0.055 - np.arange(3) * 0.022
            ax.plot([nth] * 3, below, "o", markersize=1.8, color=ink.soft, zorder=3, clip_on=False)
    ax.plot(
        biases, [BIAS_HEIGHT] * len(biases), "o", markersize=0.7 * min(size, 16), color=faint, markeredgecolor=ink.soft, zorder=3
    )
    for at in biases:
        _write(ax, "bias", (at, BIAS_HEIGHT), (0, 9), ha="center", va="bottom", fontsize="small", color=ink.soft)


def _circle(diagram: Diagram) -> float:
    """Return the diameter of the circle of a unit in points: as large as the fullest layer permits."""
    return float(np.clip(210 / max(map(len, diagram.kept)), 7, 22))


def _draw_text(ax: Axes, diagram: Diagram, names: Sequence[Sequence[str]]) -> None:
    """Label the units at both ends, and each layer with its name and the number of its units."""
    ink = inks(ax)
    room = 8 + _circle(diagram) / 2
    for at, heights, own, side in zip(
        (0, len(diagram.layers)), (diagram.heights[0], diagram.heights[-1]), names, ("right", "left"), strict=True
    ):
        for height, name in zip(heights, own, strict=True):
            _write(ax, name, (at, height), (-room if side == "right" else room, 0), ha=side, va="center")
    bottom = ax.get_ylim()[0]
    for nth, (size, kept) in enumerate(zip(diagram.sizes, diagram.kept, strict=True)):
        name = diagram.layers[nth - 1].name if nth else "inputs"
        label = f"layer {name}" if name.isdecimal() else name
        _write(ax, shown(label, LETTERS), (nth, bottom), (0, -4), ha="center", va="top")
        count = f"{len(kept)} of {size:,} shown" if len(kept) < size else f"{size:,}"
        _write(ax, count, (nth, bottom), (0, -18), ha="center", va="top", fontsize="small", color=ink.soft)


def _write(ax: Axes, text: str, at: tuple[float, float], away: tuple[float, float], **how: Any) -> None:
    ax.annotate(text, at, away, textcoords="offset points", annotation_clip=False, **how)


def _key(ax: Axes, lines: Lines) -> None:
    """Draw the legend: the meaning of the colours, and the weight of the widest line."""
    from matplotlib.lines import Line2D

    ink = inks(ax)
    widest = f"widest line: {np.abs(lines.weights).max(initial=0.0):.3g}"
    handles = [
        Line2D([], [], color=colour, linewidth=3, label=word)
        for colour, word in ((ink.positive, "positive"), (ink.negative, "negative"))
    ]
    ax.legend(
        handles=[*handles, Line2D([], [], linewidth=0, label=widest)],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=3,
        frameon=False,
        fontsize="small",
        labelcolor=ink.soft,
        handlelength=1.4,
    )


def _names(weights: Weights, which: str, given: Sequence[str] | None, diagram: Diagram, end: int) -> list[str]:
    """Return the names of the units at one end: those given, otherwise those of the file, otherwise x1, x2 ... or y1, y2 ..."""
    size, kept = diagram.sizes[end], diagram.kept[end]
    if given is not None and len(given) != size:
        raise ShapeError(f"{which} has {len(given):,} names, but the network has {size:,}")
    in_file = _names_in_file(weights.meta, which)
    letter = "x" if which == "inputs" else "y"
    names = given if given is not None else in_file if len(in_file) == size else [f"{letter}{nth + 1}" for nth in range(size)]
    return [shown(names[nth], LETTERS) for nth in kept]


def _names_in_file(meta: Mapping[str, object], which: str) -> list[object]:
    """Return the names of the units at one end in an R file; the items of its list may be of any type."""
    networks = meta.get("networks")
    network = networks.get("") if isinstance(networks, Mapping) else None
    names = network.get(which) if isinstance(network, Mapping) else None
    return names if isinstance(names, list) else []
