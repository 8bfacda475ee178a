"""The kind of layer of each class of Flax, and its settings; linen and NNX share the names of classes and settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Layer
from steelyard.layers.jax.kinds import activation_word
from steelyard.layers.kinds import each_axis, padding_word

if TYPE_CHECKING:
    from steelyard.core.graph import Settings

KINDS: dict[str, str] = {
    **dict.fromkeys(("Dense", "DenseGeneral", "Linear", "LinearGeneral", "Einsum"), "dense"),
    "Conv": "conv",
    "ConvTranspose": "conv transpose",
    "Embed": "embedding",
    "PReLU": "prelu",
    "BatchNorm": "batch norm",
    "LayerNorm": "layer norm",
    "GroupNorm": "group norm",
    "InstanceNorm": "instance norm",
    "RMSNorm": "rms norm",
    "SimpleCell": "rnn",
    **dict.fromkeys(("LSTMCell", "OptimizedLSTMCell"), "lstm"),
    "GRUCell": "gru",
    **dict.fromkeys(("MultiHeadDotProductAttention", "MultiHeadAttention", "SelfAttention"), "attention"),
    "Dropout": "dropout",
    **dict.fromkeys(("ConvLocal", "ConvLSTMCell", "MGUCell", "LoRA"), "other"),
}
"""The kind of each class that forms one layer with the layers inside."""

WRAPPERS = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}
"""Classes that change the kernel of the layer inside, and the setting that marks it."""


WHOLE = (*KINDS, *WRAPPERS)
"""Classes whose parts do not count as layers."""


def made_by(thing: object) -> str:
    """Return the name of an object's class if it is one of Flax's own; the same name in a user's class may mean anything."""
    return next((base.__name__ for base in type(thing).__mro__ if base.__module__.startswith("flax.")), "")


def known_class(thing: object) -> str:
    """Return the nearest of Flax's own classes that is a layer or wraps one, or None."""
    own = (base.__name__ for base in type(thing).__mro__ if base.__module__.startswith("flax."))
    return next((name for name in own if name in KINDS or name in WRAPPERS), "")


def layer_for(name: str, module: Any) -> Layer:
    """Describe a module; a module of an unknown class is "other"."""
    kind = KINDS.get(known_class(module), "other")
    return Layer(name, kind, type(module).__name__, _SETTINGS.get(kind, dict)(module) if kind in _SETTINGS else {})


def settings_inside(module: Any) -> Settings:
    """Return the settings that a module passes to the layers inside."""
    if known_class(module) in WRAPPERS:
        return {WRAPPERS[known_class(module)]: True}
    return {"direction": "forward"} if made_by(module) == "Bidirectional" else {}


def settings_of_run(module: Any, call: partial[object]) -> Settings:
    """Return the direction and the output of a recurrent layer in a call, whose arguments take precedence.

    Which steps are used is not known if the layer returns its state too.
    """
    reverse, carry = (call.keywords.get(word) for word in ("reverse", "return_carry"))
    direction: Settings = {"direction": "backward"} if (module.reverse if reverse is None else reverse) else {}
    return direction if (module.return_carry if carry is None else carry) else {**direction, "returns": "all"}


def _convolution(module: Any) -> Settings:
    rank = 1 if isinstance(module.kernel_size, int) else len(module.kernel_size)
    settings = {
        "strides": each_axis(module.strides, rank),
        "padding": padding_word(module.padding, rank),
        "dilation": each_axis(module.kernel_dilation, rank),
    }
    if hasattr(module, "transpose_kernel"):
        return {**settings, "transpose_kernel": module.transpose_kernel}
    return {**settings, "groups": module.feature_group_count}


def _norm(module: Any) -> Settings:
    words = {"epsilon": "epsilon", "momentum": "momentum", "use_fast_variance": "fast_variance"}
    settings = {word: getattr(module, name) for name, word in words.items() if hasattr(module, name)}
    groups = getattr(module, "num_groups", None)
    return settings if groups is None else {**settings, "groups": groups}


def _cell(module: Any) -> Settings:
    words = {"activation": "activation_fn", "recurrent_activation": "gate_fn"}
    activations = {word: activation_word(getattr(module, name, None)) for word, name in words.items()}
    return {word: value for word, value in activations.items() if value}


def _gru(module: Any) -> Settings:
    return {**_cell(module), "reset_after": True}


def _attention(module: Any) -> Settings:
    settings = {"heads": module.num_heads}
    keys = getattr(module, "num_key_value_heads", None) or getattr(module, "num_kv_heads", None)
    return {**settings, "key_heads": keys} if keys else settings


_SETTINGS: dict[str, Callable[[Any], Settings]] = {
    "conv": _convolution,
    "conv transpose": _convolution,
    **dict.fromkeys(("batch norm", "layer norm", "group norm", "instance norm", "rms norm"), _norm),
    **dict.fromkeys(("rnn", "lstm"), _cell),
    "gru": _gru,
    "attention": _attention,
}
