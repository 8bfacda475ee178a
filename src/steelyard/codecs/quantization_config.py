"""The config of a quantised model, next to its weights.

config.json             {"quantization_config": {"quant_method": "gptq", "bits": 4, ...}}
quantize_config.json    {"bits": 4, ...}    written by AutoGPTQ
quant_config.json       {"w_bit": 4, ...}    written by AutoAWQ
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.model_folder import said_config
from steelyard.codecs.plain import from_json
from steelyard.errors import SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.codecs.plain import Config
    from steelyard.core.effective import Pieces

NAMED = 3  # differences that are printed
_SECTIONS = ("quantization_config", "compression_config", "quantization")
_OTHERS = ("quantize_config.json", "quant_config.json")


def quantization_config(pieces: Pieces) -> Config:
    """Return the config of the quantiser: that in the metadata of the weights, or else that in their folder; empty without one.

    Where both say different things about one key, the pieces get this as an assumption.
    """
    said, beside = said_config(pieces.meta), _config_beside(pieces)
    apart = [f"{printable(key)} {_shown(beside[key])}, not {_shown(said[key])}" for key in said if _differ(key, said, beside)]
    if apart:
        more = f", and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
        named = "; ".join(apart[:NAMED])
        pieces.assumed = (f"the config in the metadata is true, and that in the folder is not, which has {named}{more}",)
    return said or beside


def _differ(key: str, one: Config, other: Config) -> bool:
    return key in other and one[key] != other[key]


def _shown(value: object) -> str:
    return printable(json.dumps(value), 40)


def _config_beside(pieces: Pieces) -> Config:
    """Return the config of the quantiser in the folder of the weights; empty where there is none."""
    config = json_beside(pieces, "config.json")
    inner = config.get("text_config")
    for outer in (config, inner if isinstance(inner, dict) else {}):
        for section in _SECTIONS:
            if isinstance(found := outer.get(section), dict):
                return found
    return next((whole for name in _OTHERS if (whole := json_beside(pieces, name))), {})


def json_beside(pieces: Pieces, name: str) -> Config:
    """Return the object of a JSON file in the folder of the weights; empty where there is none."""
    source = pieces.beside(name)
    try:
        found = from_json(source.read(0, source.size), source) if source and source.size <= limits.HUB_CONFIG else None
    except SteelyardError:
        return {}
    return found if isinstance(found, dict) else {}


def integer(config: Config, key: str) -> int | None:
    """Return a whole number of a config; None where it is missing or anything else."""
    value = config.get(key)
    return value if type(value) is int else None
