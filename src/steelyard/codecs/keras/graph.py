"""The graph that a Keras file's config describes: functional and Sequential models of all versions.

The config is data here: nothing in it is ever made into a layer. What makes no sense in it costs what it would
have told, and the order is vouched for only where all of it is plain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.keras.chains import is_chain
from steelyard.codecs.keras.config import MODELS, Ref, entries_of, is_sequential, name_of, net_of, refs_in, shape_of
from steelyard.codecs.keras.dataflow import ConfigTracer
from steelyard.core.graph import Graph, Layer, Shape
from steelyard.core.weight import Weight
from steelyard.layers.keras.kinds import (
    IMAGES,
    RECURRENT,
    cells_of,
    channels_word,
    class_and_config,
    described,
)
from steelyard.layers.keras.shapes import shape_after

if TYPE_CHECKING:
    from steelyard.codecs.keras.config import Key

Listing = Generator[Layer, None, "Shape | None"]
"""Layers in order, and in the end the shape of what the last gives."""


def graph_maker(config: Any, weights: Iterable[Weight]) -> Callable[[], Graph] | None:
    """Return what makes the graph when it is asked for; None where the config lists no layers."""
    layers = [weight.layer for weight in weights]
    return (lambda: graph_of(config, layers)) if entries_of(config) else None


def graph_of(config: Any, layers: Iterable[str]) -> Graph:
    """Return the layers of a model's config, by the names in `layers`, which are those of the weights (`Weight.layer`)."""
    reading = _Reading(layers)
    reading.number(config)
    try:
        listed = list(reading.visit(config, "", [], None, 0))
    except RecursionError:  # wrappers in wrappers without end
        return Graph([])
    taken: Counter[str] = Counter()
    for layer in listed:
        taken[layer.name] += 1
        layer.name = f"{layer.name}#{taken[layer.name]}" if taken[layer.name] > 1 else layer.name
    ConfigTracer(reading.rows).set_inputs(config, listed, reading.weightless)
    chain = reading.is_certain and is_chain(config)
    return Graph(
        listed,
        is_execution_order=reading.is_certain,
        channels=reading.channels,
        input_shapes=_inputs(config),
        is_sequential=chain,
    )


