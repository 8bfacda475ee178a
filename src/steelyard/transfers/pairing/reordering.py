"""Reordering of flattened features: one framework flattens an image with its channels first, another with them last.

| image                     | index of (c, y, x) in the features      |
|---------------------------|-----------------------------------------|
| (channels, height, width) | (c * height + y) * width + x            |
| (height, width, channels) | (y * width + x) * channels + c          |

The shape is the same, so the inputs of the dense layer after a flatten are reordered, and so is every per-feature vector
between the two; a dense layer before a reshape into an image has its outputs reordered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import AmbiguityError, printable
from steelyard.transfers.pairing.flatten_order import ends_last
from steelyard.transfers.pairing.moves import Reordering

if TYPE_CHECKING:
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing import Pair
    from steelyard.transfers.pairing.net import Net

_IMAGES = ("conv", "conv transpose")
_FEATURES = ("batch norm", "layer norm", "prelu", "group norm", "rms norm")

_MIXING = ("dense", "rnn", "lstm", "gru", "attention", "embedding")


class FlattenedFeatures(NamedTuple):
    """Features from an image, or with `behind` features that become one: their axis labels, and the image's channels."""

    labels: tuple[str, ...]
    channels: int
    behind: bool = False


def reorderings(source: Net, target: Net, pairs: list[Pair]) -> dict[int, tuple[Reordering, ...]]:
    """Return the reorderings of each target layer by its id; empty if both nets flatten their images alike.

    The order of the layers is that of the net whose order is known. The channels are those of the nearest convolution before
    (or after, for a dense layer's outputs), if they divide the features. Raises `AmbiguityError` if a net permutes the axes
    of an image in another way.
    """
    if not (source.channels and target.channels):
        return {}
    orders_of: dict[int, tuple[Reordering, ...]] = {}
    by_target = target.is_execution_order or not source.is_execution_order
    partners = {id(each.target if by_target else each.source): each for each in pairs}
    rows = target.layers if by_target else source.layers  # all layers: one that the user leaves out is still between others
    for layer, image, following in zip(rows, _before(rows), _following(rows), strict=True):
        if each := partners.get(id(layer)):
            made = [change for flat in _flats(layer, image, following) for change in _changes(source, target, each, flat)]
            orders_of |= {id(each.target): tuple(made)} if made else {}
    return orders_of


def _changes(source: Net, target: Net, each: Pair, flat: FlattenedFeatures) -> list[Reordering]:
    to_last = ends_last(source, target, each, behind=flat.behind)
    return [] if to_last is None else [Reordering(label, flat.channels, to_last) for label in flat.labels]


def _before(rows: Iterable[LayerWeights]) -> list[LayerWeights | None]:
    """Return the last convolution before each layer; None where a layer between the two mixes the features."""
    images: list[LayerWeights | None] = []
    image = None
    for layer in rows:
        images.append(image)
        if layer.kind in _IMAGES:
            image = layer
        elif layer.kind in _MIXING:  # so what follows is no longer ordered by the pixels of an image
            image = None
    return images


def _following(rows: Sequence[LayerWeights]) -> list[LayerWeights | None]:
    """Return the first layer after each that is not one of vectors for each feature."""
    found: list[LayerWeights | None] = []
    following = None
    for layer in reversed(rows):
        found.append(following)
        if layer.kind not in _FEATURES:
            following = layer
    return found[::-1]


def _flats(layer: LayerWeights, image: LayerWeights | None, following: LayerWeights | None) -> Iterator[FlattenedFeatures]:
    if layer.kind == "dense":
        if channels := _flattened(image, layer.shape("kernel")[1]):
            yield FlattenedFeatures(("in",), channels)
        if channels := _reshaped(following, layer.shape("kernel")[0]):
            yield FlattenedFeatures(("out", "channel"), channels, behind=True)
    elif layer.kind in _FEATURES:
        features = next(iter(layer.parts.values())).shape[0]
        channels = _flattened(image, features)
        if channels and following is not None and following.kind == "dense" and following.shape("kernel")[1] == features:
            yield FlattenedFeatures(("channel",), channels)


def _flattened(image: LayerWeights | None, features: int) -> int:
    """Return the channels of the image that was flattened into these features; 0 if there is none."""
    channels = _channels_out(image) if image is not None else 1
    # as many channels as features: the image has one pixel, as after a global pool, and both orders are the same
    return channels if 1 < channels != features and features % channels == 0 else 0


def _reshaped(following: LayerWeights | None, features: int) -> int:
    """Return the channels of the image into which these features are reshaped; 0 if there is none."""
    if following is None or following.kind not in _IMAGES:
        return 0
    channels = _channels_in(following)
    return channels if 1 < channels < features and features % channels == 0 else 0


def _channels_out(layer: LayerWeights) -> int:
    # the canonical kernel of a convolution is (out, in / groups, ...), that of a transposed one (in, out / groups, ...)
    return layer.shape("kernel")[0 if layer.kind == "conv" else 1] * _groups(layer, "conv transpose")


def _channels_in(layer: LayerWeights) -> int:
    return layer.shape("kernel")[1 if layer.kind == "conv" else 0] * _groups(layer, "conv")


def _groups(layer: LayerWeights, kind: str) -> int:
    return int(layer.settings.get("groups") or 1) if layer.kind == kind else 1


def refuse_unclear(source: Net, target: Net, pairs: list[Pair]) -> None:
    """Raise `AmbiguityError` if features may follow an image and the order of the layers is known in neither net."""
    if source.channels == target.channels or source.is_execution_order or target.is_execution_order:
        return
    images = [each for each in pairs if each.target.kind in _IMAGES]
    dense = [each for each in pairs if each.target.kind == "dense"]
    if images and dense:
        raise AmbiguityError(
            f"{printable(dense[0].target.name)} may follow a flattened image, whose channels are first in one net and last in "
            "the other, and the order of the layers is known in neither; pass probe= inputs, so that they run, or a live model"
        )
