"""Layers in the module trees of JAX's libraries: their names, and the layers that feed them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from steelyard.core.graph import Layer, in_line

if TYPE_CHECKING:
    from steelyard.core.graph import Setting


def in_sequence(layers: Iterable[Layer], input_name: str = "input") -> list[Layer]:
    """Set the inputs of layers that run one after another; the two directions of a recurrent layer have the same inputs."""
    listed: list[Layer] = []
    before: tuple[str, ...] = (input_name,)
    for layer in layers:
        directions = (listed[-1].settings.get("direction"), layer.settings.get("direction")) if listed else ()
        parallel = directions == ("forward", "backward")
        layer.inputs = listed[-1].inputs if parallel else before
        before = (*before, layer.name) if parallel else (layer.name,)
        listed.append(layer)
    return listed


def is_known_chain(layers: Iterable[Layer], input_names: Iterable[str]) -> bool:
    """Whether layers run one after another, and what each does is known."""
    listed = list(layers)
    return in_line(listed, input_names) and all(layer.kind != "other" for layer in listed)


def with_settings(layer: Layer, **settings: Setting) -> Layer:
    """Return a layer with these settings too."""
    layer.settings |= settings
    return layer


def covered(layers: Iterable[Layer], names: Iterable[str], whole: Collection[str]) -> set[str]:
    """Return the names (of the layers of weights) that belong to one of the layers: its own name, or that of a part of it.

    A layer of an unknown kind has parts if its class is one of `whole`.
    """
    listed = list(layers)
    own = {layer.name for layer in listed}
    above = [layer.name for layer in listed if layer.kind != "other" or layer.class_name in whole]
    return {name for name in names if name in own or any(holds(each, name) for each in above)}


def holds(above: str, name: str) -> bool:
    """Whether a name is that of a layer or of a part of it.

    >>> holds("cell", "cell/ii"), holds("cell", "cell_1"), holds("", "cell"), holds("layers", "layers[0].cell")
    (True, False, True, True)
    """
    return above in ("", name) or (name.startswith(above) and name[len(above)] in "/.[")
