"""Functions of JAX as layers; Flax and Equinox use them."""

from __future__ import annotations

from functools import partial

from steelyard.core.graph import Layer

WORDS = {"swish": "silu", "identity": "linear", "_identity": "linear", "hard_swish": "hard_silu"}


def activation_word(function: object) -> str:
    """Return Keras's word for a function of JAX, Flax or Equinox; blank for any other function.

    Their `gelu` is the approximate one unless a partial sets `approximate`.
    """
    given: dict[str, object] = {}
    while isinstance(function, partial):
        given = {**function.keywords, **given}
        function = function.func
    if str(getattr(function, "__module__", "")).partition(".")[0] not in ("jax", "flax", "equinox"):
        return ""
    word = str(getattr(function, "__name__", ""))
    if word == "gelu":
        return "gelu_tanh" if given.get("approximate", True) else "gelu"
    return "" if word == "<lambda>" else WORDS.get(word, word)


def activation_layer(name: str, function: object) -> Layer:
    """Describe a function between layers; an unknown function is "other"."""
    word = activation_word(function)
    if not word:
        return Layer(name, "other", getattr(function, "__name__", type(function).__name__))
    return Layer(name, "softmax" if word == "softmax" else "activation", word, {"activation": word})
