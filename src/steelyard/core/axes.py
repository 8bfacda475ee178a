"""The axes of a weight in words, and the parts that they distinguish.

| axes | meaning |
|---|---|
| kh kw in out | four axes |
| [ifgo]*out in | a matrix whose rows are four consecutive gates |
| heads*dim in | a matrix whose rows are heads of some dimensions |
| -kh | a reversed axis |
| 1 | an axis of length one |
| dir | an axis of directions, forward and then backward |
| layer | an axis of stacked layers, as `vmap` and `scan` make them |

Two frameworks lay out a layer differently, but its smallest parts, one gate of one direction, are equal arrays
once their axes are in the same order. So there are no rules for pairs of frameworks: `parts_of` locates each part in a
weight, and a part of one weight is copied into the corresponding part of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard import sizes
from steelyard.core.threads import at_once
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight


class Factor(NamedTuple):
    """A factor of an axis: a length, named by its word, or parts, named by their letters; it may be reversed."""

    word: str
    letters: str = ""
    backwards: bool = False


@lru_cache(maxsize=1024)
def parsed(axes: str) -> tuple[tuple[Factor, ...], ...]:
    """Return the factors of each axis.

    >>> parsed("[ifgo]*out -k")
    ((Factor(word='', letters='ifgo', backwards=False), Factor(word='out', ...)), (Factor(word='k', letters='', backwards=True),))
    """
    return tuple(
        tuple(_factor(text, axis.startswith("-")) for text in axis.removeprefix("-").split("*")) for axis in axes.split()
    )


def _factor(text: str, backwards: bool) -> Factor:
    if text.startswith("[") and text.endswith("]"):
        return Factor("", text[1:-1], backwards)
    return Factor("", "fb", backwards) if text == "dir" else Factor(text, "", backwards)


class PartLayout(NamedTuple):
    """The location of a part in every weight of one shape and axes."""

    letters: tuple[str, ...]
    # Where a part is in the array of its weight:
    #   split    the lengths of all factors: the shape with packed and merged axes taken apart
    #   picks    for each factor a number (a packed part, an axis of length one), or a slice (reversed if stored backwards)
    #   order    for each canonical axis the factors that make it up
    #   shape    the lengths of the canonical axes
    split: tuple[int, ...]
    picks: tuple[int | slice, ...]
    order: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    is_whole: bool


class Part:
    """One part of a weight: `letters` identify it, `shape` is that of its canonical axes.

    `labels` are the canonical axes, one word each.
    """

    __slots__ = ("_layout", "labels", "letters", "shape", "weight")

    def __init__(self, weight: Weight, layout: PartLayout, labels: Sequence[str]) -> None:
        self.weight = weight
        self.labels = tuple(labels)
        self.letters = layout.letters
        self.shape = layout.shape
        self._layout = layout

    def __repr__(self) -> str:
        return f"Part({self.weight.name!r}, {''.join(self.letters)!r}, {' '.join(self.labels)}: {self.shape})"

    def of(self, weight: Weight) -> Part:
        """Return the same part of another weight, which has the same shape and axes."""
        return Part(weight, self._layout, self.labels)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weight that contains the part."""
        return (self.weight,)

    @property
    def is_whole(self) -> bool:
        """Whether the part is its whole weight, with the axes in canonical order already."""
        return self._layout.is_whole

    def values(self, arrays: Callable[[str], Array]) -> Array:
        """Return the part with canonical axes; `arrays` returns the weight's array by name."""
        return self.read(arrays(self.weight.name))

    def runs(self, other: Part) -> tuple[object, ...]:
        """Return how the axes of this part map to those of another weight's part; equal results move numbers alike."""
        mine, theirs = self._run(), other._run()
        return tuple(sorted(zip(mine, theirs, strict=True))) if len(mine) == len(theirs) else (*mine, "", *theirs)

    def _run(self) -> list[tuple[int, bool]]:
        _, split, picks, order, *_ = self._layout
        picked = [(place, picks[place]) for group in order for place in group if split[place] > 1]
        return [(place, pick == slice(None, None, -1)) for place, pick in picked]

    def view(self, array: Array) -> Array:
        """Return the part of the weight's array as a view, its factors in canonical order."""
        kept = [place for place, pick in enumerate(self._layout.picks) if isinstance(pick, slice)]
        order = [kept.index(place) for group in self._layout.order for place in group]
        split: Array = array.reshape(self._layout.split)[(*self._layout.picks, ...)]  # the ellipsis keeps one number an array
        return split.transpose(order)

    def read(self, array: Array) -> Array:
        """Return the part with its canonical axes, as a view if NumPy can make one."""
        return self.view(array).reshape(self.shape)

    def write(self, array: Array, values: Array) -> None:
        """Write a part with canonical axes into the weight's array."""
        view = self.view(array)
        copy_turned(view, values.reshape(view.shape))


