"""The graph of a net: its layers in order, their kinds and settings, and the data flow between them.

The weights alone do not show which layer runs first, which epsilon a norm has, or that an image is flattened between a
convolution and a dense layer. A `Graph` does, as far as its framework or its file knows. All frameworks use the same words,
so that two nets can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Setting = bool | int | float | str | None | tuple["Setting", ...]
    """A setting of a layer: a number, a word, a flag, or one of these for each axis."""
    Settings = dict[str, Setting]

Shape = tuple[int | None, ...]
"""A shape without the batch axis; an axis of variable length is None."""

KINDS = frozenset(
    {
        # layers with weights
        *("dense", "conv", "conv transpose", "embedding", "prelu"),
        *("batch norm", "layer norm", "group norm", "instance norm", "rms norm"),
        *("rnn", "lstm", "gru", "attention"),
        # layers without weights
        *("activation", "flatten", "reshape", "pool", "global pool", "pad", "upsample", "merge", "dropout", "softmax"),
        "other",
    }
)
"""The kinds of layers. Depthwise and grouped convolutions are "conv"; a cell has the kind of its layer."""

PARAMETER = "Parameter"
"""The class name of a layer that is only a weight, which a function outside of layers takes."""


class Layer:
    """One layer of a net.

    `name` is the layer name of its weights (`Weight.layer`, or the common prefix of the layers inside, such as `attention` for
    `attention/query`), without the collections of Flax. `kind` is one of `KINDS`, `class_name` the framework's own class.
    `input_shape` and `output_shape` are the shapes of its first input and output, None if not known.

    `inputs` names, in the order of its arguments and with repeats (`x + x`), the layers from which its inputs come, directly
    or through functions that are not layers, and the inputs of the net by their `Graph.input_names`. It is empty if nothing
    flows into the layer, None if not known. `calls` is the number of times that it is known to run. A layer that runs several
    times has the inputs of its first run, then the other inputs of later runs; a layer without weights that runs several times
    is passed through, so that the layers after it have the inputs of the run that fed them.

    `settings` are the other properties on which the outputs depend, as far as the framework knows them, under these words:
    epsilon, momentum (the share of the old value that is kept), activation, recurrent_activation (the words of Keras:
    "relu", "gelu", "gelu_tanh", "sigmoid", "nnet_sigmoid" ...), groups, heads, key_heads, strides, padding ("valid",
    "same", or a tuple), dilation, direction ("backward"), reset_after, negative_slope, transpose_kernel,
    statistics (those of the "batch", or "running" ones, where such a norm usually takes the others), fast_variance,
    returns ("last" if only the last step of a recurrent layer is used, "all" if its whole sequence is),
    merge_mode (the word by which Keras joins both directions), causal, masked and training (how Keras calls a layer).
    """

    __slots__ = ("calls", "class_name", "input_shape", "inputs", "kind", "name", "output_shape", "settings")

    def __init__(
        self,
        name: str,
        kind: str,
        class_name: str = "",
        settings: Mapping[str, Setting] | None = None,
        input_shape: Shape | None = None,
        output_shape: Shape | None = None,
        inputs: tuple[str, ...] | None = None,
        calls: int = 1,
    ) -> None:
        self.name = name
        self.kind = kind
        self.class_name = class_name
        self.settings: Settings = dict(settings or {})
        self.input_shape = input_shape
        self.output_shape = output_shape
        self.inputs = inputs
        self.calls = calls

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of its weights if the graph of a file lists them; else empty."""
        names = self.settings.get("weights")
        return tuple(str(name) for name in names) if isinstance(names, tuple) else ()

    def __repr__(self) -> str:
        facts = f"{self.class_name!r}, {self.settings!r}, {self.input_shape}, {self.output_shape}, {self.inputs}"
        return f"Layer({self.name!r}, {self.kind!r}, {facts})"


