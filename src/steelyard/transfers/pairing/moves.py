"""Moves: for each part of the target, the parts of the source from which it is made."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

from steelyard.core.axes import Part
from steelyard.errors import ShapeError, printable
from steelyard.text.units import with_article
from steelyard.transfers.layers.layer_weights import LayerWeights, PartKey
from steelyard.transfers.layers.norms import ComputedPart, length_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

    Arrays = Callable[[str], Array]
    """Returns the numbers of a weight by its name."""

_NEUTRAL = {"scale": 1.0, "offset": 0.0, "mean": 0.0, "variance": 1.0}
"""The value of a missing vector of a norm."""
_STATE = ("u vector", "v vector", "sigma")
"""The state that spectral norm carries from one training step to the next."""
_BIASES = ("input bias", "recurrent bias")


class Reordering(NamedTuple):
    """A change of order along one axis: features flattened from (channels, space) become (space, channels), or back."""

    label: str
    channels: int
    to_last: bool

    def __str__(self) -> str:
        ways = ("C,S", "S,C") if self.to_last else ("S,C", "C,S")
        return f"{self.label}: ({ways[0]}) to ({ways[1]}), {self.channels} channels"


class Move(NamedTuple):
    """One part of the target: the sum of some parts of the source, or the number `fill` if the source has none.

    `reorderings` change the order of flattened features, `resize` allows another shape, `then` is applied at the end.
    """

    target: Part
    sources: tuple[Part | ComputedPart, ...]
    fill: float = 0.0
    reorderings: tuple[Reordering, ...] = ()
    resize: Literal["pad", "truncate"] | None = None
    then: Callable[[Array], Array] | None = None

    @property
    def as_it_is(self) -> Weight | None:
        """The weight of the source that becomes a whole weight of the target without a change; None for any other move."""
        if len(self.sources) != 1 or self.reorderings or self.then or not self.target.is_whole:
            return None
        (source,) = self.sources
        is_same = isinstance(source, Part) and source.is_whole and source.weight.shape == self.target.weight.shape
        return source.weight if is_same else None

    def values(self, arrays: Arrays) -> Array:
        """Return the part with canonical axes, in the order and the shape that the target expects."""
        import numpy as np

        if not self.sources:
            return np.full(self.target.shape, self.fill)
        first, *others = (part.values(arrays) for part in self.sources)
        for other in others:
            first = first + other
        for each in self.reorderings:
            first = _reordered(first, self.target.labels, each)
        if self.then:
            first = self.then(first)
        if self.resize and first.shape != self.target.shape and not _differs_in_ones(first.shape, self.target.shape):
            return _resized(first, self.target, self.resize)
        return first.reshape(self.target.shape)


def moves(
    source: LayerWeights,
    target: LayerWeights,
    reorderings: tuple[Reordering, ...] = (),
    resize: Literal["pad", "truncate"] | None = None,
) -> tuple[list[Move], list[PartKey]]:
    """Return the move of each part of the target, and the keys of the source's parts that have no place in it.

    Two biases of a recurrent layer are added if the target has only one, since the function is the same. A part without a
    place may still be neutral, such as a bias of zeros. Raises `ShapeError` if the source lacks a part that the target needs, or
    has it in another size without `resize`.
    """
    made, used = [], set()
    for key, part in target.parts.items():
        parts = _sources(source, target, key)
        used |= {id(each) for whole in parts for each in (whole.parts if isinstance(whole, ComputedPart) else (whole,))}
        changes = tuple(each for each in reorderings if each.label in part.labels)
        move = Move(part, tuple(parts), _NEUTRAL.get(key[0], 0.0), changes, resize, _then(target, key))
        _check_sizes(move)
        made.append(move)
    return made, [key for key, part in source.parts.items() if id(part) not in used and key[0] not in _STATE]


def _check_sizes(move: Move) -> None:
    """Raise `ShapeError` if a part of the source has another size than the target, or than those to which it is added."""
    if move.then:
        return
    for each in move.sources:
        fits = each.shape == move.sources[0].shape if move.resize else prod(each.shape) == prod(move.target.shape)
        if not fits:
            raise ShapeError(
                f"{printable(each.weight.name)} of the source has shape {list(each.weight.shape)}, which does not fit into "
                f"{printable(move.target.weight.name)} of shape {list(move.target.weight.shape)}; "
                "leave the layer out with skip=, or allow other sizes with resize="
            )


def _then(target: LayerWeights, key: PartKey) -> Callable[[Array], Array] | None:
    """Return the function from a kernel to the lengths that weight norm stores; None for any other part."""
    if key[0] != "norm":
        return None
    norm, direction = target.parts[key], target.parts["direction", ""]
    return lambda kernel: length_of(kernel, norm, direction)


def _sources(source: LayerWeights, target: LayerWeights, key: PartKey) -> list[Part | ComputedPart]:
    """Return the parts of the source that are summed into a part of the target; none if a neutral number replaces them."""
    name, gate = key
    if key in source.parts:
        return [source.parts[key]]
    if key in source.computed:
        return [source.computed[key]]
    # the target stores a kernel w in two pieces: any g and v with g * v / |v| = w will do, so g = |w| and v = w
    if name in ("norm", "direction"):
        return _sources(source, target, ("kernel", gate))
    # PyTorch and cuDNN add two biases, where Keras and Flax have one
    if name == "bias":
        parts: list[Part | ComputedPart] = [source.parts[each, gate] for each in _BIASES if (each, gate) in source.parts]
        if parts:
            return parts
    # the other way: the one bias becomes that of the input, and that of the state is filled with zeros
    if name == "input bias" and ("bias", gate) in source.parts:
        return [source.parts["bias", gate]]
    if name in _NEUTRAL or (name == "recurrent bias" and _any_bias(source)):
        return []
    what = with_article(f"{name} of gate {gate}" if gate else name)
    raise ShapeError(f"{_named(target)} of the target needs {what}, which {_named(source)} of the source does not have")


def _named(layer: LayerWeights) -> str:
    return printable(layer.name) or "the layer without a name"


def _any_bias(layer: LayerWeights) -> bool:
    return any("bias" in purpose for purpose, _ in layer.parts)


def is_neutral(part: Part, purpose: str, array: Array) -> bool:
    """Whether a part changes no output: a bias of zeros, or a scale of ones."""
    return bool((part.read(array) == _NEUTRAL.get(purpose, 0.0)).all())


def _reordered(values: Array, labels: tuple[str, ...], change: Reordering) -> Array:
    """Swap channels and space along one axis.

    before           (..., channels * space, ...)   where the source flattens channels first
    split            (..., channels, space, ...)
    swapped          (..., space, channels, ...)    reshaped to one axis again when it is written
    """
    axis = labels.index(change.label)
    before, length, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    space = length // change.channels
    split = (change.channels, space) if change.to_last else (space, change.channels)
    return values.reshape(*before, *split, *after).swapaxes(axis, axis + 1)


def _resized(values: Array, target: Part, how: str) -> Array:
    """Truncate to the entries that both shapes have, or pad the rest with zeros."""
    import numpy as np

    if len(values.shape) != len(target.shape):
        raise ShapeError(
            f"{printable(target.weight.name)} has shape {target.shape} in canonical axes, the source {values.shape}; "
            "resize= does not change the number of axes"
        )
    grows = any(new > old for new, old in zip(target.shape, values.shape, strict=True))
    shrinks = any(new < old for new, old in zip(target.shape, values.shape, strict=True))
    if (grows and how != "pad") or (shrinks and how != "truncate"):
        raise ShapeError(
            f"{printable(target.weight.name)} has shape {target.shape} in canonical axes, the source {values.shape}; "
            f"resize={how!r} does not {'shrink' if how == 'pad' else 'grow'} it"
        )
    both = tuple(slice(0, min(old, new)) for old, new in zip(values.shape, target.shape, strict=True))
    made = np.zeros(target.shape, values.dtype)
    made[both] = values[both]
    return made


def _differs_in_ones(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether shapes of different ranks are the same but for axes of length one."""
    return len(one) != len(other) and [n for n in one if n != 1] == [n for n in other if n != 1]


def described(move: Move) -> str:
    """Describe how a part is made; blank if it is copied unchanged."""
    if not move.sources:
        return f"filled with {move.fill:g}"
    first = move.sources[0].weight
    words = [] if first.axes == move.target.weight.axes else [f"{first.axes or '-'} -> {move.target.weight.axes or '-'}"]
    words += ["sum of two biases"] if len(move.sources) > 1 else []
    words += [str(change) for change in move.reorderings]
    words += [move.resize] if move.resize and prod(move.sources[0].shape) != prod(move.target.shape) else []
    return "; ".join(words)