def parts_of(weight: Weight, axes: str, canonical: Sequence[str], known: Mapping[str, int] | None = None) -> Iterator[Part]:
    """Yield the parts of a weight whose axes are `axes`, each with the `canonical` axes in that order.

    Each word of `axes` belongs to one canonical axis, as `label_of` maps them. `known` has the lengths of words that do not
    follow from the shape. Raises `ShapeError` if the axes do not fit the shape.

    Examples:
        >>> import numpy as np
        >>> from steelyard.core.readers import from_array
        >>> keras = from_array("kernel", np.arange(6).reshape(1, 6))
        >>> gates = {part.letters: part.read(keras.numpy()).tolist() for part in parts_of(keras, "in [zrn]*out", ("out", "in"))}
        >>> gates["r",]
        [[2], [3]]
    """
    try:
        layouts = _layouts(weight.shape, axes, tuple(canonical), tuple((known or {}).items()))
    except ShapeError as error:
        raise ShapeError(f"{printable(weight.name)} {error}") from None
    for layout in layouts:
        yield Part(weight, layout, canonical)


@lru_cache(maxsize=4096)
def _layouts(
    shape: tuple[int, ...], axes: str, canonical: tuple[str, ...], known: tuple[tuple[str, int], ...]
) -> tuple[PartLayout, ...]:
    """Locate the parts; cached, since a net repeats its shapes."""
    factors = parsed(axes)
    split = tuple(size for axis in _lengths(shape, axes, factors, dict(known)) for size in axis)
    flat = [factor for axis in factors for factor in axis]
    words = frozenset(factor.word for factor in flat)
    places = [_label(factor.word, words, canonical) for factor in flat]
    order = tuple(tuple(place for place, at in enumerate(places) if at == nth) for nth in range(len(canonical)))
    made = tuple(prod(split[place] for place in group) for group in order)
    marked = [place for place, factor in enumerate(flat) if factor.letters]
    layouts = []
    for letters in product(*(flat[place].letters[: split[place]] for place in marked)):
        index = [_whole(factor, at) for factor, at in zip(flat, places, strict=True)]
        for place, letter in zip(marked, letters, strict=True):
            index[place] = flat[place].letters.index(letter)
        layouts.append(PartLayout(letters, split, tuple(index), order, made, _is_whole(split, index, order)))
    return tuple(layouts)


def _is_whole(split: Sequence[int], picks: Sequence[int | slice], order: Sequence[Sequence[int]]) -> bool:
    """Whether all axes longer than one are read forwards and in canonical order."""
    long = [place for place, length in enumerate(split) if length > 1]
    forwards = all(picks[place] == slice(None) for place in long)
    return forwards and [place for group in order for place in group if split[place] > 1] == long


def _whole(factor: Factor, label: int | None) -> int | slice:
    if label is None:
        return 0  # an axis of length one
    return slice(None, None, -1) if factor.backwards else slice(None)


