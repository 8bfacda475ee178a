"""A net as it runs: its layers in order, their kinds and settings, and what flows between them.

The weights alone do not show which layer runs first, where an epsilon differs, or that an image is flattened between a
convolution and a dense layer. A `Graph` does, as far as its framework or its file knows. The words are the same for all
frameworks, so that two nets can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Setting = bool | int | float | str | None | tuple["Setting", ...]
    """A setting of a layer: a number, a word, a flag, or one of these for each axis."""
    Settings = dict[str, Setting]

Shape = tuple[int | None, ...]
"""A shape without the axis of the batch; the length of an axis that may vary is None."""

KINDS = frozenset(
    {
        # layers that have weights
        *("dense", "conv", "conv transpose", "embedding", "prelu"),
        *("batch norm", "layer norm", "group norm", "instance norm", "rms norm"),
        *("rnn", "lstm", "gru", "attention"),
        # layers that have none
        *("activation", "flatten", "reshape", "pool", "global pool", "pad", "upsample", "merge", "dropout", "softmax"),
        "other",
    }
)
"""The kinds of layers. Depthwise and grouped ones are "conv"; a cell is of the kind of its layer."""


class Layer:
    """One layer of a net.

    `name` is that of its weights (`Weight.layer`, or the common prefix of the layers inside, such as `attention` for
    `attention/query`), without the collections of Flax. `kind` is one of `KINDS`, `class_name` the framework's own class.
    `input_shape` and `output_shape` are the shapes of its first input and output, None where they are not known. `inputs` names
    the layers of the graph whose outputs it is given, directly or through functions that are not layers; it is empty where
    only the net's inputs are, None where that is not known. A layer that runs several times has the inputs of all its runs;
    one without weights is passed through then, so that the layers that it feeds have the inputs of the run that fed them.

    `settings` holds what the outputs depend on apart from the weights, as far as the framework knows it, under these words:
    epsilon, momentum (the share of the old value that is kept), activation, recurrent_activation (the words of Keras:
    "relu", "gelu", "gelu_tanh", "sigmoid", "nnet_sigmoid" ...), groups, heads, key_heads, strides, padding ("valid",
    "same", or a tuple), dilation, direction ("backward"), reset_after, negative_slope, transpose_kernel,
    fast_variance.
    """

    __slots__ = ("class_name", "input_shape", "inputs", "kind", "name", "output_shape", "settings")

    def __init__(
        self,
        name: str,
        kind: str,
        class_name: str = "",
        settings: Mapping[str, Setting] | None = None,
        input_shape: Shape | None = None,
        output_shape: Shape | None = None,
        inputs: tuple[str, ...] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.class_name = class_name
        self.settings: Settings = dict(settings or {})
        self.input_shape = input_shape
        self.output_shape = output_shape
        self.inputs = inputs

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of its weights where the graph of a file lists them one by one; else empty."""
        names = self.settings.get("weights")
        return tuple(str(name) for name in names) if isinstance(names, tuple) else ()

    def __repr__(self) -> str:
        facts = f"{self.class_name!r}, {self.settings!r}, {self.input_shape}, {self.output_shape}, {self.inputs}"
        return f"Layer({self.name!r}, {self.kind!r}, {facts})"


class Graph:
    """The layers of a net.

    `is_execution_order` is true where `layers` are in the order in which they run (taken from a graph or from one run);
    otherwise the order is that of definition and proves nothing. A layer that runs twice is listed once, where it runs
    first. `channels` is "first" or "last", the position of the channels of images and sequences, blank where it does not
    matter. `input_shapes` are those of the net's inputs where they are known. `is_sequential` is true where the net is
    nothing but its layers: each runs once, fed by the one before alone.
    """

    __slots__ = ("channels", "input_shapes", "is_execution_order", "is_sequential", "layers")

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        is_execution_order: bool = False,
        channels: str = "",
        input_shapes: tuple[Shape, ...] | None = None,
        is_sequential: bool = False,
    ) -> None:
        self.layers = list(layers)
        self.is_execution_order = is_execution_order
        self.channels = channels
        self.input_shapes = input_shapes
        self.is_sequential = is_sequential

    def __repr__(self) -> str:
        order = "executed" if self.is_execution_order else "as defined"
        return f"Graph({order}, channels {self.channels or 'do not matter'}, {self.layers!r})"


class Run:
    """The outputs of a net for some inputs, and those of its layers by name, in the order of execution."""

    __slots__ = ("layers", "outputs")

    def __init__(self, outputs: list[Array], layers: Mapping[str, Array]) -> None:
        self.outputs = outputs
        self.layers = dict(layers)


def in_line(layers: Iterable[Layer]) -> bool:
    """Return whether each layer is known to be fed by the one before alone."""
    before: tuple[str, ...] = ()
    for layer in layers:
        if layer.inputs != before:
            return False
        before = (layer.name,)
    return True
