"""Where an image is flattened: one framework has its channels first, another last, and no shape tells.

What is flattened from (channels, height, width) lies in another order than from (height, width, channels). So the
inputs of the dense layer behind it, and everything for each feature between the two, are reordered; a dense layer in
front of a reshape into an image has its outputs reordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import AmbiguityError, printable
from steelyard.transfers.pairing.flattening import ends_last
from steelyard.transfers.pairing.moves import Turn

if TYPE_CHECKING:
    from steelyard.transfers.layers.units import Unit
    from steelyard.transfers.pairing import Pair
    from steelyard.transfers.pairing.nets import Net

_IMAGES = ("conv", "conv transpose")
_FEATURES = ("batch norm", "layer norm", "prelu", "group norm", "rms norm")


class Flat(NamedTuple):
    """Features that an image was flattened into, or will be made of: by which words, and on which side of the layer."""

    labels: tuple[str, ...]
    channels: int
    behind: bool = False


def turns(source: Net, target: Net, pairs: list[Pair]) -> dict[int, tuple[Turn, ...]]:
    """Return the reordering of each target unit by its id; nothing where both flatten their images alike.

    The order of the layers is taken from the net that knows it. How many channels there were is told by the nearest
    layer of images before (or behind, for a dense layer's outputs) whose channels divide the features. Raises
    `AmbiguityError` where a net moves the axes of an image in its own way.
    """
    if not (source.channels and target.channels):
        return {}
    found: dict[int, tuple[Turn, ...]] = {}
    by_target = target.is_execution_order or not source.is_execution_order
    partners = {id(each.target if by_target else each.source): each for each in pairs}
    rows = target.units if by_target else source.units  # all of them: what is left out lies between others all the same
    for nth, unit in enumerate(rows):
        if each := partners.get(id(unit)):
            made = [turn for flat in _flats(rows, nth) for turn in _turns(source, target, each, flat)]
            found |= {id(each.target): tuple(made)} if made else {}
    return found


def _turns(source: Net, target: Net, each: Pair, flat: Flat) -> list[Turn]:
    to_last = ends_last(source, target, each, behind=flat.behind)
    return [] if to_last is None else [Turn(label, flat.channels, to_last) for label in flat.labels]


def _flats(rows: list[Unit], nth: int) -> Iterator[Flat]:
    unit = rows[nth]
    if unit.kind == "dense":
        if channels := _flattened(rows, nth, unit.shape("kernel")[1]):
            yield Flat(("in",), channels)
        if channels := _reshaped(rows, nth, unit.shape("kernel")[0]):
            yield Flat(("out", "channel"), channels, behind=True)
    elif unit.kind in _FEATURES:
        features = next(iter(unit.parts.values())).shape[0]
        channels = _flattened(rows, nth, features)
        if channels and _dense_follows(rows, nth, features):
            yield Flat(("channel",), channels)


def _flattened(rows: list[Unit], nth: int, features: int) -> int:
    """Return the channels of the image that was flattened into these features, or 0."""
    for unit in reversed(rows[:nth]):
        if unit.kind in _IMAGES:
            channels = _channels_out(unit)
            if channels != features and features % channels == 0:
                return channels if channels > 1 else 0
            return 0
        if unit.kind == "dense" or unit.kind in ("rnn", "lstm", "gru", "attention", "embedding"):
            return 0
    return 0


def _reshaped(rows: list[Unit], nth: int, features: int) -> int:
    """Return the channels of the image that these features are reshaped into, or 0."""
    for unit in rows[nth + 1 :]:
        if unit.kind in _IMAGES:
            channels = _channels_in(unit)
            return channels if 1 < channels < features and features % channels == 0 else 0
        if unit.kind not in _FEATURES:
            return 0
    return 0


def _dense_follows(rows: list[Unit], nth: int, features: int) -> bool:
    following = next((unit for unit in rows[nth + 1 :] if unit.kind not in _FEATURES), None)
    return following is not None and following.kind == "dense" and following.shape("kernel")[1] == features


def _channels_out(unit: Unit) -> int:
    return unit.shape("kernel")[0 if unit.kind == "conv" else 1] * _groups(unit, "conv transpose")


def _channels_in(unit: Unit) -> int:
    return unit.shape("kernel")[1 if unit.kind == "conv" else 0] * _groups(unit, "conv")


def _groups(unit: Unit, kind: str) -> int:
    return int(unit.settings.get("groups") or 1) if unit.kind == kind else 1


def refuse_unclear(source: Net, target: Net, pairs: list[Pair]) -> None:
    """Raise `AmbiguityError` where features follow an image and no net tells the order in which its layers run."""
    if source.channels == target.channels or source.is_execution_order or target.is_execution_order:
        return
    images = [each for each in pairs if each.target.kind in _IMAGES]
    dense = [each for each in pairs if each.target.kind == "dense"]
    if images and dense:
        raise AmbiguityError(
            f"{printable(dense[0].target.name)} may follow a flattened image, whose channels lie first in one net and last in "
            "the other, and neither net tells the order of its layers; give probe= inputs, so that they are run, or a live model"
        )
