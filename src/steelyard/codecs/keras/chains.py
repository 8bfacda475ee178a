"""Whether a Keras model is a chain: every layer runs once, and is fed by the one before alone."""

from __future__ import annotations

from typing import Any

from steelyard.codecs import limits
from steelyard.codecs.keras.config import calls_of, entries_of, is_sequential, name_of, refs_in
from steelyard.layers.keras.kinds import class_and_config


def is_chain(entry: Any, depth: int = 0) -> bool:
    """Tell whether an entry of a config is a layer, or a model whose layers form a chain, and so those inside."""
    entries = entries_of(entry)
    if not entries:
        return True
    if depth >= limits.RECURSION or not (is_sequential(entry) or _is_line(entry)):
        return False
    return all(is_chain(each, depth + 1) for each in entries)


def is_chain_model(model: Any) -> bool:
    """Tell so of a live model; False where it has no config to ask."""
    try:
        return is_chain({"config": model.get_config()})
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return False


def _is_line(entry: Any) -> bool:
    """Follow a functional model from its only output back to its only input, and see that it is all there is."""
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
