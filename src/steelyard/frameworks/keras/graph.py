"""Keras 3: layers in the order of the model's graph; those of a subclassed model in the order of one run.

A recurrent layer is listed as its cell, which has the weights; a bidirectional one has two. Attention and its projections
are one layer, as are a layer and its spectral norm, whose kernel Keras stores normalised. The functions
of a functional model are layers without weights. Its layers are listed as its outputs need them, branch after branch;
Keras itself runs them by depth, which interleaves the branches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
from keras.src.models.functional import Functional

from steelyard.codecs.keras.chains import is_chain_model
from steelyard.core.dataflow import FirstCall, output_names, topological_order
from steelyard.core.graph import Graph, Layer, Run, Shape, names_of_inputs
from steelyard.core.plugins import framework_of
from steelyard.errors import UnknownModelError, printable
from steelyard.frameworks.keras.dataflow import ModelTracer, node_of
from steelyard.frameworks.keras.doubling import agree, can_double, doubled, naming_restored, widened
from steelyard.layers.keras.kinds import IMAGES, RECURRENT, called_with, cells_of, channels_word, config_of, described, joined_by

if TYPE_CHECKING:
    from steelyard.core.graph import Setting
    from steelyard.core.weight import Array


Known = Mapping[int, str]
"""The layer of each weight by the identity of its variable."""


class _ListedLayer(NamedTuple):
    """A listed layer, the object that is called to run it, whether it has weights, and whether its output is the call's."""

    holder: keras.Operation
    layer: Layer
    weighs: bool
    channels: str = ""
    is_last: bool = True


