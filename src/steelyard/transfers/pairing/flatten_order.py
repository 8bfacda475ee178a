"""The axis order in which a net flattens an image: that of its channels, unless a layer permutes the axes first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import AmbiguityError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Layer
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing import Pair
    from steelyard.transfers.pairing.net import Net


def ends_last(source: Net, target: Net, each: Pair, *, behind: bool) -> bool | None:
    """Return True if the channels move from first to last, False for the reverse, None if both nets agree.

    The image is before the layer, or after it (`behind`). Raises `AmbiguityError` if one of the nets permutes its axes in
    any other way.
    """
    mine, theirs = _order(source, each.source, behind=behind), _order(target, each.target, behind=behind)
    if mine == theirs:
        return None
    if not {mine, theirs} <= {"first", "last"}:
        raise AmbiguityError(
            f"the axes of the image at {printable(each.source.name)} ({printable(each.target.name)} in the target) are permuted "
            "where it is flattened, and differently in both nets; leave this layer out with skip=, and write it by hand"
        )
    return theirs == "last"


def _order(net: Net, layer: LayerWeights, *, behind: bool) -> str:
    """Return the position of the channels when an image is flattened: first, last, or the permutation of its axes."""
    if net.graph is None or layer.graph_layer is None:
        return net.channels
    words = {
        word for node in _between(net, layer.graph_layer, behind=behind) if (word := _moved(node, net.channels, behind=behind))
    }
    return " ".join(sorted(words)) or net.channels


def _between(net: Net, start: Layer, *, behind: bool) -> Iterator[Layer]:
    """Yield the layers without weights between a layer and the next ones with weights."""
    nodes, following = net.nodes, net.following
    seen, pending = {start.name}, [start]
    while pending:
        here = pending.pop()
        for name in following.get(here.name, ()) if behind else here.inputs or ():
            if name in nodes and name not in seen and nodes[name].kind in _PASSED:
                pending.append(nodes[name])
                yield nodes[name]
            seen.add(name)


_PASSED = ("activation", "dropout", "flatten", "global pool", "merge", "pad", "pool", "reshape", "softmax", "upsample")


def _moved(node: Layer, channels: str, *, behind: bool) -> str:
    """Return the position of the channels on the flattened side of a layer that permutes axes; blank for other layers."""
    if word := node.settings.get("channels"):
        return str(word)
    given = node.settings.get("axes") if node.kind in ("reshape", "flatten") else ()
    axes = given if isinstance(given, tuple) else ()
    count = len(axes)
    if axes == tuple(range(1, count + 1)):
        return ""
    to_front, to_end = (count, *range(1, count)), (*range(2, count + 1), 1)
    ways = {"last": to_end, "first": to_front} if behind else {"last": to_front, "first": to_end}
    other = {"last": "first", "first": "last"}
    return other[channels] if axes == ways[channels] else f"{channels} {axes}"
