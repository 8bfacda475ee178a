"""The graph of a Keras config: functional and Sequential models of all versions.

The config is data: no layer is ever created from it. Invalid entries are left out, and the graph is in execution order
only if there are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.keras.chains import is_chain
from steelyard.codecs.keras.config import (
    MODELS,
    Ref,
    calls_of,
    entries_of,
    functional_of,
    is_sequential,
    joined_path,
    name_of,
    refs_in,
    shape_of,
)
from steelyard.codecs.keras.dataflow import ConfigTracer
from steelyard.core.graph import Graph, Layer, Shape, names_of_inputs
from steelyard.core.weight import Weight
from steelyard.layers.keras.kinds import (
    IMAGES,
    RECURRENT,
    called_with,
    cells_of,
    channels_word,
    class_and_config,
    described,
    joined_by,
)
from steelyard.layers.keras.shapes import shape_after

if TYPE_CHECKING:
    from steelyard.codecs.keras.config import Key
    from steelyard.layers.keras.kinds import Config
    from steelyard.storage.source import Source

Listing = Generator[Layer, None, "Shape | None"]
"""Yields layers in order, and returns the shape of the last output."""


def graph_maker(config: object, weights: Iterable[Weight], source: Source) -> Callable[[], Graph] | None:
    """Return a function that makes the graph; None where the config, which is from `source`, lists no layers."""
    layers = [weight.layer for weight in weights]
    return (lambda: graph_of(config, layers, source)) if entries_of(config) else None


def graph_of(config: object, layers: Iterable[str], source: Source | None = None) -> Graph:
    """Return the layers of a config, from the file `source` if any. Their names are taken from `layers`, those of the weights."""
    reader = _ConfigReader(layers)
    reader.number(config)
    try:
        listed = list(reader.visit(config, "", [], None, 0))
    except RecursionError:  # wrappers nested too deep
        return Graph([])
    taken: Counter[str] = Counter()
    for layer in listed:
        taken[layer.name] += 1
        layer.name = f"{layer.name}#{taken[layer.name]}" if taken[layer.name] > 1 else layer.name
    input_names = names_of_inputs(_input_names(config), [layer.name for layer in listed])
    outputs = ConfigTracer(reader.rows, source).set_inputs(config, listed, reader.weightless, input_names)
    chain = reader.is_certain and is_chain(config)
    return Graph(
        listed,
        is_execution_order=reader.is_certain,
        channels=reader.channels,
        input_names=input_names,
        input_shapes=_inputs(config),
        output_names=outputs,
        is_sequential=chain,
    )


class _ConfigReader:
    """Reads the layers of a config in order.

    `rows` are the layers of each entry, by its identity: a chain for each direction. `weightless` has the identities of
    layers without weights. `is_certain` is false once the execution order is not certain.
    """

    __slots__ = ("_numbers", "_under", "channels", "is_certain", "rows", "weightless")

    def __init__(self, layers: Iterable[str]) -> None:
        # all layers by every prefix of their paths: a wrapper or a model finds the layers inside it by its own path
        self._under: dict[str, list[str]] = {}
        self._numbers: dict[int, int] = {}
        self.channels = ""
        self.is_certain = True
        self.rows: dict[int, list[list[Layer]]] = {}
        self.weightless: set[int] = set()
        for layer in dict.fromkeys(layers):
            words = re.sub(r"#\d+$", "", layer).split("/")[: limits.RECURSION]
            for count in range(1, len(words) + 1):
                self._under.setdefault("/".join(words[:count]), []).append(layer)

    def number(self, config: object) -> None:
        """Number the layers of the same path in the order of the config, in which their weights were named too."""
        taken: Counter[str] = Counter()
        stack: list[tuple[object, str, int]] = [(config, "", 0)]
        while stack:
            entry, prefix, depth = stack.pop()
            path = joined_path(prefix, name_of(entry))
            taken[path] += 1
            self._numbers[id(entry)] = taken[path]
            if depth < limits.RECURSION:
                below = path if is_sequential(entry) else ""
                stack += [(each, below, depth + 1) for each in reversed(entries_of(entry))]

    def names(self, entry: object, path: str) -> list[str]:
        """Return the layers of weights at or below the path of an entry; paths in old files lack the outer models."""
        names = self._under.get(path) or self._under.get(name_of(entry)) or []
        place = self._numbers.get(id(entry), 1)
        own = [name for name in names if name.endswith(f"#{place}") or (place == 1 and not re.search(r"#\d+$", name))]
        return own or names

    def visit(
        self, entry: object, prefix: str, input_shapes: list[Shape | None], output_shape: Shape | None, depth: int
    ) -> Listing:
        """Yield the layers of an entry in execution order, and return the shape of its output."""
        kind, config = class_and_config(entry)
        path = joined_path(prefix, name_of(entry))
        if depth >= limits.RECURSION:
            self.is_certain = False
        elif entries_of(entry):
            self.is_certain &= kind in MODELS
            if is_sequential(entry):
                inner = yield from self._chain(entry, path, input_shapes, depth)
            else:
                inner = yield from self._functional(entry, depth)
            return output_shape or inner
        elif kind != "InputLayer":
            first = input_shapes[0] if input_shapes else None
            made = list(self._layer(_known_class(entry), config, entry, path, first, output_shape))
            self.rows.setdefault(id(entry), [made])
            if not self.names(entry, path):
                # the tracer looks through these: one ReLU called throughout a net must not connect all its layers
                self.weightless.update(map(id, made))
            yield from made
        return output_shape

    def _layer(
        self, kind: str, config: Config, entry: object, path: str, input_shape: Shape | None, output_shape: Shape | None
    ) -> Iterator[Layer]:
        names = self.names(entry, path)
        if kind in ("TimeDistributed", "SpectralNormalization"):
            yield from self._wrapped(kind, config, entry, path, input_shape, output_shape)
        elif kind == "Bidirectional":
            yield from self._both(config, entry, path, input_shape)
        elif kind in RECURRENT:
            yield from _cells(kind, config, names, path, input_shape, output_shape)
        else:
            made_by, _ = class_and_config(entry)
            layer = described(made_by, kind, config, _common(names) or path, input_shape, output_shape)
            if layer.kind in IMAGES:
                self.channels = self.channels or channels_word(config)
            yield layer

    def _wrapped(
        self, kind: str, config: Config, entry: object, path: str, input_shape: Shape | None, output_shape: Shape | None
    ) -> Iterator[Layer]:
        inner = config.get("layer")
        if entries_of(inner):
            yield from self.visit(
                inner, path, [input_shape and input_shape[1:]], output_shape and output_shape[1:], limits.RECURSION - 1
            )
            return
        _, own = class_and_config(inner)
        for layer in self._layer(_known_class(inner), own, entry, path, input_shape, output_shape):
            if kind == "SpectralNormalization":
                layer.settings["spectral_norm"] = True
            elif not self.names(entry, path):
                layer.name = joined_path(path, name_of(inner))
            layer.class_name = class_and_config(inner)[0]
            yield layer

    def _both(self, config: Config, entry: object, path: str, input_shape: Shape | None) -> Iterator[Layer]:
        """Yield the cells of both directions. The backward layer is the forward one reversed, unless the config has it."""
        kind, forward = class_and_config(config.get("layer"))
        back_kind, backward = class_and_config(config.get("backward_layer"))
        reverse = {**forward, "go_backwards": not forward.get("go_backwards")}
        directions = ((kind, forward, False), (back_kind or kind, backward or reverse, True))
        rows = self.rows[id(entry)] = []
        for kind, own, is_back in directions:
            ours = [n for n in self.names(entry, path) if any(word.startswith("backward") for word in n.split("/")) == is_back]
            cell = joined_path(path, f"{'backward' if is_back else 'forward'}_{forward.get('name', '')}")
            rows.append(list(_cells(kind, own, ours, cell, input_shape, shape_after(kind, own, [input_shape]))))
            for layer in rows[-1]:
                layer.settings["merge_mode"] = joined_by(config)
            yield from rows[-1]

    def _chain(self, entry: object, prefix: str, input_shapes: list[Shape | None], depth: int) -> Listing:
        """Yield the layers of a Sequential model. The input shape of a layer is the output shape of the one before."""
        entries = entries_of(entry)
        shape = (input_shapes[0] if input_shapes else None) or next(iter(_inputs(entry) or ()), None)
        for place, each in enumerate(entries):
            kind, _ = class_and_config(each)
            shape = _declared_shape(each) or shape
            later = _declared_shape(entries[place + 1]) if place + 1 < len(entries) else None
            output_shape = shape if kind == "InputLayer" else later or self._output_shape(each, [shape])
            shape = yield from self.visit(each, prefix, [shape], output_shape, depth + 1)
        return shape

    def _output_shape(self, entry: object, input_shapes: list[Shape | None]) -> Shape | None:
        """Return the output shape of a layer; None for a model."""
        kind, config = class_and_config(entry)
        inner = config.get("layer")
        if kind == "SpectralNormalization":
            return self._output_shape(inner, input_shapes)
        if kind == "TimeDistributed":
            made = self._output_shape(inner, [input_shapes[0][1:]]) if input_shapes[0] else None
            return input_shapes[0] and made and (input_shapes[0][0], *made)
        if kind == "RNN":
            cells = cells_of(kind, config)
            return shape_after("LSTM", {**config, "units": cells[-1][1].get("units")}, input_shapes) if cells else None
        if kind == "Bidirectional":
            one = shape_after(*class_and_config(inner), input_shapes)
            return (*one[:-1], 2 * one[-1]) if one and one[-1] and config.get("merge_mode") == "concat" else None
        return shape_after(_known_class(entry), config, input_shapes)

    def _functional(self, entry: object, depth: int) -> Listing:
        """Yield the layers of a functional model in execution order, each at its first call.

        Their names do not have the model's name as a prefix.
        """
        model = functional_of(entry)
        self.is_certain &= model.is_sound
        shapes, done, masks = _Shapes(model.calls), set(), model.masks
        for key in model.order:
            each = model.by_name.get(key[0])
            if each is None or key not in model.calls:
                continue
            inputs = [shapes.of(ref) for ref in model.calls[key]]
            output_shape = shapes.made.get(key) or (self._output_shape(each, inputs) if inputs else _declared_shape(each))
            if key[0] not in done and key not in masks:
                done.add(key[0])
                output_shape = yield from self.visit(each, "", inputs, output_shape, depth + 1)
                self._set_call(each, calls_of(each)[key[1]])
            shapes.made[key] = output_shape
        return shapes.of(model.ends[0]) if model.ends else None

    def _set_call(self, entry: object, call: object) -> None:
        """Set the settings that the first call of a layer has, where Keras 3 lists its arguments."""
        args, kwargs = (call.get("args"), call.get("kwargs")) if isinstance(call, Mapping) else (None, None)
        for layer in (each for row in self.rows.get(id(entry), ()) for each in row):
            if isinstance(args, list) and isinstance(kwargs, Mapping):
                layer.settings |= called_with(layer.kind, args, kwargs)


class _Shapes:
    """The shapes of tensors in a functional model, from its config or computed."""

    __slots__ = ("made",)

    def __init__(self, calls: Mapping[Key, list[Ref]]) -> None:
        known = [ref for refs in calls.values() for ref in refs if ref.shape is not None and ref.output == 0]
        self.made: dict[Key, Shape | None] = {ref.key: ref.shape for ref in known}

    def of(self, ref: Ref) -> Shape | None:
        return ref.shape if ref.shape is not None else self.made.get(ref.key)


def _known_class(entry: object) -> str:
    """Return the class of an entry; blank for a user's class, even with a name of Keras."""
    kind, _ = class_and_config(entry)
    module = entry.get("module") if isinstance(entry, Mapping) else None
    return kind if module is None or str(module).startswith(("keras", "tensorflow", "tf_keras")) else ""