class _Reading:
    """What is known while a config is read: the names of weights, and what has been found out on the way.

    `rows` are the layers of each entry, by its identity: those that run one after another, for each direction.
    """

    __slots__ = ("_places", "_under", "channels", "is_certain", "rows", "weightless")

    def __init__(self, layers: Iterable[str]) -> None:
        self._under: dict[str, list[str]] = {}
        self._places: dict[int, int] = {}
        self.channels = ""
        self.is_certain = True
        self.rows: dict[int, list[list[Layer]]] = {}
        self.weightless: set[int] = set()
        for layer in dict.fromkeys(layers):
            words = re.sub(r"#\d+$", "", layer).split("/")[: limits.RECURSION]
            for count in range(1, len(words) + 1):
                self._under.setdefault("/".join(words[:count]), []).append(layer)

    def number(self, config: Any) -> None:
        """Count the layers of one path in the order of the config, in which their weights were named too."""
        taken: Counter[str] = Counter()
        stack = [(config, "", 0)]
        while stack:
            entry, scope, depth = stack.pop()
            path = _path(scope, name_of(entry))
            taken[path] += 1
            self._places[id(entry)] = taken[path]
            if depth < limits.RECURSION:
                below = path if is_sequential(entry) else ""
                stack += [(each, below, depth + 1) for each in reversed(entries_of(entry))]

    def names(self, entry: Any, path: str) -> list[str]:
        """Return the names of a layer's weights at or below its path; old files leave the models around out of it."""
        found = self._under.get(path) or self._under.get(name_of(entry)) or []
        place = self._places.get(id(entry), 1)
        own = [name for name in found if name.endswith(f"#{place}") or (place == 1 and not re.search(r"#\d+$", name))]
        return own or found

    def visit(self, entry: Any, scope: str, takes: list[Shape | None], gives: Shape | None, depth: int) -> Listing:
        """Yield the layers that an entry stands for, in the order in which they run, and return the shape of its output."""
        kind, config = class_and_config(entry)
        path = _path(scope, name_of(entry))
        if depth >= limits.RECURSION:
            self.is_certain = False
        elif entries_of(entry):
            self.is_certain &= kind in MODELS
            inner = yield from self._chain(entry, path, takes, depth) if is_sequential(entry) else self._net(entry, depth)
            return gives or inner
        elif kind != "InputLayer":
            first = takes[0] if takes else None
            made = list(self._layer(_known_class(entry), config, entry, path, first, gives))
            self.rows.setdefault(id(entry), [made])
            if not self.names(entry, path):
                self.weightless.update(map(id, made))
            yield from made
        return gives

    def _layer(
        self, kind: str, config: Mapping[str, Any], entry: Any, path: str, takes: Shape | None, gives: Shape | None
    ) -> Iterator[Layer]:
        names = self.names(entry, path)
        if kind in ("TimeDistributed", "SpectralNormalization"):
            yield from self._wrapped(kind, config, entry, path, takes, gives)
        elif kind == "Bidirectional":
            yield from self._both(config, entry, path, takes)
        elif kind in RECURRENT:
            yield from _cells(kind, config, names, path, takes, gives)
        else:
            made_by, _ = class_and_config(entry)
            found = described(made_by, kind, config, _common(names) or path, takes, gives)
            if found.kind in IMAGES:
                self.channels = self.channels or channels_word(config)
            yield found

    def _wrapped(
        self, kind: str, config: Mapping[str, Any], entry: Any, path: str, takes: Shape | None, gives: Shape | None
    ) -> Iterator[Layer]:
        inner = config.get("layer")
        if entries_of(inner):
            yield from self.visit(inner, path, [takes and takes[1:]], gives and gives[1:], limits.RECURSION - 1)
            return
        _, own = class_and_config(inner)
        for layer in self._layer(_known_class(inner), own, entry, path, takes, gives):
            if kind == "SpectralNormalization":
                layer.settings["spectral_norm"] = True
            elif not self.names(entry, path):
                layer.name = _path(path, name_of(inner))
            layer.class_name = class_and_config(inner)[0]
            yield layer

    def _both(self, config: Mapping[str, Any], entry: Any, path: str, takes: Shape | None) -> Iterator[Layer]:
        """Yield the cells of both directions; the backward layer is the forward one turned, unless it is told."""
        kind, forward = class_and_config(config.get("layer"))
        back_kind, backward = class_and_config(config.get("backward_layer"))
        turned = {**forward, "go_backwards": not forward.get("go_backwards")}
        sides = ((kind, forward, False), (back_kind or kind, backward or turned, True))
        rows = self.rows[id(entry)] = []
        for kind, own, is_back in sides:
            ours = [n for n in self.names(entry, path) if any(word.startswith("backward") for word in n.split("/")) == is_back]
            side = _path(path, f"{'backward' if is_back else 'forward'}_{forward.get('name', '')}")
            rows.append(list(_cells(kind, own, ours, side, takes, shape_after(kind, own, [takes]))))
            yield from rows[-1]

    def _chain(self, entry: Any, scope: str, takes: list[Shape | None], depth: int) -> Listing:
        """Yield the layers of a Sequential model; a later one says what an earlier one gives."""
        entries = entries_of(entry)
        shape = (takes[0] if takes else None) or next(iter(_inputs(entry) or ()), None)
        for place, each in enumerate(entries):
            kind, _ = class_and_config(each)
            shape = _told(each) or shape
            later = _told(entries[place + 1]) if place + 1 < len(entries) else None
            gives = shape if kind == "InputLayer" else later or self._after(each, [shape])
            shape = yield from self.visit(each, scope, [shape], gives, depth + 1)
        return shape

    def _after(self, entry: Any, takes: list[Shape | None]) -> Shape | None:
        """Return what a layer makes of a shape; nothing for a whole model."""
        kind, config = class_and_config(entry)
        inner = config.get("layer")
        if kind == "SpectralNormalization":
            return self._after(inner, takes)
        if kind == "TimeDistributed":
            made = self._after(inner, [takes[0][1:]]) if takes[0] else None
            return takes[0] and made and (takes[0][0], *made)
        if kind == "RNN":
            cells = cells_of(kind, config)
            return shape_after("LSTM", {**config, "units": cells[-1][1].get("units")}, takes) if cells else None
        if kind == "Bidirectional":
            one = shape_after(*class_and_config(inner), takes)
            return (*one[:-1], 2 * one[-1]) if one and one[-1] and config.get("merge_mode") == "concat" else None
        return shape_after(_known_class(entry), config, takes)

    def _net(self, entry: Any, depth: int) -> Listing:
        """Yield the layers of a functional model as its outputs need them, each where it runs first.

        Their names do not begin with the model's.
        """
        net = net_of(entry)
        self.is_certain &= net.is_sound
        shapes, done, masks = _Shapes(net.calls), set(), net.masks
        for key in net.order:
            each = net.by_name.get(key[0])
            if each is None or key not in net.calls:
                continue
            inputs = [shapes.of(ref) for ref in net.calls[key]]
            gives = shapes.made.get(key) or (self._after(each, inputs) if inputs else _told(each))
            if key[0] not in done and key not in masks:
                done.add(key[0])
                gives = yield from self.visit(each, "", inputs, gives, depth + 1)
            shapes.made[key] = gives
        return shapes.of(net.ends[0]) if net.ends else None


