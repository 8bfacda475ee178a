"""A folder that transformers loads: model.safetensors, or its shards, and config.json with the config of the quantiser."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.core.packing import packed
from steelyard.errors import SteelyardError
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.codecs.plain import Config
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

CONFIG = "quantization_config"
"""The key of the quantiser's config, in config.json and in the `meta` of quantised weights."""
NAME = "config.json"
_OTHERS = ("compression_config", "quantization")


def write_config(weights: Weights, folder: str) -> None:
    """Write the config.json of a folder: that of the folder the weights are from, with the config of these weights' quantiser.

    Weights without either get none, and an old file there stays.
    """
    base = _read(weights._net.beside)
    config = said_config(weights.meta)
    if config or not packed(weights):
        base = {key: value for key, value in base.items() if key not in (CONFIG, *_OTHERS)}
    whole = {**base, **({CONFIG: config} if config else {})}
    if whole:
        with replacing(os.path.join(folder, NAME)) as file:
            file.write(json.dumps(whole, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def _parsed(said: object) -> Config:
    try:
        found = from_json(said.encode()) if isinstance(said, str) and len(said) <= limits.HUB_CONFIG else None
    except (SteelyardError, UnicodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _read(opener: Callable[[str], Source] | None) -> Config:
    try:
        source = opener(NAME) if opener else None
        found = from_json(source.read(0, source.size), source) if source and source.size <= limits.HUB_CONFIG else None
    except SteelyardError:
        return {}
    return found if isinstance(found, dict) else {}


def said_config(meta: object) -> Config:
    """Return the config of the quantiser in the `meta` of weights, as an object or as a text; empty where there is none."""
    said = meta.get(CONFIG) if isinstance(meta, dict) else None
    return dict(said) if isinstance(said, dict) else _parsed(said)
