"""Layers in the module trees of JAX's libraries: their names, the layers that feed them, and the graph that they form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from steelyard.core.graph import Graph, Layer, in_line

if TYPE_CHECKING:
    from steelyard.core.graph import Setting
    from steelyard.core.weight import Array

Module = TypeVar("Module")


class DefinedLayers:
    """The layers of a module in the order of definition.

    `names` are the layers of its weights, `whole` the classes whose parts do not count as layers, and `channels` the
    position of the channels. `is_sequence` is true if the layers certainly run in this order.
    """

    __slots__ = ("_channels", "_layers", "_names", "_whole", "is_sequence")

    def __init__(
        self, layers: list[Layer], names: Collection[str], whole: Collection[str], channels: str, *, is_sequence: bool = False
    ) -> None:
        self._layers = layers
        self._names = names
        self._whole = whole
        self._channels = channels
        self.is_sequence = is_sequence

    def graph(self) -> Graph:
        """Return the graph that is known without a run."""
        return Graph(
            self._layers,
            is_execution_order=self.is_sequence,
            channels=self._channels,
            input_names=["input"] if self.is_sequence else [],
            is_sequential=self.is_sequence and is_known_chain(self._layers, ["input"]),
        )

    def graph_of_run(self, called: Mapping[str, Layer], arguments: Iterable[str], inputs: Sequence[Array]) -> Graph:
        """Return the graph after a run, given the layers that were called and the names of the inputs.

        A sequence gains only shapes. Other layers follow in the order of the run, which is not the order of execution of
        all if a layer with weights was not called; such layers come last.
        """
        shapes = tuple(tuple(x.shape[1:]) for x in inputs)
        if self.is_sequence:
            for layer in self._layers:
                if (seen := called.get(layer.name)) is not None:
                    layer.input_shape, layer.output_shape = seen.input_shape, seen.output_shape
            graph = self.graph()
            graph.input_shapes = shapes
            return graph
        return Graph(
            [*called.values(), *(layer for layer in self._layers if layer.name not in called)],
            is_execution_order=not set(self._names) - covered(called.values(), self._names, self._whole),
            channels=self._channels,
            input_names=arguments,
            input_shapes=shapes,
        )


def defined_layers(
    walked: Iterable[Layer | None],
    names: Collection[str],
    modules: Callable[[], Mapping[str, Module]],
    describe: Callable[[str, Module | None], Layer],
    known_class: Callable[[Module], str],
    whole: Collection[str],
    channels: str,
) -> DefinedLayers:
    """Return the layers of a module: those of a sequence, or else the outermost known module around each layer of weights.

    `walked` are the layers that certainly run one after another, with None for a module with a calling order of its own.
    `modules` lists the modules inside by name; `describe` makes a layer of one, and `known_class` returns its known class.
    """
    listed = list(walked)
    certain = [layer for layer in listed if layer is not None]
    if len(certain) == len(listed) and not set(names) - covered(certain, names, whole):
        return DefinedLayers(in_sequence(certain), names, whole, channels, is_sequence=True)
    inside = modules()
    outer = [name for name, module in inside.items() if known_class(module) in whole]
    tops = (min((each for each in outer if holds(each, name)), key=len, default=name) for name in names)
    return DefinedLayers([describe(top, inside.get(top)) for top in dict.fromkeys(tops)], names, whole, channels)


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
