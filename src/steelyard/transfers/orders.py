"""The order of the axes of dense kernels whose weights and names do not show it: taken from the other net, or assumed and named.

A "weight" of a state dict is out-in in PyTorch, but in-out in the dense layers of GPT-2. The shape of the bias distinguishes
them, unless the kernel is square; without a bias, nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.core.places import LEAVES
from steelyard.core.weight import Role
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.errors import AmbiguityError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing import Pair
    from steelyard.transfers.pairing.net import Net

NAMED = 3
"""Weights that a note names individually."""


def learned(found: Weights, other: Mapping[str, Weight]) -> Weights:
    """Return weights in which kernels of unknown axes have those of the other net's weight of the same name and shape,
    also within wrappers.
    """
    unknown = [weight for weight in found.values() if not weight.axes and len(weight.shape) == 2]
    if not unknown:
        return found
    names = wrapping(shapes_of(found), shapes_of(other)).names
    partners = ((weight, other[names[weight.name]]) for weight in unknown if weight.name in names)
    known = {weight.name: partner.axes for weight, partner in partners if partner.shape == weight.shape}
    if not any(known.values()):
        return found
    return found.with_weights(weight.replace(axes=known.get(name, weight.axes)) for name, weight in found.items())


def notes_of_list(listed: Weights) -> list[str]:
    """Return a note on arrays without names that were taken for a net's weights, whose names and roles they have now.

    Raises `AmbiguityError` where its kernels have the same shape in another framework's layout, so that none shows it.
    """
    if LEAVES in listed.meta:  # the tree of the net itself
        return []
    matrices = [weight for weight in listed.values() if len(weight.shape) > 1 and max(weight.shape) > 1]
    # an embedding has one layout in all frameworks, and shows nothing
    kernels = [weight for weight in matrices if weight.role in (Role.KERNEL, Role.RECURRENT_KERNEL)] or matrices
    if kernels and all(_turned(weight.shape) == weight.shape for weight in kernels):
        first = f"{printable(kernels[0].name)} {list(kernels[0].shape)}"
        raise AmbiguityError(
            f"the source has no names, and its kernels are square, such as {first}: nothing shows whether "
            "its layout is that of the target; if it is, use assign, else pass the arrays by name"
        )
    return ["the source has no names: its arrays were taken for the target's weights in their order and layout, which fit"]


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a kernel "out in ..." in the layout "... in out"."""
    return (*shape[2:], shape[1], shape[0])


def assumed(net: Net, layer: LayerWeights) -> Iterator[tuple[str, str]]:
    """Yield the name of each dense kernel of a layer whose axes were assumed, and the axes."""
    for part in layer.parts.values() if layer.kind == "dense" else ():
        weight, own = part.weight, net.weights.get(part.weight.name)
        if own is None or own.axes or len(own.shape) != 2 or weight.role is not Role.KERNEL:
            continue
        if own.shape[0] == own.shape[1] or not layer.has("bias"):
            yield weight.name, weight.axes


def notes_of_orders(source: Net, target: Net, pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield a note for each net about its square kernels whose axes were assumed; other shapes show in the pairing."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in pairs:
        mine, theirs = _squares(source, each.source), _squares(target, each.target)
        for word, squares in (("source", mine), ("target", theirs)):
            for name, axes in squares.items() if {*mine.values()} != {*theirs.values()} else ():  # equal ones move nothing
                found.setdefault((word, axes), []).append(printable(name))
    for (word, axes), names in found.items():
        order = axes.replace(" ", "-")
        yield f"the {word} does not show the order of the axes of {first_of(names, NAMED, str)}, square; {order} was assumed"


def _squares(net: Net, layer: LayerWeights) -> dict[str, str]:
    return {name: axes for name, axes in assumed(net, layer) if len(set(net.weights[name].shape)) == 1}
