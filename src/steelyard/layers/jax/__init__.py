"""What functions and arguments of JAX say in the words that all frameworks share; Flax and Equinox use them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from steelyard.core.graph import Layer

_WORDS = {"swish": "silu", "identity": "linear", "_identity": "linear", "hard_swish": "hard_silu"}


def activation_word(function: Any) -> str:
    """Return Keras's word for a function of JAX, Flax or Equinox, blank for what is somebody's own.

    Their `gelu` is the approximate one, unless a partial of it says otherwise.
    """
    given: dict[str, Any] = {}
    while isinstance(function, partial):
        given = {**function.keywords, **given}
        function = function.func
    if str(getattr(function, "__module__", "")).partition(".")[0] not in ("jax", "flax", "equinox"):
        return ""
    word = getattr(function, "__name__", "")
    if word == "gelu":
        return "gelu_tanh" if given.get("approximate", True) else "gelu"
    return "" if word == "<lambda>" else _WORDS.get(word, word)


def padding_word(padding: Any, rank: int) -> Any:
    """Return "same", "valid" (also for zeros), the padding of each axis, or (before, after) of each where they differ.

    >>> padding_word("SAME", 2), padding_word(0, 2), padding_word(1, 2), padding_word([(0, 1), (1, 1)], 2)
    ('same', 'valid', (1, 1), ((0, 1), (1, 1)))
    """
    if isinstance(padding, str):
        return padding.lower()
    axes = [padding] * rank if isinstance(padding, int) else list(padding)
    pairs = [(axis, axis) if isinstance(axis, int) else tuple(axis) for axis in axes]
    if all(pair == (0, 0) for pair in pairs):
        return "valid"
    return tuple(pair[0] for pair in pairs) if all(before == after for before, after in pairs) else tuple(pairs)


def each_axis(number: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Return one number for each axis of space; 1 where none is said."""
    if number is None or isinstance(number, int):
        return (1 if number is None else number,) * rank
    return tuple(number)


def general_axes(inputs: int, outputs: int) -> str:
    """Return the axes of a dense layer that contracts several axes, or gives several; they are numbered then.

    >>> general_axes(1, 2), general_axes(0, 1)
    ('in out1 out2', 'out')
    """
    return " ".join((*_numbered("in", inputs), *_numbered("out", outputs)))


def _numbered(word: str, count: int) -> list[str]:
    return [word] if count == 1 else [f"{word}{number}" for number in range(1, count + 1)]


def activation_layer(name: str, function: Any) -> Layer:
    """Describe a function that stands between layers; one of an unknown author is "other"."""
    word = activation_word(function)
    if not word:
        return Layer(name, "other", getattr(function, "__name__", type(function).__name__))
    return Layer(name, "softmax" if word == "softmax" else "activation", word, {"activation": word})


def chained(layers: Iterable[Layer]) -> list[Layer]:
    """Say of layers that surely run one after the other which flow into which; two directions stand side by side."""
    listed: list[Layer] = []
    before: tuple[str, ...] = ()
    for layer in layers:
        beside = bool(listed) and (listed[-1].settings.get("direction"), layer.settings.get("direction")) == (
            "forward",
            "backward",
        )
        layer.inputs = listed[-1].inputs if beside else before
        before = (*before, layer.name) if beside else (layer.name,)
        listed.append(layer)
    return listed


def with_settings(layer: Layer, **settings: Any) -> Layer:
    """Return a layer with these settings too."""
    layer.settings |= settings
    return layer


def covered(layers: Iterable[Layer], names: Iterable[str], whole: Collection[str]) -> set[str]:
    """Return those names (of layers, by weights) that belong to one of the layers: its own, or that of a part of it.

    A layer of no known kind has parts where its class is one of `whole`.
    """
    listed = list(layers)
    own = {layer.name for layer in listed}
    above = [layer.name for layer in listed if layer.kind != "other" or layer.class_name in whole]
    return {name for name in names if name in own or any(holds(each, name) for each in above)}


def holds(above: str, name: str) -> bool:
    """Tell whether a name is that of a layer or of a part of it.

    >>> holds("cell", "cell/ii"), holds("cell", "cell_1"), holds("", "cell"), holds("layers", "layers[0].cell")
    (True, False, True, True)
    """
    return above in ("", name) or (name.startswith(above) and name[len(above)] in "/.[")