def graph(model: keras.Layer, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of a built model or layer.

    The order and shapes of a functional or Sequential model are known. Any other model is run once if there are inputs;
    then layers with weights that were not called come last, with `unused` in their settings. Without inputs the
    order is that of definition. Raises `NotFittedError` for a model that is not built.
    """
    places = _places(_checked(model), _named(model))
    certain = _is_certain(model)
    shapes = _inputs_of(model)
    if inputs is not None and not certain:
        with _untouched(model):
            _, calls = _watched(model, inputs, {id(place.holder) for place in places})
        places = _in_order(places, calls)
    if inputs is not None and shapes is None:
        shapes = tuple(tuple(array.shape[1:]) for array in inputs)
    layers = [place.layer for place in places]
    input_names = names_of_inputs(_input_names(model), [layer.name for layer in layers])
    outputs = _set_inputs(model, places, input_names)
    channels = next((place.channels for place in places if place.channels), "")
    executed = certain or inputs is not None
    chain = certain and is_chain_model(model)
    return Graph(
        layers,
        is_execution_order=executed,
        channels=channels,
        input_names=input_names,
        input_shapes=shapes,
        output_names=outputs,
        is_sequential=chain,
    )


def run(model: keras.Layer, inputs: Sequence[Array]) -> Run:
    """Run a model: a functional or Sequential one as a copy in float64, if its config can be built again.

    The result of the copy is returned only if it agrees with that of the model; the dtype of the arrays shows which it is.
    """
    names = _named(_checked(model))
    single = _run_once(model, inputs, names)
    if not (_is_graph(model) and can_double()):
        return single
    with (
        suppress(Exception),
        naming_restored(),
    ):  # a user's class may not be built from its config; the model itself has run already
        wide = _run_once(doubled(model), [widened(array) for array in inputs], names)
        if agree(single.outputs, wide.outputs):
            return wide
    return single


def _input_names(model: keras.Layer) -> list[str]:
    """Return the names of the input layers of a model; "input" for that of another layer."""
    net = _net_of(model)
    return ["input"] if net is None else [tensor._keras_history[0].name for tensor in net.inputs]


def _set_inputs(model: keras.Layer, places: list[_ListedLayer], input_names: Sequence[str]) -> tuple[str, ...] | None:
    """Set the inputs of the layers, and return the names of those that give the outputs of the model."""
    listed: dict[int, list[int]] = {}
    for key, place in enumerate(places):
        listed.setdefault(id(place.holder), []).append(key)
    tracer = ModelTracer(listed, _net_of, _is_certain)
    ends, layers = tracer.whole(model), dict[Hashable, Layer](enumerate(place.layer for place in places))
    tracer.calls.set_inputs(layers, [k for k, place in enumerate(places) if not place.weighs], input_names)
    return output_names(ends, layers)


def _checked(model: object) -> keras.Layer:
    if not isinstance(model, keras.layers.Layer):
        raise UnknownModelError(f"a keras {printable(type(model).__name__)} has no layers; pass a model or a layer")
    return model


def _named(model: keras.Layer) -> list[str]:
    return [weight.layer for weight in framework_of(model).weights(model)]


def _places(model: keras.Layer, names: Sequence[str]) -> list[_ListedLayer]:
    """List each layer once, at its first call; a second layer of the same name is called `name#2`."""
    known = {id(variable): name for variable, name in zip(model.weights, names, strict=True)}
    listed: dict[tuple[int, str], _ListedLayer] = {}
    taken: Counter[str] = Counter()
    for place in _visit(model, "", known, None, None):
        name = place.layer.name
        if (id(place.holder), name) not in listed:
            listed[id(place.holder), name] = place
            taken[name] += 1
            place.layer.name = f"{name}#{taken[name]}" if taken[name] > 1 else name
    return list(listed.values())


def _visit(layer: keras.Operation, scope: str, known: Known, takes: Shape | None, gives: Shape | None) -> Iterator[_ListedLayer]:
    """Yield the layers inside a layer in execution order if that is known, otherwise in the order of definition."""
    kind, path = _class(layer), "/".join(filter(None, (scope, layer.name)))
    if _is_graph(layer):
        yield from _in_graph(layer, path, known)
    elif kind == "TimeDistributed":
        for place in _visit(layer.layer, path, known, takes, gives):
            yield place._replace(holder=layer) if place.holder is layer.layer else place
    elif kind == "Bidirectional":
        for part in (layer.forward_layer, layer.backward_layer):
            made: Any = part.compute_output_shape((None, *takes)) if takes else None
            made = made[0] if made and isinstance(made[0], (list, tuple)) else made
            for place in _visit(part, path, known, takes, made and tuple(made[1:])):
                place.layer.settings["merge_mode"] = joined_by({"merge_mode": layer.merge_mode})
                yield place
    elif kind in RECURRENT:
        yield from _cells(layer, kind, path, known, takes, gives)
    elif kind == "SpectralNormalization":
        place = _place(layer.layer, path, known, takes, gives)
        name = _name(layer.weights, path, known)
        settings = {**place.layer.settings, "spectral_norm": True}
        yield place._replace(holder=layer, layer=_renamed(place.layer, name, settings))
    elif _is_single(layer):
        yield _place(layer, path, known, takes, gives)
    else:
        yield from _by_definition(layer, path, known)


def _in_graph(model: keras.Model, path: str, known: Known) -> Iterator[_ListedLayer]:
    """Yield the layers of a graph; only a Sequential model adds its name to theirs."""
    inner = _net_of(model)
    scope = path if isinstance(model, keras.Sequential) else ""
    if inner is None:
        for layer in model.layers:
            yield from _visit(layer, scope, known, None, None)
        return
    inside = {id(node) for nodes in inner._nodes_by_depth.values() for node in nodes}
    for node in topological_order(
        [node_of(tensor) for tensor in inner.outputs], lambda node: [node_of(t) for t in node.input_tensors]
    ):
        if id(node) in inside and not node.is_input and node.outputs[0].dtype != "bool":  # a mask is not a layer
            takes = _shape(node.input_tensors[0]) if node.input_tensors else None
            given = node.arguments
            for place in _visit(node.operation, scope, known, takes, _shape(node.outputs[0])):
                if place.holder is node.operation:
                    place.layer.settings |= called_with(place.layer.kind, given.args, given.kwargs)
                yield place


def _cells(
    layer: keras.layers.RNN, kind: str, path: str, known: Known, takes: Shape | None, gives: Shape | None
) -> Iterator[_ListedLayer]:
    config = config_of(layer)
    cells = getattr(layer.cell, "cells", [layer.cell])
    kinds = cells_of(kind, config) if kind != "RNN" else [(_class(cell), config_of(cell)) for cell in cells]
    for place, (cell, (word, own)) in enumerate(zip(cells, kinds, strict=True)):
        is_last = place == len(cells) - 1
        name = _name(cell.weights, f"{path}/{cell.name}", known)
        settings = {**own, "go_backwards": layer.go_backwards, "return_sequences": not is_last or layer.return_sequences}
        made_by = type(cell if kind == "RNN" else layer).__name__
        described_cell = described(made_by, word, settings, name, None if place else takes, gives if is_last else None)
        yield _ListedLayer(layer, described_cell, bool(cell.weights), is_last=is_last)


def _by_definition(layer: keras.Layer, path: str, known: Known) -> Iterator[_ListedLayer]:
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    if own:
        yield _ListedLayer(layer, Layer(_name(own, path, known), "other", type(layer).__name__), weighs=True)
    for part in layer._flatten_layers(include_self=False, recursive=False):
        if not isinstance(part, keras.layers.InputLayer):
            yield from _visit(part, path, known, None, None)


def _place(layer: keras.Operation, path: str, known: Known, takes: Shape | None, gives: Shape | None) -> _ListedLayer:
    weights = getattr(layer, "weights", [])  # a function lacks them
    config = config_of(layer)
    described_layer = described(type(layer).__name__, _class(layer), config, _name(weights, path, known), takes, gives)
    return _ListedLayer(layer, described_layer, bool(weights), channels_word(config) if described_layer.kind in IMAGES else "")


def _renamed(layer: Layer, name: str, settings: Mapping[str, Setting]) -> Layer:
    return Layer(name, layer.kind, layer.class_name, settings, layer.input_shape, layer.output_shape)


def _name(weights: Sequence[keras.Variable], path: str, known: Known) -> str:
    """Return the common prefix of the layers of some weights; the path if there are no weights."""
    layers = [known[id(v)].split("/") for v in weights if id(v) in known]
    if not layers:
        return path
    common = [words[0] for words in zip(*layers, strict=False) if len(set(words)) == 1]
    return "/".join(common) or path


def _class(layer: keras.Operation) -> str:
    """Return the nearest of Keras's own classes."""
    return next((base.__name__ for base in type(layer).__mro__ if base.__module__.startswith("keras.")), "")


def _is_graph(layer: keras.Operation) -> bool:
    own = type(layer).call if hasattr(type(layer), "call") else None
    return own is not None and own in (Functional.call, keras.Sequential.call)


def _net_of(layer: keras.Operation) -> Functional | None:
    """Return the functional model that a model runs as; None for a layer, and before the shapes are known."""
    return (layer._functional if isinstance(layer, keras.Sequential) else layer) if _is_graph(layer) else None


def _is_single(layer: keras.Operation) -> bool:
    """Whether a layer and the layers inside it are listed as one: its kind is known, or it has no layers inside."""
    known = described("", _class(layer), {}, "").kind != "other"
    return known or not isinstance(layer, keras.layers.Layer) or not layer._flatten_layers(include_self=False, recursive=False)


def _is_certain(layer: keras.Operation) -> bool:
    """Whether the order of the layers inside is known without a run."""
    if _is_graph(layer):
        return all(_is_certain(part) for part in layer.layers)
    if _class(layer) in ("TimeDistributed", "SpectralNormalization"):
        return _is_certain(layer.layer)
    return _class(layer) in ("Bidirectional", *RECURRENT) or _is_single(layer)


def _inputs_of(model: keras.Layer) -> tuple[Shape, ...] | None:
    tensors = getattr(model, "inputs", None) if _is_graph(model) else None
    return tuple(_shape(tensor) for tensor in tensors) if tensors else None


def _shape(tensor: Any) -> Shape:
    return tuple(tensor.shape[1:])


def _in_order(places: list[_ListedLayer], calls: Mapping[int, FirstCall]) -> list[_ListedLayer]:
    """Return the called layers in order, then those that were not called but have weights."""
    called = _called_in_order(places, calls)
    for place in called:
        call = calls[id(place.holder)]
        place.layer.input_shape, place.layer.output_shape = call.input_shape, call.output_shape if place.is_last else None
    unused = [place for place in places if id(place.holder) not in calls and place.weighs]
    for place in unused:
        place.layer.settings["unused"] = True
    return called + unused


def _called_in_order(places: list[_ListedLayer], calls: Mapping[int, FirstCall]) -> list[_ListedLayer]:
    order = {holder: count for count, holder in enumerate(calls)}
    return sorted((p for p in places if id(p.holder) in order), key=lambda p: order[id(p.holder)])


def _run_once(model: keras.Layer, inputs: Sequence[Array], names: Sequence[str]) -> Run:
    places = _places(model, names)
    with _untouched(model):
        output, calls = _watched(model, inputs, {id(place.holder) for place in places})
    given = {p.layer.name: calls[id(p.holder)].output for p in _called_in_order(places, calls) if p.is_last}
    outputs = {name: _numpy(tensor) for name, tensor in given.items() if tensor is not None}
    return Run([_numpy(tensor) for tensor in _tensors(output)], outputs)


def _watched(model: keras.Layer, inputs: Sequence[Array], holders: set[int]) -> tuple[object, dict[int, FirstCall]]:
    """Call the model, and return its output and the first call of each layer, in the order of their beginnings."""
    calls: dict[int, FirstCall] = {}
    original = keras.Operation.__call__

    def watched(self: keras.Operation, *args: object, **kwargs: object) -> object:
        if id(self) not in holders or id(self) in calls:
            return original(self, *args, **kwargs)
        taken = _tensors((args, kwargs))
        call = calls[id(self)] = FirstCall(_shape(taken[0]) if taken else None)
        output = original(self, *args, **kwargs)
        call.output = next(iter(_tensors(output)), None)
        call.output_shape = None if call.output is None else _shape(call.output)
        return output

    keras.Operation.__call__ = watched
    try:
        return _called(model, inputs), calls
    finally:
        keras.Operation.__call__ = original


def _called(model: keras.Layer, inputs: Sequence[Array]) -> object:
    """Call a model with its inputs in the structure that it expects: one, its own structure, several arguments, or a list."""
    import inspect

    more = {"training": False} if "training" in inspect.signature(model.call).parameters else {}
    if isinstance(model, Functional):
        return model(keras.tree.pack_sequence_as(model._inputs_struct, list(inputs)), **more)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    words = [p.name for p in inspect.signature(model.call).parameters.values() if p.kind in kinds]
    free = [word for word in words if word not in ("training", "mask", "self")]
    return model(*inputs, **more) if len(inputs) <= len(free) else model(list(inputs), **more)


def _tensors(structure: object) -> list[Any]:
    return [leaf for leaf in keras.tree.flatten(structure) if keras.ops.is_tensor(leaf)]


@contextmanager
def _untouched(model: keras.Layer) -> Iterator[None]:
    """Restore every variable that is not trained on exit: statistics, counters, seeds."""
    import numpy as np

    trained = {id(variable) for variable in model.trainable_variables}
    others = [variable for variable in model.variables if id(variable) not in trained]
    kept = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in others]
    try:
        yield
    finally:
        for variable, value in zip(others, kept, strict=True):
            if not np.array_equal(keras.ops.convert_to_numpy(variable.value), value):
                variable.assign(value)


def _numpy(tensor: Any) -> Array:
    """Copy a tensor into an array; short floats, which NumPy lacks, become float32."""
    import numpy as np

    array = np.array(keras.ops.convert_to_numpy(tensor))
    return array.astype("float32") if array.dtype.name == "bfloat16" else array
