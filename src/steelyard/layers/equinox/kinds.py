"""The kind of layer of each class of Equinox, and its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Layer
from steelyard.layers.kinds import each_axis, padding_word

if TYPE_CHECKING:
    from steelyard.core.graph import Settings

KINDS: dict[str, str] = {
    "Linear": "dense",
    "Conv": "conv",
    "ConvTranspose": "conv transpose",
    "Embedding": "embedding",
    "PReLU": "prelu",
    "BatchNorm": "batch norm",
    "LayerNorm": "layer norm",
    "GroupNorm": "group norm",
    "RMSNorm": "rms norm",
    "LSTMCell": "lstm",
    "GRUCell": "gru",
    "MultiheadAttention": "attention",
    "Dropout": "dropout",
    "Pool": "pool",
    "AdaptivePool": "pool",
    "RotaryPositionalEmbedding": "other",
}
WRAPPERS = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}
"""Classes that form one layer with the layer inside, and the setting that marks it."""
WHOLE = (*KINDS, *WRAPPERS)


def known_class(thing: object) -> str:
    """Return the nearest of Equinox's own classes that is a layer, or None; a user's class may have the same name."""
    own = (base.__name__ for base in type(thing).__mro__ if base.__module__.startswith("equinox."))
    return next((name for name in own if name in WHOLE), "")


def layer_for(name: str, module: Any) -> Layer:
    """Describe a module; a module of an unknown class is "other", and a norm around a layer forms one layer with it."""
    known = known_class(module)
    if known in WRAPPERS:
        layer = layer_for(name, module.layer)
        layer.settings |= {WRAPPERS[known]: True}
        return layer
    kind = KINDS.get(known, "other")
    settings = _SETTINGS[kind](module) if kind in _SETTINGS else {}
    return Layer(name, kind, type(module).__name__, settings)


def _convolution(module: Any) -> Settings:
    rank = module.num_spatial_dims
    settings = {
        "strides": each_axis(module.stride, rank),
        "padding": padding_word(module.padding, rank),
        "dilation": each_axis(module.dilation, rank),
        "groups": module.groups,
    }
    extra = each_axis(getattr(module, "output_padding", 0), rank)
    return {**settings, "output_padding": extra} if any(extra) else settings


def _norm(module: Any) -> Settings:
    words = {"eps": "epsilon", "momentum": "momentum", "groups": "groups", "mode": "mode"}
    return {word: getattr(module, name) for name, word in words.items() if hasattr(module, name)}


def _lstm(module: Any) -> Settings:
    return {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _gru(module: Any) -> Settings:
    return {**_lstm(module), "reset_after": True}


def _attention(module: Any) -> Settings:
    return {"heads": module.num_heads}


_SETTINGS: dict[str, Callable[[Any], Settings]] = {
    "conv": _convolution,
    "conv transpose": _convolution,
    **dict.fromkeys(("batch norm", "layer norm", "group norm", "rms norm"), _norm),
    "lstm": _lstm,
    "gru": _gru,
    "attention": _attention,
}