def _label(word: str, words: frozenset[str], canonical: Sequence[str]) -> int | None:
    """Return the index of a word's canonical axis.

    Heads and their dimensions are outputs of a kernel that has inputs, and inputs of any other kernel. A depthwise kernel
    with a multiplier has several outputs for each input, so its inputs count as outputs here.
    """
    if not word or word == "1":
        return None
    if len(canonical) == 1:
        return 0
    plain = word.rstrip("0123456789")
    # (in, heads, dim) projects into the heads, (heads, dim, out) back from them
    if word in ("heads", "dim"):
        plain = "out" if "in" in words else "in"
    elif word == "mult" or (word == "in" and "mult" in words):
        plain = "out"
    elif word == "group":
        # the groups of a grouped convolution divide its outputs; in a transposed one the first one is that of the inputs
        plain = "out" if canonical is LABELS else canonical[0]
    if plain not in canonical:
        raise ShapeError(f"has an axis {word!r}, which is none of {', '.join(canonical)}")
    return canonical.index(plain)


LABELS = ("vocab", "out", "in", "kd", "kh", "kw", "k")
"""The canonical axes of any weight, in order."""


def label_of(word: str, words: frozenset[str]) -> str:
    """Return the canonical axis (out, in, vocab or a spatial axis) of a word among its weight's `words`; blank for none.

    >>> label_of("heads", frozenset({"in", "heads", "dim"})), label_of("in", frozenset({"kh", "kw", "in", "mult"}))
    ('out', 'out')
    """
    if word == "channel":
        return "out"
    try:
        place = _label(word, words, LABELS)
    except ShapeError:
        return ""
    return "" if place is None else LABELS[place]


def _lengths(
    shape: tuple[int, ...], axes: str, factors: tuple[tuple[Factor, ...], ...], known: Mapping[str, int]
) -> Iterator[list[int]]:
    """Yield the lengths of the factors of each axis; one of them may follow from the others."""
    misfit = ShapeError(f"has shape {shape}, which does not fit the axes {axes!r}")
    if len(factors) != len(shape):
        raise misfit
    for axis, length in zip(factors, shape, strict=True):
        sizes = [_length(factor, known, length if len(axis) == 1 else 0) for factor in axis]
        fixed = prod(size for size in sizes if size)
        free = sizes.count(0)
        if free == 1 and fixed and length % fixed == 0:
            sizes[sizes.index(0)] = length // fixed
        if (free > 1 and length) or prod(sizes) != length:
            raise misfit
        yield sizes


def _length(factor: Factor, known: Mapping[str, int], whole: int) -> int:
    if factor.letters:
        return whole or len(factor.letters)
    return 1 if factor.word == "1" else known.get(factor.word, whole)


def copy_turned(target: Array, source: Array) -> None:
    """Copy between arrays of one shape and different memory orders, in tiles that stay in the cache.

    A plain copy reads one sequentially and the other strided, which takes several times as long.
    """
    import numpy as np

    # near is contiguous in the source, far in the target; a tile of both fits into the cache
    tile, near, far = sizes.TILE, _innermost(source), _innermost(target)
    if near == far or target.size < tile * tile:
        np.copyto(target, source)
        return

    def copy_from(start: int) -> None:
        index = [slice(None)] * target.ndim
        index[near] = slice(start, start + tile)
        for begin in range(0, target.shape[far], tile):
            index[far] = slice(begin, begin + tile)
            np.copyto(target[tuple(index)], source[tuple(index)])

    starts = range(0, target.shape[near], tile)
    if target.size < sizes.TURN_THRESHOLD:
        for start in starts:
            copy_from(start)
        return
    at_once(starts, copy_from)


def _innermost(array: Array) -> int:
    """Return the axis with the smallest stride."""
    steps = [abs(step) if length > 1 else 1 << 62 for step, length in zip(array.strides, array.shape, strict=True)]
    return min(range(len(steps)), key=steps.__getitem__, default=0)
