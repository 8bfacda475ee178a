"""Keras 2: the layers of a functional or Sequential model by its config, and those of a subclassed model by one run.

The config is read as that of a file, so that a live model and its file have one graph. A recurrent layer is listed as its
cell, which has the weights; a bidirectional one has two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from steelyard.codecs.keras.graph import graph_of
from steelyard.codecs.plain import from_json
from steelyard.core.graph import Graph, Layer, Run
from steelyard.errors import UnknownModelError, printable
from steelyard.frameworks.tf_keras.weights import HOMES, is_layer, own_classes, weights
from steelyard.layers.keras.kinds import IMAGES, channels_word, config_of, described

if TYPE_CHECKING:
    from steelyard.core.graph import Shape
    from steelyard.core.weight import Array

    Calls = dict[str, tuple[Shape | None, Any]]
    """The shape of the first input and the output of the first call of each layer, by its name, in order."""

_CHAINS = ("Functional", "Sequential")


def graph(model: Any, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of a built model or layer.

    The order and shapes of a functional or Sequential model are known. Any other model is run once if there are inputs;
    then layers with weights that were not called come last, with `unused` in their settings. Without inputs the
    order is that of definition. Raises `NotFittedError` for a model that is not built.
    """
    names = _names(model)
    if (config := _config_as_in_a_file(model)) is not None:
        return graph_of(config, [weight.layer for weight in weights(model)])
    listed = {name: _described(layer, name) for name, layer in _parts(model, names)}
    calls = {} if inputs is None else _watched(model, inputs, names)[1]
    for name, (taken, given) in calls.items():
        if name in listed:
            listed[name].input_shape, listed[name].output_shape = taken, _shape(given)
    unused = [layer for name, layer in listed.items() if inputs is not None and name not in calls]
    for layer in unused:
        layer.settings["unused"] = True
    layers = [listed[name] for name in calls if name in listed] + (unused if calls else list(listed.values()))
    shapes = None if inputs is None else tuple(tuple(array.shape[1:]) for array in inputs)
    channels = next((channels_word(config_of(layer)) for name, layer in _parts(model, names) if listed[name].kind in IMAGES), "")
    return Graph(layers, is_execution_order=inputs is not None, channels=channels, input_shapes=shapes)


def run(model: Any, inputs: Sequence[Array]) -> Run:
    """Run a model in inference mode, in its own types."""
    output, calls = _watched(model, inputs, _names(model))
    listed = [layer.name for layer in graph(model, None).layers]
    full = {name.rpartition("/")[2]: name for name in listed} | {name: name for name in listed}
    made = {full[name]: np.array(given) for name, (_, given) in calls.items() if given is not None and name in full}
    return Run([np.array(tensor) for tensor in _tensors(output)], made)


def _names(model: Any) -> dict[int, str]:
    """Return the name of each layer by its identity: the common path of its weights, or its own name without weights.

    A recurrent layer is called as its last cell, whose output it has.
    """
    if not is_layer(model):
        raise UnknownModelError(f"a Keras 2 {printable(type(model).__name__)} has no layers; pass a model or a layer")
    listed = {weight.name: weight.layer for weight in weights(model)}
    known = dict(zip(map(id, model.weights), listed.values(), strict=True))
    paths_of = {}
    for layer in model._flatten_layers():
        paths = [known[id(variable)].split("/") for variable in layer.weights if id(variable) in known]
        paths = paths[-1:] if hasattr(layer, "cell") else paths
        common = [words[0] for words in zip(*paths, strict=False) if len(set(words)) == 1]
        paths_of[id(layer)] = "/".join(common) or layer.name
    return paths_of


def _parts(model: Any, names: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    """Yield the layers inside a model in the order of definition, down to those of a known kind or without layers inside."""
    inside = [] if _is_known(model) else list(model._flatten_layers(include_self=False, recursive=False))
    if not inside:
        yield names[id(model)], model
        return
    if model._trainable_weights or model._non_trainable_weights:
        yield names[id(model)], model
    for layer in inside:
        if "InputLayer" not in own_classes(layer):
            yield from _parts(layer, names)


def _is_known(layer: Any) -> bool:
    return described("", next(iter(own_classes(layer)), ""), {}, "").kind != "other"


def _described(layer: Any, name: str) -> Layer:
    return described(type(layer).__name__, next(iter(own_classes(layer)), ""), config_of(layer), name)


def _config_as_in_a_file(model: Any) -> object:
    """Return the config of a functional or Sequential model; None for a subclass with its own `call`, or without a config."""
    bases = [base for base in type(model).__mro__ if base.__name__ in _CHAINS and base.__module__.startswith(HOMES)]
    if not any(type(model).call is base.call for base in bases):  # type: ignore[attr-defined]
        return None
    try:
        return from_json(model.to_json())
    except ImportError:  # TensorFlow's copy lacks a version, which it would write
        return {"class_name": own_classes(model)[0], "config": model.get_config()}
    except (NotImplementedError, TypeError):  # a user's class without a config
        return None


def _watched(model: Any, inputs: Sequence[Array], names: Mapping[int, str]) -> tuple[object, Calls]:
    """Call the model, and return its output and the first call of each layer, in the order of their beginnings."""
    base = [base for base in type(model).__mro__ if base.__name__ == "Layer" and base.__module__.startswith(HOMES)][-1]
    calls: Calls = {}
    original: Any = base.__call__

    def watched(self: Any, *args: object, **kwargs: object) -> object:
        name = names.get(id(self), "")
        if not name or name in calls or own_classes(self)[0].endswith(("Cell", "Cells")):  # a cell's call is one step in time
            return original(self, *args, **kwargs)
        taken = _tensors((args, kwargs))
        calls[name] = (_shape(taken[0]) if taken else None, None)
        output = original(self, *args, **kwargs)
        calls[name] = (calls[name][0], next(iter(_tensors(output)), None))
        return output

    base.__call__ = watched  # type: ignore[method-assign]
    try:
        with _untouched(model):
            return _called(model, inputs), calls
    finally:
        base.__call__ = original  # type: ignore[method-assign]


def _called(model: Any, inputs: Sequence[Array]) -> object:
    """Call a model with one input, or with a list of them, in the type of its computation."""
    given = [_cast(array, model.compute_dtype) for array in inputs]
    more = {"training": False} if model._expects_training_arg else {}
    return model(given[0] if len(given) == 1 else given, **more)


def _cast(array: Array, dtype: str | None) -> tf.Tensor:
    tensor = tf.constant(array)
    return tf.cast(tensor, dtype) if dtype and tensor.dtype.is_floating else tensor


def _tensors(structure: object) -> list[tf.Tensor]:
    return [leaf for leaf in tf.nest.flatten(structure) if isinstance(leaf, tf.Tensor)]


def _shape(tensor: Any) -> Shape | None:
    return None if tensor is None else tuple(tensor.shape[1:])


@contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Restore every variable that is not trained on exit: statistics, and the states of recurrent layers that keep them."""
    states = [each for layer in model._flatten_layers() for each in tf.nest.flatten(getattr(layer, "states", None) or [])]
    others = [each for each in (*model.non_trainable_weights, *states) if isinstance(each, tf.Variable)]
    kept = [each.numpy() for each in others]
    try:
        yield
    finally:
        for variable, value in zip(others, kept, strict=True):
            variable.assign(value)