def _common(names: list[str]) -> str:
    """Return the common prefix of all names, in words."""
    words = [each[0] for each in zip(*(name.split("/") for name in names), strict=False) if len(set(each)) == 1]
    return "/".join(words)


def _cells(
    kind: str, config: Config, names: list[str], path: str, input_shape: Shape | None, output_shape: Shape | None
) -> Iterator[Layer]:
    """Yield the cells. The first has the input shape of the layer, the last its output shape."""
    cells = cells_of(kind, config)
    for place, (word, own) in enumerate(cells):
        name = names[place] if len(names) == len(cells) else _common(names) or path
        yield described(
            word, word, own, name, input_shape if place == 0 else None, output_shape if place == len(cells) - 1 else None
        )


def _declared_shape(entry: object) -> Shape | None:
    """Return the shape of a layer's first input; None where its entry does not have it."""
    _, config = class_and_config(entry)
    built = entry.get("build_config") if isinstance(entry, Mapping) else None
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    while isinstance(shape, (list, tuple)) and shape and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    return shape_of(shape) or shape_of(config.get("batch_shape") or config.get("batch_input_shape"))


def _input_names(entry: object) -> list[str]:
    """Return the names of a model's input layers; "input" if its config does not list them."""
    _, config = class_and_config(entry)
    listed = [ref.name for ref in refs_in(config.get("input_layers"))]
    first = next((name_of(each) for each in entries_of(entry) if class_and_config(each)[0] == "InputLayer"), "")
    return listed or [first or "input"]


def _inputs(entry: object) -> tuple[Shape, ...] | None:
    """Return the shapes of a model's inputs; None unless its config has them all."""
    _, config = class_and_config(entry)
    by_name = {name_of(each): each for each in entries_of(entry)}
    if is_sequential(entry):
        first = next(iter(by_name.values()), None)
        shape = _declared_shape(first) or shape_of(config.get("build_input_shape"))
        return None if shape is None else (shape,)
    shapes = [_declared_shape(by_name.get(ref.name)) for ref in refs_in(config.get("input_layers"))]
    return tuple(shape for shape in shapes if shape is not None) if shapes and None not in shapes else None
