"""One layer as text: what the graph says of it, its weights with their statistics, and a heat map of its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steelyard.core.roles import plain_layer
from steelyard.core.weight import Role
from steelyard.errors import printable
from steelyard.text.heatmap_text import can_be_drawn, heatmap_lines
from steelyard.text.rows import measured, rows_of
from steelyard.text.table import TIMES, axis_end, drawn, fact_columns, number_columns, remarks, totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.graph import Graph, Layer, Setting, Shape
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.text.terminal import Screen

DRAWN = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
"""The roles of weights that are drawn for a layer, the first of them that it has."""


def layer_lines(name: str, weights: Weights, screen: Screen, *, heatmap: bool | None = None) -> Iterator[str]:
    """Yield the lines of a layer; with `heatmap`, or None and a screen with colours, its kernel is drawn.

    A folder of layers, such as a block, has no facts of its own; repeated ones in it are folded.
    """
    yield screen.paint(printable(name), "bold")
    for key, text in _facts(layer_in(weights.graph, name)):
        if text:
            yield f"{screen.paint(f'  {key:<11}', 'dim')}{screen.broken(text)}"
    stats = list(measured(rows_of(weights)))
    columns = fact_columns([each.row for each in stats], grouped=True) + number_columns(stats, axis_end(stats))
    if len({weight.layer for weight in weights.values()}) == 1:
        columns = [column for column in columns if column.key != "layer"]
    yield ""
    yield from drawn([column for column in columns if column.width], screen)
    yield ""
    yield screen.broken(totals(weights))
    kernel = kernel_of(list(weights.values())) if heatmap or (heatmap is None and screen.colour) else None
    if kernel is not None:
        yield ""
        yield screen.paint(printable(kernel.name), "bold")
        yield from heatmap_lines(kernel, screen)
    for line in remarks(stats, len(weights.distinct())):
        yield screen.paint(screen.broken(line), "red")


def layer_in(graph: Graph | None, name: str) -> Layer | None:
    """Return the layer of this name in a graph, if that is known."""
    layers = graph.layers if graph is not None else ()
    return next((layer for layer in layers if layer.name in (name, plain_layer(name))), None)


def _facts(layer: Layer | None) -> Iterator[tuple[str, str]]:
    """Yield what the graph knows of a layer, each fact with its word."""
    if layer is not None:
        yield "kind", f"{layer.kind} ({printable(layer.class_name)})" if layer.class_name else layer.kind
        shapes = [_shape(layer.input_shape), _shape(layer.output_shape)]
        yield "shapes", " \u2192 ".join(shapes) if any(shapes) else ""
        yield "inputs", ", ".join(map(printable, layer.inputs or ()))
        yield "runs", f"{layer.calls:,} times" if layer.calls > 1 else ""
        settings = settings_of(layer)
        yield "settings", ", ".join(f"{printable(key)} {printable(_text(value))}" for key, value in settings.items())


def settings_of(layer: Layer) -> dict[str, Setting]:
    """Return the settings of a layer that are known, without the names of its weights."""
    return {key: value for key, value in layer.settings.items() if key != "weights" and value is not None}


def _shape(shape: Shape | None) -> str:
    return "?" if shape is None else TIMES.join("any" if side is None else str(side) for side in shape) or "scalar"


def _text(value: Setting) -> str:
    if isinstance(value, tuple):
        return TIMES.join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def kernel_of(weights: Sequence[Weight]) -> Weight | None:
    """Return the weight that is drawn for a layer: its kernel, or the first matrix."""
    matrices = [weight for weight in weights if can_be_drawn(weight) and weight.unreadable is None]
    by_role = (weight for role in DRAWN for weight in matrices if weight.role is role)
    return next(by_role, matrices[0] if matrices else None)


def layer_record(name: str, weights: Weights) -> dict[str, Any]:
    """Return the facts of a layer, and its weights with their statistics, for JSON."""
    from steelyard.text.records import as_lists, plain, weight_record

    layer = layer_in(weights.graph, name)
    facts = (
        {}
        if layer is None
        else {
            "kind": layer.kind,
            "class": layer.class_name,
            "input_shape": layer.input_shape,
            "output_shape": layer.output_shape,
            "inputs": layer.inputs,
            "settings": plain(as_lists(settings_of(layer))),
        }
    )
    return {"layer": name, **as_lists(facts), "weights": [weight_record(weight, stats=True) for weight in weights.values()]}
