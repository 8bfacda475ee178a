"""What a Keras file lacks: variables that its own numbering or its config names, and no dataset has.

Only classes whose config determines their variables are compared with it; quantised ones have others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.errors import printable
from steelyard.layers.keras.roles import snake

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain

_KERNEL = {"Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv2D"}
"""Classes with a kernel, and a bias if the config has `use_bias`."""


def missing_variables(paths: Iterable[str], config: Plain) -> list[str]:
    """Return a sentence for each layer that lacks a variable. `paths` are those of the datasets, as Keras 3 writes them."""
    held: dict[str, set[str]] = {}
    for path in paths:
        group, _, name = path.replace("\\", "/").rpartition("/")
        held.setdefault(group, set()).add(name)
    return [*_gaps(held), *_by_config(held, config, "", 0)]


def _gaps(held: Mapping[str, set[str]]) -> Iterator[str]:
    """Variables are numbered from 0 in each group."""
    for group, names in held.items():
        numbers = {int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 5}
        absent = sorted({*range(max(numbers, default=-1) + 1)} - numbers)
        if absent and group.rpartition("/")[2] == "vars":
            yield f"lacks the variable {absent[0]} of {printable(group)}"


def _by_config(held: Mapping[str, set[str]], config: Plain, outer: str, depth: int) -> Iterator[str]:
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else None
    counts: dict[str, int] = {}
    for layer in layers if isinstance(layers, list) and depth < limits.RECURSION else ():
        if not isinstance(layer, dict) or str(layer.get("module")).startswith("keras.src.ops"):
            continue
        kind, own = layer.get("class_name"), layer.get("config")
        if not isinstance(kind, str) or not isinstance(own, dict):
            continue
        word = snake(kind)
        counts[word] = counts.get(word, -1) + 1
        group = f"{outer}layers/{word}{f'_{counts[word]}' if counts[word] else ''}"
        expected = _expected(kind, layer, own)
        count = len(held.get(f"{group}/vars", ()))
        if count < expected:
            name = printable(own.get("name", group))
            yield f"lacks {expected - count:,} of the {expected:,} variables of the layer {name}"
        yield from _by_config(held, layer, f"{group}/", depth + 1)


def _expected(kind: str, layer: Mapping[str, Plain], config: Mapping[str, Plain]) -> int:
    """Return how many variables a layer of Keras's own has at least; 0 where that is not known."""
    policy = config.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    if layer.get("module") != "keras.layers" or (isinstance(inner, dict) and "mode" in inner) or config.get("lora_rank"):
        return 0
    if kind in _KERNEL:
        return 2 if config.get("use_bias", True) else 1
    return 1 if kind == "Embedding" else 0
