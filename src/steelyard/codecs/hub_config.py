"""The config.json beside a model of the Hugging Face Hub: the type of its model proves what its own weights do not.

    {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], ...}

Only these two words are read. A model whose classes are code of its own ("auto_map") may be built in any way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.plain import from_json
from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

_NAME = "config.json"
_OTHER_LAYOUTS = ("mlx", "tf", "flax")
"""Words for the framework in the metadata of a safetensors file whose kernels have other axes than PyTorch's."""


def with_config(weights: Weights, source: Source) -> Weights:
    """Return the weights with the axes that the config of a file's folder proves; `meta["config.json"]` names the model."""
    if not source.is_file or weights.meta.get("format") in _OTHER_LAYOUTS:
        return weights
    if not any(len(weight.shape) > 1 and not weight.axes for weight in weights.values()):
        return weights
    facts = _facts(source)
    if not facts:
        return weights
    from steelyard.layers.torch.hub import axes_of

    listed = [weight if weight.axes else weight.replace(axes=axes_of(facts["model_type"], weight)) for weight in weights.values()]
    return weights.with_weights(listed, meta={**weights.meta, _NAME: facts})


def _facts(model: Source) -> dict[str, str]:
    """Return the type and the class of the model of a file or a folder; empty where no config in the folder says so."""
    try:
        source = _config(model)
        config = from_json(source.read(0, source.size), source) if source and source.size <= limits.HUB_CONFIG else None
    except SteelyardError:
        return {}
    if not isinstance(config, dict) or "auto_map" in config:
        return {}
    kind, classes = config.get("model_type"), config.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else ""
    return {"model_type": kind, "architecture": first} if isinstance(kind, str) and isinstance(first, str) else {}


def _config(model: Source) -> Source | None:
    """Open the config; at a URL only in a folder, since a file there is opened without looking at what is next to it."""
    from steelyard.storage.source import open_path

    if model.path is None:
        return model.beside(_NAME) if model.is_folder and _NAME in model.names() else None
    path = os.path.join(model.path if model.is_folder else os.path.dirname(model.path), _NAME)
    # not a sibling that the weights need: the file may be written again without it
    return open_path(path) if os.path.isfile(path) else None
