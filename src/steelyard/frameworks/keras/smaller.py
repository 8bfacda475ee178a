"""A model of the same architecture with other widths, as the removal of units leaves them: its config, built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src.models.functional import Functional

from steelyard.errors import ShapeError, printable
from steelyard.frameworks.keras.doubling import classes_of, names_restored
from steelyard.frameworks.keras.weights import weights

Shapes = dict[str, tuple[int, ...]]
"""The shapes of the weights of a layer, by the last part of their names; of an attention, by the last two."""


def smaller(
    model: keras.Model, shapes: Mapping[str, tuple[int, ...]], counts: Sequence[tuple[int, int]]
) -> Iterator[keras.Model]:
    """Yield a functional or Sequential model of the same layers in which the named weights have these shapes.

    Its numbers are arbitrary. Raises `ShapeError` for a subclassed model, whose code fixes the sizes.
    """
    if not isinstance(model, (keras.Sequential, Functional)):
        raise ShapeError(
            f"the {printable(type(model).__name__)} is a subclassed model, whose own code fixes the sizes of its layers"
        )
    named = zip(model.weights, weights(model), strict=True)
    after = {id(variable): shapes.get(weight.name, tuple(variable.shape)) for variable, weight in named}
    layers = {layer.name: layer for layer in model._flatten_layers()}
    given = {name.rpartition("/")[2]: shape for name, shape in shapes.items()}  # of layers without weights, too
    config = _rewritten(model.get_config(), layers, after, given)
    with names_restored():
        yield type(model).from_config(config, custom_objects=classes_of(model))


def _rewritten(config: Any, layers: Mapping[str, keras.Layer], after: Mapping[int, tuple[int, ...]], given: Shapes) -> Any:
    """Return a config with the new sizes; the shapes that layers were built for are left out."""
    if isinstance(config, (list, tuple)):
        return [_rewritten(each, layers, after, given) for each in config]
    if not isinstance(config, dict):
        return config
    made = {key: _rewritten(value, layers, after, given) for key, value in config.items() if key != "build_config"}
    own, kind = made.get("config"), _KINDS.get(str(config.get("class_name")))
    layer = layers.get(str(own.get("name"))) if isinstance(own, dict) else None
    if kind is not None and layer is not None and isinstance(own, dict):
        held = {_leaf(variable, layer): after[id(variable)] for variable in layer.weights if id(variable) in after}
        kind(own, held, layer)
    if config.get("class_name") == "Reshape" and isinstance(own, dict) and own.get("name") in given:
        own["target_shape"] = [-1 if old == -1 else new for old, new in zip(own["target_shape"], given[own["name"]], strict=True)]
    return made


def _leaf(variable: keras.Variable, layer: keras.Layer) -> str:
    """Return the name of a weight inside its layer; a recurrent layer has its cell's."""
    parts = variable.path.split("/")
    return "/".join(parts[-2:]) if isinstance(layer, keras.layers.MultiHeadAttention) else parts[-1]


def _width(key: str, leaf: str, axis: int) -> Callable[[dict[str, Any], Shapes, keras.Layer], None]:
    """Return what sets a size of a layer to the length of an axis of one of its weights."""

    def set_width(config: dict[str, Any], shapes: Shapes, layer: keras.Layer) -> None:
        if leaf in shapes:
            config[key] = shapes[leaf][axis]

    return set_width


def _heads(config: dict[str, Any], shapes: Shapes, layer: keras.Layer) -> None:
    if "query/kernel" in shapes:
        config["num_heads"] = shapes["query/kernel"][1]


def _groups(config: dict[str, Any], shapes: Shapes, layer: keras.Layer) -> None:
    if shapes and config.get("groups", -1) > 0:
        config["groups"] = config["groups"] * next(iter(shapes.values()))[0] // layer.weights[0].shape[0]


_KINDS = {
    "Dense": _width("units", "kernel", -1),
    **{f"Conv{rank}D": _width("filters", "kernel", -1) for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": _width("filters", "kernel", -2) for rank in (1, 2, 3)},
    **{f"SeparableConv{rank}D": _width("filters", "pointwise_kernel", -1) for rank in (1, 2)},
    "Embedding": _width("output_dim", "embeddings", -1),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), _width("units", "recurrent_kernel", 0)),
    "MultiHeadAttention": _heads,
    "GroupNormalization": _groups,
}
"""What sets the sizes in the config of each class; the other layers take theirs from their inputs."""
