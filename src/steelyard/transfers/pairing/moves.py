"""What goes where: for each weight of the target, which parts of the source it is made of."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

from steelyard.core.axes import Part
from steelyard.errors import ShapeError, printable
from steelyard.transfers.layers.layer_weights import LayerWeights, PartKey
from steelyard.transfers.layers.norms import ComputedPart, length_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Arrays = Callable[[str], Array]
    """Gives the numbers of a weight by its name."""

_NEUTRAL = {"scale": 1.0, "offset": 0.0, "mean": 0.0, "variance": 1.0}
"""What a norm does without one of its vectors."""
_STATE = ("u vector", "v vector", "sigma")
"""What spectral norm keeps from one training step to the next."""
_BIASES = ("input bias", "recurrent bias")


class Reordering(NamedTuple):
    """A change of order along one axis: features that were flattened from (channels, space) or (space, channels)."""

    label: str
    channels: int
    to_last: bool

    def __str__(self) -> str:
        ways = ("C,S", "S,C") if self.to_last else ("S,C", "C,S")
        return f"{self.label}: ({ways[0]}) to ({ways[1]}), {self.channels} channels"


class Move(NamedTuple):
    """One part of the target: the sum of some parts of the source, or a number where the source has none.

    `turns` reorder features, `resize` says what happens where the shapes differ ("pad" or "truncate").
    """

    target: Part
    sources: tuple[Part | ComputedPart, ...]
    fill: float = 0.0
    reorderings: tuple[Reordering, ...] = ()
    resize: Literal["pad", "truncate"] | None = None
    then: Callable[[Array], Array] | None = None

    def values(self, arrays: Arrays) -> Array:
        """Return the part with canonical axes, as the target wants it."""
        import numpy as np

        if not self.sources:
            return np.full(self.target.shape, self.fill)
        first, *others = (part.values(arrays) for part in self.sources)
        for other in others:
            first = first + other
        for turn in self.reorderings:
            first = _turned(first, self.target.labels, turn)
        if self.then:
            first = self.then(first)
        if self.resize and first.shape != self.target.shape:
            return _resized(first, self.target, self.resize)
        return first.reshape(self.target.shape)


def moves(
    source: LayerWeights,
    target: LayerWeights,
    reorderings: tuple[Reordering, ...] = (),
    resize: Literal["pad", "truncate"] | None = None,
) -> tuple[list[Move], list[Part]]:
    """Return how each part of the target is made, and the parts of the source for which it has no place.

    Two biases of a recurrent layer become one where the target has one: the function is the same. What is left over
    may still be nothing: zeros of a bias. Raises `ShapeError` where the source lacks what the target needs.
    """
    made, used = [], set()
    for slot, part in target.parts.items():
        found = _sources(source, target, slot)
        used |= {id(each) for whole in found for each in (whole.parts if isinstance(whole, ComputedPart) else (whole,))}
        turned = tuple(turn for turn in reorderings if turn.label in part.labels)
        made.append(Move(part, tuple(found), _NEUTRAL.get(slot[0], 0.0), turned, resize, _then(target, slot)))
    return made, [part for slot, part in source.parts.items() if id(part) not in used and slot[0] not in _STATE]


def _then(target: LayerWeights, slot: PartKey) -> Callable[[Array], Array] | None:
    """Return how a kernel becomes the lengths that weight norm keeps apart, for the slot of those."""
    if slot[0] != "norm":
        return None
    norm, direction = target.parts[slot], target.parts["direction", ""]
    return lambda kernel: length_of(kernel, norm, direction)


def _sources(source: LayerWeights, target: LayerWeights, slot: PartKey) -> list[Part | ComputedPart]:
    """Return the parts that make one: itself, two biases for one, or none where nothing is as good."""
    name, gate = slot
    if slot in source.parts:
        return [source.parts[slot]]
    if slot in source.computed:
        return [source.computed[slot]]
    if name in ("norm", "direction"):
        return _sources(source, target, ("kernel", gate))
    if name == "bias":
        found: list[Part | ComputedPart] = [source.parts[each, gate] for each in _BIASES if (each, gate) in source.parts]
        if found:
            return found
    if name == "input bias" and ("bias", gate) in source.parts:
        return [source.parts["bias", gate]]
    if name in _NEUTRAL or (name == "recurrent bias" and _any_bias(source)):
        return []
    what = f"{name} of gate {gate}" if gate else name
    raise ShapeError(f"{printable(target.name)} needs a {what}, which {printable(source.name)} does not have")


def _any_bias(layer: LayerWeights) -> bool:
    return any("bias" in slot for slot, _ in layer.parts)


def neutral(part: Part, slot: str, array: Array) -> bool:
    """Tell whether a part changes nothing: zeros of a bias, ones of a scale."""
    return bool((part.read(array) == _NEUTRAL.get(slot, 0.0)).all())


def _turned(values: Array, labels: tuple[str, ...], turn: Reordering) -> Array:
    axis = labels.index(turn.label)
    before, length, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    space = length // turn.channels
    split = (turn.channels, space) if turn.to_last else (space, turn.channels)
    return values.reshape(*before, *split, *after).swapaxes(axis, axis + 1)


def _resized(values: Array, target: Part, how: str) -> Array:
    """Return the numbers that both have; the rest is zero when padded."""
    import numpy as np

    grows = any(new > old for new, old in zip(target.shape, values.shape, strict=True))
    shrinks = any(new < old for new, old in zip(target.shape, values.shape, strict=True))
    if (grows and how != "pad") or (shrinks and how != "truncate"):
        raise ShapeError(
            f"{printable(target.weight.name)} has shape {target.shape} in canonical axes, the source {values.shape}; "
            f"resize={how!r} does not {'shrink' if shrinks else 'grow'} it"
        )
    both = tuple(slice(0, min(old, new)) for old, new in zip(values.shape, target.shape, strict=True))
    made = np.zeros(target.shape, values.dtype)
    made[both] = values[both]
    return made


def described(move: Move) -> str:
    """Say in words how a part is made."""
    if not move.sources:
        return f"filled with {move.fill:g}"
    first = move.sources[0].weight
    words = [] if first.axes == move.target.weight.axes else [f"{first.axes or '-'} -> {move.target.weight.axes or '-'}"]
    words += ["sum of two biases"] if len(move.sources) > 1 else []
    words += [str(turn) for turn in move.reorderings]
    words += [move.resize] if move.resize and prod(move.sources[0].shape) != prod(move.target.shape) else []
    return "; ".join(words)
