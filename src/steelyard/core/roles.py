"""Infer the roles of weights from their names and shapes.

Live modules, configs and the operators of a graph define roles; these rules are for all other weights. Names are ambiguous: a
two-dimensional "weight" is a kernel unless its layer's name contains "embedding", and axes are never inferred. A weight
that matches no rule stays "other".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from steelyard.core.weight import Role, Weight

_LEAVES: tuple[tuple[str, Role], ...] = (
    (r"num_batches_tracked|iterations?|step|counter", Role.COUNT),
    (r"(running|moving)_(mean|avg)|mean", Role.MEAN),
    (r"(running|moving)_(var|variance)|var|variance", Role.VARIANCE),
    (r"recurrent_kernel|weight_hh(_l\d+)?(_reverse)?", Role.RECURRENT_KERNEL),
    (r"(depthwise_|pointwise_)?kernel|weight_ih(_l\d+)?(_reverse)?|weight_hr(_l\d+)?(_reverse)?", Role.KERNEL),
    (r"(in|q|k|v)_proj_weight|coefs?_(\.\d+)?|weight_(v|orig)", Role.KERNEL),
    (r"intercepts?_(\.\d+)?|bias_(ih|hh)(_l\d+)?(_reverse)?|in_proj_bias|bias_[kv]", Role.BIAS),
    (r"embeddings?", Role.EMBEDDING),
    (r"gamma|scale|weight_g", Role.SCALE),
    (r"beta|offset", Role.OFFSET),
)
_OF_NORMS = (Role.SCALE, Role.MEAN)
_EMBEDDING = r"(?i)(^|[._/])(\w*embed\w*|wte|wpe|emb)([._/\d]|$)"


def layer_of(name: str) -> str:
    """Return the part of a name before its last dot or slash.

    >>> layer_of("encoder.0.weight"), layer_of("params/Dense_0/kernel"), layer_of("w")
    ('encoder.0', 'params/Dense_0', '')
    """
    return name[: max(name.rfind("."), name.rfind("/"), 0)] if "/" in name else name.rpartition(".")[0]


COLLECTIONS = ("params", "batch_stats", "batch_stat", "constants")
"""The collections that Flax puts before the names of layers; the weights of one layer may be in several of them."""


def plain_layer(name: str) -> str:
    """Return the name of a layer without its Flax collection.

    >>> plain_layer("params/Dense_0"), plain_layer("encoder.params")
    ('Dense_0', 'encoder.params')
    """
    first, _, rest = name.partition("/")
    return rest if first in COLLECTIONS else name


def role_of(name: str, ndim: int) -> Role:
    """Return the role that the last word of a name implies; `ndim` is the number of axes.

    >>> role_of("encoder.0.weight", 2), role_of("bn.weight", 1), role_of("tok_embeddings.weight", 2)
    (<Role.KERNEL: 'kernel'>, <Role.SCALE: 'scale'>, <Role.EMBEDDING: 'embedding'>)
    """
    leaf = _last(name)
    if leaf in ("weight", "w", "W") and ndim:
        if ndim == 1:
            return Role.SCALE
        return Role.EMBEDDING if ndim == 2 and _is_embedding(name) else Role.KERNEL
    if leaf in ("bias", "b", "B"):
        return Role.BIAS
    return _ruled(f"{_last(layer_of(name))}.{leaf}" if leaf.isdecimal() else leaf)


def _last(name: str) -> str:
    return name[max(name.rfind("."), name.rfind("/")) + 1 :] if "/" in name else name.rpartition(".")[2]


def _is_embedding(name: str) -> bool:
    """Whether a word of a name means an embedding; a quick test comes first, since the regular expression is slow."""
    lower = name.lower()
    return ("emb" in lower or "wte" in lower or "wpe" in lower) and re.search(_EMBEDDING, name) is not None


@lru_cache(maxsize=4096)
def _ruled(words: str) -> Role:
    """Return the role that the last word of a name implies, or the last two words if the last is a number.

    Results are cached, since models repeat their words; the rules are compiled on first use.
    """
    return next((role for pattern, role in _LEAVES if re.fullmatch(pattern, words)), Role.OTHER)


def infer_roles(weights: Iterable[Weight]) -> list[Weight]:
    """Return the weights with inferred roles for those without one; a role also depends on the other weights of the layer.

    The "bias" of a layer with a scale or a mean is an offset.
    """
    other = Role.OTHER
    named = [w.replace(role=role_of(w.name, len(w.shape))) if w.role is other else w for w in weights]
    norms = {w.layer for w in named if w.role in _OF_NORMS}
    norms = norms and norms - {w.layer for w in named if w.role is Role.KERNEL}
    return [w.replace(role=Role.OFFSET) if w.role is Role.BIAS and w.layer in norms else w for w in named] if norms else named
