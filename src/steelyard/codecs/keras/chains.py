"""Whether a Keras model is a chain: every layer runs once, and only the layer before feeds it."""

from __future__ import annotations

from typing import Protocol

from steelyard.codecs import limits
from steelyard.codecs.keras.config import calls_of, entries_of, is_sequential, name_of, refs_in
from steelyard.layers.keras.kinds import class_and_config


class HasConfig(Protocol):
    """A live Keras model."""

    def get_config(self) -> object:
        """Return the config in the form stored in files."""


def is_chain(entry: object, depth: int = 0) -> bool:
    """Whether an entry of a config is a layer, or a model whose layers are a chain, at all levels."""
    entries = entries_of(entry)
    if not entries:
        return True
    if depth >= limits.RECURSION or not (is_sequential(entry) or _is_line(entry)):
        return False
    return all(is_chain(each, depth + 1) for each in entries)


def is_chain_model(model: HasConfig) -> bool:
    """Whether a live model is a chain; False where it has no config."""
    try:
        return is_chain({"config": model.get_config()})
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return False


def _is_line(entry: object) -> bool:
    """Whether the way from the only output of a functional model back to its only input covers all layers."""
    _, config = class_and_config(entry)
    calls = {name_of(each): [list(refs_in(call)) for call in calls_of(each)] for each in entries_of(entry)}
    outputs = [ref.name for ref in refs_in(config.get("output_layers"))]
    if len(outputs) != 1:
        return False
    name, met = outputs[0], set()
    while name in calls and name not in met:
        met.add(name)
        if calls[name] == [[]]:
            return len(met) == len(calls)
        if len(calls[name]) != 1 or len(calls[name][0]) != 1:
            return False
        name = calls[name][0][0].name
    return False