class _Shapes:
    """The shapes of what flows through a functional model: as its config says them, or worked out."""

    __slots__ = ("made",)

    def __init__(self, calls: Mapping[Key, list[Ref]]) -> None:
        said = [ref for refs in calls.values() for ref in refs if ref.shape is not None and ref.output == 0]
        self.made: dict[Key, Shape | None] = {ref.key: ref.shape for ref in said}

    def of(self, ref: Ref) -> Shape | None:
        return ref.shape if ref.shape is not None else self.made.get(ref.key)


def _path(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope and name else scope or name


def _known_class(entry: Any) -> str:
    """Return the class of an entry; blank for one that a user called like one of Keras's."""
    kind, _ = class_and_config(entry)
    module = entry.get("module") if isinstance(entry, Mapping) else None
    return kind if module is None or str(module).startswith(("keras", "tensorflow", "tf_keras")) else ""


def _common(names: list[str]) -> str:
    """Return the words with which all names begin."""
    words = [each[0] for each in zip(*(name.split("/") for name in names), strict=False) if len(set(each)) == 1]
    return "/".join(words)


def _cells(
    kind: str, config: Mapping[str, Any], names: list[str], path: str, takes: Shape | None, gives: Shape | None
) -> Iterator[Layer]:
    """Yield the cells; the first takes what the layer takes, the last gives what it gives."""
    cells = cells_of(kind, config)
    for place, (word, own) in enumerate(cells):
        name = names[place] if len(names) == len(cells) else _common(names) or path
        yield described(word, word, own, name, takes if place == 0 else None, gives if place == len(cells) - 1 else None)


def _told(entry: Any) -> Shape | None:
    """Return the shape of a layer's first input, if its entry tells it."""
    _, config = class_and_config(entry)
    built = entry.get("build_config") if isinstance(entry, Mapping) else None
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    while isinstance(shape, (list, tuple)) and shape and isinstance(shape[0], (list, tuple)):
        shape = shape[0]
    return shape_of(shape) or shape_of(config.get("batch_shape") or config.get("batch_input_shape"))


def _inputs(entry: Any) -> tuple[Shape, ...] | None:
    """Return the shapes of a model's inputs, if its config tells all of them."""
    _, config = class_and_config(entry)
    by_name = {name_of(each): each for each in entries_of(entry)}
    if is_sequential(entry):
        first = next(iter(by_name.values()), None)
        shape = _told(first) or shape_of(config.get("build_input_shape"))
        return None if shape is None else (shape,)
    shapes = [_told(by_name.get(ref.name)) for ref in refs_in(config.get("input_layers"))]
    return tuple(shape for shape in shapes if shape is not None) if shapes and None not in shapes else None
