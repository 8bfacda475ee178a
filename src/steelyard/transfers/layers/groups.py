"""The weights of each layer by their names only: they have a common prefix, or belong to the cells and heads below it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from steelyard.core.roles import plain_layer

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

_CELL = re.compile(r"(?:[ih][ifgorzn]_?|[ih]|dense_[ih])")
_HEAD = re.compile(r"(?:query|key|value|out|attention_output|out_proj|(?:query|key|value|output)_(?:proj|dense))")
_PARAMETRIZED = re.compile(r"(?:^|\.)parametrizations\.\w+(?:\.\d+)?$")
_NUMBERED = re.compile(r"(?:^|.*[./])(coefs_|intercepts_)\.(\d+)")


def layer_groups(weights: Iterable[Weight]) -> dict[str, dict[str, Weight]]:
    """Return the weights of each layer by its name, keyed by the rest of the weight's name.

    >>> from steelyard.core.readers import from_array
    >>> listed = [from_array(name, [0.0]) for name in ("fc.weight", "fc.bias", "cell.ii.kernel", "cell.hi.kernel")]
    >>> {layer: list(members) for layer, members in layer_groups(listed).items()}
    {'fc': ['weight', 'bias'], 'cell': ['ii/kernel', 'hi/kernel']}
    """
    listed = [(name := plain_layer(weight.name), _above(name), weight) for weight in weights]
    homes = _homes({prefix for _, prefix, _ in listed})
    groups: dict[str, dict[str, Weight]] = {}
    for name, prefix, weight in listed:
        # scikit-learn: coefs_.0 and intercepts_.0 are one layer
        if name[-1:].isdecimal() and (match := _NUMBERED.fullmatch(name)):
            layer, leaf = f"{name[: match.start(1)]}{match[2]}", match[1]
        else:
            layer = homes[prefix]
            leaf = name[len(layer) :].lstrip("./")
        if "." in leaf and not leaf.startswith("parametrizations"):
            leaf = leaf.replace(".", "/")  # dicts of arrays join names by dots
        members = groups.get(layer)
        if members is None:
            members = groups[layer] = {}
        members[leaf] = weight
    return groups


def _above(name: str) -> str:
    return name[: max(name.rfind("."), name.rfind("/"), 0)]


def _homes(prefixes: Iterable[str]) -> dict[str, str]:
    """Return the layer to which the weights below each prefix belong."""
    split = {prefix: (above := _above(prefix), prefix[len(above) :].lstrip("./")) for prefix in prefixes}
    children: dict[str, set[str]] = {}
    for above, word in split.values():
        children.setdefault(above, set()).add(word)
    return {prefix: _home(prefix, above, word, children[above]) for prefix, (above, word) in split.items()}


def _home(prefix: str, above: str, word: str, siblings: set[str]) -> str:
    if "parametrizations" in prefix and (match := _PARAMETRIZED.search(prefix)):
        return prefix[: match.start()]
    if prefix and _is_cell(word) and sum(map(_is_cell, siblings)) > 1:
        return above
    if _is_head(word) and ({"query", "key", "value"} <= {child.partition("_")[0] for child in siblings}):
        return above
    return above if word == "out_proj" else prefix


@lru_cache(maxsize=4096)
def _is_cell(word: str) -> bool:
    return _CELL.fullmatch(word) is not None


@lru_cache(maxsize=4096)
def _is_head(word: str) -> bool:
    return _HEAD.fullmatch(word) is not None