class Graph:
    """The layers of a net.

    `is_execution_order` is true if `layers` are in the order in which they run (from a graph or from one run);
    otherwise they are in the order of definition, which proves nothing. A layer that runs twice is listed once, where it runs
    first. `channels` is "first" or "last", the position of the channels of images and sequences, blank if it does not
    matter. `input_names` are the names of the net's inputs in order, as `Layer.inputs` refers to them, empty if they are not
    known: those of its framework or its file, with a number (`x#2`) where a layer has that name. `input_shapes` are the shapes
    of the net's inputs if they are known. `output_names` are the layers whose outputs are the net's, None if they are not known.
    `is_sequential` is true if the net is proven to consist of its layers only: each runs
    once, and its only input is the previous layer.
    """

    __slots__ = ("channels", "input_names", "input_shapes", "is_execution_order", "is_sequential", "layers", "output_names")

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        is_execution_order: bool = False,
        channels: str = "",
        input_names: Iterable[str] = (),
        input_shapes: tuple[Shape, ...] | None = None,
        output_names: Iterable[str] | None = None,
        is_sequential: bool = False,
    ) -> None:
        self.layers = list(layers)
        self.is_execution_order = is_execution_order
        self.channels = channels
        self.input_names = tuple(input_names)
        self.input_shapes = input_shapes
        self.output_names = None if output_names is None else tuple(output_names)
        self.is_sequential = is_sequential

    def feeding(self, layer: Layer) -> tuple[str, ...] | None:
        """Return the names of the layers that feed a layer, each once, without the net's inputs; None if not known.

        >>> Graph([Layer("a", "dense"), add := Layer("add", "merge", inputs=("x", "a", "a"))], input_names=["x"]).feeding(add)
        ('a',)
        """
        if layer.inputs is None:
            return None
        return tuple(name for name in dict.fromkeys(layer.inputs) if name not in self.input_names)

    def __repr__(self) -> str:
        order = "executed" if self.is_execution_order else "as defined"
        return f"Graph({order}, channels {self.channels or 'do not matter'}, {self.layers!r})"


class Run:
    """The outputs of a net for some inputs, and those of its layers by name, in the order of execution."""

    __slots__ = ("layers", "outputs")

    def __init__(self, outputs: list[Array], layers: Mapping[str, Array]) -> None:
        self.outputs = outputs
        self.layers = dict(layers)


def in_line(layers: Iterable[Layer], input_names: Iterable[str]) -> bool:
    """Whether each layer is known to run once, on the previous layer only; the first one on the net's only input."""
    before, seen = tuple(input_names), set[str]()
    for layer in layers:
        if len(before) != 1 or layer.inputs != before or layer.calls != 1 or layer.name in seen:
            return False
        before = (layer.name,)
        seen.add(layer.name)
    return True


def names_of_inputs(names: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
    """Return names for the inputs of a net that differ from one another, and from names that are taken by its layers.

    >>> names_of_inputs(["x", "x", "mask"], ["mask"])
    ('x', 'x#2', 'mask#2')
    """
    made: dict[str, None] = {}
    counts: dict[str, int] = {}
    reserved = set(taken)
    for name in names:
        count = counts.get(name, 1)
        free = name if count == 1 else f"{name}#{count}"
        while free in reserved or free in made:
            count, free = count + 1, f"{name}#{count + 1}"
        made[free], counts[name] = None, count
    return tuple(made)


def argument_names(function: Callable[..., object], count: int) -> list[str]:
    """Return the names of the first arguments of a function; "input" or numbered ones if it does not name that many.

    >>> argument_names(lambda x, mask=None: x, 1), argument_names(lambda *given: given, 2)
    (['x'], ['input_1', 'input_2'])
    """
    import inspect

    try:
        listed = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # a function without a signature
        listed = []
    names = [each.name for each in listed if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if len(names) >= count:
        return names[:count]
    return ["input"] if count == 1 else [f"input_{place}" for place in range(1, count + 1)]


def chained(layers: Iterable[Layer], input_name: str) -> list[Layer]:
    """Set the inputs of layers that run one after another, and return them."""
    listed = list(layers)
    before = input_name
    for layer in listed:
        layer.inputs, before = (before,), layer.name
    return listed
