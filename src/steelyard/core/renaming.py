"""New names for weights, their ties, their layers and the layers of their graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.core.lazy_graph import LazyGraph
from steelyard.core.patterns import Pattern
from steelyard.core.roles import plain_layer
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Layer
    from steelyard.core.protocols import Assign, NamesInOrder
    from steelyard.core.weight import Weight

    Names = Callable[[str], str | None]
    """Returns the new name of a weight or a layer; None if it is left out."""


def expanded(match: re.Match[str], template: str) -> str:
    """Return the name that a template makes of a match. Raises `ShapeError` for a template that the pattern cannot fill."""
    try:
        return match.expand(template)
    except (re.error, IndexError) as error:
        rule = f"the pattern {quoted(match.re.pattern)}"
        raise ShapeError(f"invalid template {quoted(template)} for {rule}: {error}") from None


def names_by(pattern: str, replacement: str) -> Callable[[str], str]:
    """Return a function that rewrites each name that `pattern` matches completely by the template `replacement`."""
    given: tuple[object, ...] = (pattern, replacement)
    if wrong := [each for each in given if not isinstance(each, str)]:
        raise ShapeError(f"{quoted(wrong[0])} is not text; rename takes a regular expression and its template")
    try:
        rule = Pattern(pattern)
    except re.error as error:
        raise ShapeError(f"{quoted(pattern)} is not a regular expression: {error}") from None

    def renamed(name: str) -> str:
        match = rule.match(name)
        return expanded(match, replacement) if match else name

    return renamed


def renamed_weight(weight: Weight, renamed: Callable[[str], str]) -> Weight:
    """Return a weight under its new name, in its renamed layer."""
    return weight.replace(
        name=renamed(weight.name),
        layer=_renamed_layer(weight, renamed),
        tied=weight.tied and renamed(weight.tied),
        overlaps=weight.overlaps and renamed(weight.overlaps),
    )


def _renamed_layer(weight: Weight, renamed: Callable[[str], str]) -> str:
    """Return the new name without the weight's leaf name; if the leaf name changed too, the layer is renamed separately."""
    name = renamed(weight.name)
    leaf = leaf_of(weight)
    layer = name.removesuffix(leaf)
    return layer.rstrip("./") if leaf and layer != name and layer[-1:] in ("", ".", "/") else renamed(weight.layer)


def leaf_of(weight: Weight) -> str:
    """Return a weight's name without its layer's prefix, or the whole name if it does not have this prefix."""
    return weight.name.removeprefix(weight.layer).lstrip("./")


def renamed_order(order: NamesInOrder, names: Names) -> NamesInOrder:
    """Return the same order with the new names."""

    def renamed() -> list[str] | None:
        listed = order()
        return None if listed is None else [name for old in listed if (name := names(old)) is not None]

    return renamed


def renamed_assign(assign: Assign, weights: Iterable[str], names: Names) -> Assign:
    """Return a function that assigns arrays by the new names."""
    original = {names(name): name for name in weights}
    return lambda arrays, *, verify=True: assign({original[name]: array for name, array in arrays.items()}, verify=verify)


def renamed_graph(graph: LazyGraph, before: Mapping[str, Weight], after: Mapping[str, Weight], names: Names) -> LazyGraph:
    """Return the graph with new names of weights and layers; it keeps no weights alive, since these have the model's memory."""
    new = ((weight, names(name)) for name, weight in before.items())
    layers = {plain_layer(old.layer): plain_layer(after[name].layer) for old, name in new if name in after and name is not None}

    def made() -> Graph | str | None:
        known = graph.answer()
        return known if known is None or isinstance(known, str) else _graph(known, layers, names)

    return LazyGraph(made, keeps_model=graph.keeps_model)


def _graph(graph: Graph, layers: Mapping[str, str], names: Names) -> Graph:
    """Return a graph whose layers have new names; `layers` has the new names of layers with weights.

    `names` renames the others, and leaves out those for which it returns None.
    """
    from steelyard.core.graph import Graph, names_of_inputs

    of_weights = dict(_with_containers(layers))
    new = {layer.name: of_weights.get(layer.name, names(layer.name)) for layer in graph.layers}
    whole = None not in new.values()
    named = [(layer, name) for layer in graph.layers if (name := new[layer.name]) is not None]
    free = names_of_inputs(graph.input_names, [name for _, name in named])
    kept_inputs = dict(zip(graph.input_names, free, strict=True))
    return Graph(
        (_renamed(layer, name, {**new, **kept_inputs}, names) for layer, name in named),
        is_execution_order=graph.is_execution_order,
        channels=graph.channels,
        input_names=kept_inputs.values(),
        input_shapes=graph.input_shapes if whole else None,
        output_names=_inputs(graph.output_names, {**new, **kept_inputs}),
        is_sequential=graph.is_sequential and whole,
    )


def _with_containers(layers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the old and the new name of each layer and of all layers that contain it, outer ones first.

    Of several pairs with the same old name the last one counts, so a layer's own new name comes last.
    """
    for old, new in layers.items():
        for cut in (place for place, letter in enumerate(old) if letter in "./"):
            if new.endswith(old[cut:]):
                yield old[:cut], new.removesuffix(old[cut:])
    yield from layers.items()


def _renamed(layer: Layer, name: str, new: Mapping[str, str | None], names: Names) -> Layer:
    from steelyard.core.graph import Layer

    settings = dict(layer.settings)
    if "weights" in settings:
        settings["weights"] = tuple(other for each in layer.weight_names if (other := names(each)) is not None)
    if "wraps" in settings:
        settings["wraps"] = new.get(str(settings["wraps"])) or ""
    shapes = layer.input_shape, layer.output_shape
    return Layer(name, layer.kind, layer.class_name, settings, *shapes, _inputs(layer.inputs, new), layer.calls)


def _inputs(inputs: tuple[str, ...] | None, new: Mapping[str, str | None]) -> tuple[str, ...] | None:
    """Return the new names of a layer's inputs; None if one of them was left out, or if they are not known."""
    if inputs is None:
        return None
    kept = tuple(name for each in inputs if (name := new.get(each)) is not None)
    return kept if len(kept) == len(inputs) else None
