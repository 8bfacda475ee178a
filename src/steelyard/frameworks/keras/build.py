"""Keras 3: a `Sequential` of dense layers."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from steelyard.core.dense_stack import DenseLayer, DenseStack, activation_of

_SAME = (
    *("linear", "relu", "tanh", "sigmoid", "softmax", "log_softmax", "gelu", "silu", "elu", "selu", "celu", "relu6"),
    *("softplus", "softsign", "mish", "log_sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "tanh_shrink", "exponential"),
)
"""Activations for which Keras uses the same words."""
_LAYERS: dict[str, type[keras.Layer]] = {"leaky_relu": keras.layers.LeakyReLU, "elu": keras.layers.ELU}
"""The activations that are layers if they have settings."""
_ACTIVATIONS: dict[str, str] = {**{word: word for word in _SAME}, "leaky_relu": "leaky_relu"}


def build(stack: DenseStack) -> tuple[keras.Sequential, list[DenseLayer]]:
    """Return the net in the dtype of the weights, built for the shape of its inputs."""
    parts: list[keras.KerasTensor | keras.Layer] = [keras.Input(stack.input_shape, dtype=stack.dtype)]
    parts += [keras.layers.Flatten(dtype=stack.dtype)] if stack.flattened else []
    parts += [part for layer in stack.layers for part in _parts(layer, stack.dtype)]
    return keras.Sequential(parts), stack.layers


def _parts(layer: DenseLayer, dtype: str) -> Iterator[keras.Layer]:
    word = activation_of(layer, _ACTIVATIONS, "Keras")
    apart = bool(layer.settings) and word in _LAYERS
    yield keras.layers.Dense(
        layer.kernel.shape[0],
        activation=None if apart else word,
        use_bias=layer.bias is not None,
        kernel_initializer="zeros",  # any other would draw from the global random state
        dtype=dtype,
    )
    if apart:
        yield _LAYERS[word](**layer.settings, dtype=dtype)
