"""Layers of linen that are stacked along leading axes, as `jax.vmap` of `init`, `nn.vmap` and `nn.scan` make them.

The kernel of a Dense has two axes and its bias one, the bias of a Conv has one, and the embedding of an Embed two. Further axes
in front, equal for the kernel and the bias of a layer, are those of a stack. What is proven for a layer holds for the
modules around it and all layers inside of these, such as norms and convolutions without a bias, unless a transformation is
in between or another of their layers proves otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from steelyard.core.weight import Weight

_MADE = re.compile(r"((?:Vmap|Scan|Remat|Checkpoint|Jit)*)([A-Z]\w*)_\d+")
_TRANSFORMED = re.compile(r"(Vmap|Scan)[A-Z]\w*_\d+")
_KERNELS = {"Dense": 2, "Conv": None, "ConvTranspose": None}
"""The number of axes of a kernel by the class of its layer, where it is fixed."""


def class_in(layer: str) -> str:
    """Return the class in an automatic name, without the transformations around it; blank for a name of the user's own.

    >>> class_in("encoder/Conv_0"), class_in("VmapDense_1"), class_in("head")
    ('Conv', 'Dense', '')
    """
    made = _MADE.fullmatch(layer.rpartition("/")[2])
    return made[2] if made else ""


def stacks_of(weights: Iterable[Weight]) -> dict[str, tuple[int, ...]]:
    """Return the lengths of the leading axes of each layer (without its collection) that is stacked, by its path."""
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for weight in weights:
        layer, _, leaf = weight.name.partition("/")[2].rpartition("/")
        layers.setdefault(layer, {})[leaf] = weight.shape
    proven = {layer: stack for layer, shapes in layers.items() if (stack := _proven(layer, shapes)) is not None}
    if not any(proven.values()):
        return {}
    around = _around(proven)
    return {layer: stack for layer in layers if (stack := proven.get(layer, _inherited(layer, around)))}


def _proven(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the stack that the weights of one layer prove, empty for none; None where they prove nothing."""
    made = class_in(layer)
    if made == "Embed" and len(shapes.get("embedding", ())) == 2:
        return ()
    kernel, bias = shapes.get("kernel"), shapes.get("bias")
    if made not in _KERNELS or not kernel:
        return None
    rank = _KERNELS[made]
    if not bias:
        return () if len(kernel) == rank else None
    stack = bias[:-1]
    fits = kernel[: len(stack)] == stack and kernel[-1] == bias[-1] and len(kernel) - len(stack) >= 2
    return stack if fits and (rank is None or len(kernel) - len(stack) == rank) else None


def _around(proven: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...] | None]:
    """Return the stack of each module around proven layers; None where its layers disagree."""
    around: dict[str, tuple[int, ...] | None] = {}
    for layer, stack in proven.items():
        above, _, word = layer.rpartition("/")
        if not _TRANSFORMED.fullmatch(word):  # its axes are its own
            around[above] = stack if around.get(above, stack) == stack else None
    return around


def _inherited(layer: str, around: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
    """Return the stack of the nearest module around a layer for which one is known."""
    while layer and not _TRANSFORMED.fullmatch(layer.rpartition("/")[2]):
        layer = layer.rpartition("/")[0]
        if layer in around:
            return around[layer] or ()
    return ()
