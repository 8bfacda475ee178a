"""Methods that add changes of a base: task arithmetic, TIES, DARE and Breadcrumbs.

For each model i the delta is d_i = x_i - base, of which a share p_i is kept (`density`):

    task_arithmetic    all
    ties, dare_ties, breadcrumbs_ties    elect the sign of sum(w_i d_i); only deltas of this sign are added
    ties               the greatest max(1, int(p n)) magnitudes
    dare               random ones, each with probability p
    breadcrumbs        int(p n) magnitudes after the greatest int(gamma n)

The result is base + scale * sum(w_i d_i) / divisor. Sources: Ilharco et al., Editing Models with Task Arithmetic (2023);
Yadav et al., TIES-Merging (2023); Yu et al., Language Models are Super Mario (2024); Davari and Belilovsky, Model Breadcrumbs
(2024). Numbers are those of mergekit in float32, and with `divide` "count" those of PEFT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard.editing.merging.cuts import ALL, NONE, Cut, Wanted, cuts, magnitudes
from steelyard.editing.merging.inputs import deltas_of, once
from steelyard.editing.merging.random_masks import fingerprint, key_of, random_mask
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.editing.merging.inputs import Block, Inputs, Options

    Keep = Callable[[Array, int], Array]
    """Returns which elements of a delta are kept, given the elements from a position on."""
    Kind = type[np.float32 | np.float64]
    Trim = Callable[[Inputs, Options], list[Keep | None]]

_LEAST = 1e-7
"""Sums of magnitudes below this are not rescaled."""


class _Trimmed(NamedTuple):
    """How the delta of a model is trimmed: what is kept, None for all, and the factor that makes up for the rest."""

    keep: Keep | None
    factor: float


def task(inputs: Inputs, options: Options) -> Block:
    """Task arithmetic."""
    return _added(inputs, options, lambda *_: [None] * len(inputs.models), elect=False)


def ties(inputs: Inputs, options: Options) -> Block:
    """TIES: trim by magnitude, elect signs, merge what agrees."""
    return _added(inputs, options, greatest, elect=True)


def dare(inputs: Inputs, options: Options) -> Block:
    """DARE: drop at random, and rescale."""
    return _added(inputs, options, _at_random, elect=False)


def dare_ties(inputs: Inputs, options: Options) -> Block:
    """DARE with the election of signs of TIES."""
    return _added(inputs, options, _at_random, elect=True)


def breadcrumbs(inputs: Inputs, options: Options) -> Block:
    """Model Breadcrumbs: drop the greatest and the smallest."""
    return _added(inputs, options, _between, elect=False)


def breadcrumbs_ties(inputs: Inputs, options: Options) -> Block:
    """Model Breadcrumbs with the election of signs of TIES."""
    return _added(inputs, options, _between, elect=True)


def greatest(inputs: Inputs, options: Options) -> list[Keep | None]:
    """Keep the greatest magnitudes of each weight."""
    counts = [_count(density, inputs.size, least=1) for density in options.density]
    wanted = [Wanted(at, count) for at, count in enumerate(counts)]
    return [_up_to(cut) for cut in cuts(inputs, wanted)]


def within(given: Iterable[Cut]) -> Trim:
    """Keep the magnitudes up to cuts that are known, one for each model, as those of the whole model."""
    known = [_up_to(cut) for cut in given]
    return lambda *_: known


def ties_within(inputs: Inputs, options: Options, given: Iterable[Cut]) -> Block:
    """TIES with cuts that are known."""
    return _added(inputs, options, within(given), elect=True)


def _up_to(cut: Cut) -> Keep | None:
    return None if cut is ALL else lambda delta, start: cut.above(magnitudes(delta), start)


def _count(density: float, size: int, least: int = 0) -> int:
    return size if density >= 1 else 0 if density <= 0 else max(least, int(density * size))


def _between(inputs: Inputs, options: Options) -> list[Keep | None]:
    """Keep the magnitudes that follow the greatest ones, which are taken for outliers."""
    size = inputs.size
    kept = [_count(density, size) for density in options.density]
    dropped = [min(int(options.gamma * size), size - count) for count in kept]
    wanted = [Wanted(at, drop + count) for at, (drop, count) in enumerate(zip(dropped, kept, strict=True))]
    wanted += [Wanted(at, drop) for at, drop in enumerate(dropped)]
    found = cuts(inputs, wanted)
    return [_after(outer, inner) for outer, inner in zip(found[: len(kept)], found[len(kept) :], strict=True)]


def _after(outer: Cut, inner: Cut) -> Keep | None:
    if outer is ALL and inner is NONE:
        return None

    def keep(delta: Array, start: int) -> Array:
        found = magnitudes(delta)
        kept: Array = outer.above(found, start) & ~inner.above(found, start)
        return kept

    return keep


def _at_random(inputs: Inputs, options: Options) -> list[Keep | None]:
    """Keep each element with the probability of its density; see `random_masks`."""
    made: list[Keep | None] = []
    for density, model in zip(options.density, inputs.models, strict=True):
        key = 0 if density >= 1 else key_of(options.seed, fingerprint(model), inputs.name)
        made.append(None if density >= 1 else _by_key(key, max(density, 0.0)))
    return made


def _by_key(key: int, density: float) -> Keep:
    return lambda delta, start: random_mask(key, density, start, start + len(delta))


def _added(inputs: Inputs, options: Options, trim: Trim, *, elect: bool) -> Block:
    """Return the base with what `trim` keeps of the deltas; nothing is read before that is asked for."""

    def make() -> Block:
        keeps = _given(inputs, options) if options.masks else trim(inputs, options)
        trimmed = [_Trimmed(keep, factor) for keep, factor in zip(keeps, _factors(inputs, options, keeps), strict=True)]
        return lambda start, blocks: _merged(blocks, options, trimmed, start, elect=elect)

    return once(make)


def _given(inputs: Inputs, options: Options) -> list[Keep | None]:
    """Return the masks that the caller has; a weight that a model has none for is kept whole."""
    return [_by_mask(masks[inputs.name], inputs) if inputs.name in masks else None for masks in options.masks]


def _by_mask(given: object, inputs: Inputs) -> Keep:
    mask = np.asarray(given)
    if mask.shape != inputs.shape:
        raise ShapeError(f"the mask of {printable(inputs.name)} has shape {list(mask.shape)}, the weight {list(inputs.shape)}")
    flat = mask.reshape(-1) != 0
    return lambda delta, start: flat[start : start + len(delta)]


def _factors(inputs: Inputs, options: Options, keeps: list[Keep | None]) -> list[float]:
    """Return the factors that restore the scale of trimmed deltas: their sum of magnitudes, or 1 / density."""
    if not options.rescale or not any(keeps):
        return [1.0] * len(keeps)
    if options.rescale == "density":
        pairs = zip(options.density, keeps, strict=True)
        return [1 / density if keep is not None and density > 0 else 1.0 for density, keep in pairs]
    before, after = np.zeros(len(keeps)), np.zeros(len(keeps))
    for start, deltas in inputs.blocks():
        for at, (delta, keep) in enumerate(zip(deltas, keeps, strict=True)):
            if keep is not None:
                kept = keep(delta, start)
                before[at] += np.abs(delta).sum(dtype=np.float64)
                after[at] += np.abs(delta[kept]).sum(dtype=np.float64)
    return [b / a if b >= _LEAST and a >= _LEAST else 1.0 for b, a in zip(before.tolist(), after.tolist(), strict=True)]


def _merged(blocks: list[Array], options: Options, trimmed: list[_Trimmed], start: int, *, elect: bool) -> Array:
    """Merge the elements of blocks from position `start` on, the first of them those of the base."""
    base, deltas, kind = blocks[0], deltas_of(blocks), blocks[0].dtype.type
    for delta, (keep, factor) in zip(deltas, trimmed, strict=True):
        if keep is not None:
            np.multiply(delta, keep(delta, start), out=delta)
        if factor != 1:
            np.multiply(delta, kind(factor), out=delta)
    total = _elected(deltas, options, kind) if elect else _summed(deltas, options, kind)
    if options.scale != 1:
        total *= kind(options.scale)
    total += base
    return total


def _weigh(deltas: list[Array], options: Options, kind: Kind) -> None:
    for delta, weight in zip(deltas, options.weights, strict=True):
        if weight != 1:
            np.multiply(delta, kind(weight), out=delta)


def _total(arrays: list[Array]) -> Array:
    """Return the sum, in order, in the memory of the first."""
    for each in arrays[1:]:
        arrays[0] += each
    return arrays[0]


def _summed(deltas: list[Array], options: Options, kind: Kind) -> Array:
    _weigh(deltas, options, kind)
    total = _total(deltas)
    divisor = {"weights": sum(options.weights), "count": len(deltas), False: 1}[options.divide]
    if abs(divisor) >= 1e-8 and divisor != 1:  # as mergekit, which does not divide by a sum of 0
        total /= kind(divisor)
    return total


def _elected(deltas: list[Array], options: Options, kind: Kind) -> Array:
    """Add the deltas that have the sign of their majority.

    The sign of a sum of 0 is positive; zeros never agree. With `divide` "count" deltas are weighed after the election, as
    PEFT does, else before, as mergekit does.
    """
    is_counted = options.divide == "count"
    if not is_counted:
        _weigh(deltas, options, kind)
    votes = deltas if options.majority == "total" else [np.sign(delta) for delta in deltas]
    positive = sum(votes[1:], votes[0]) >= 0
    agree = [np.where(positive, delta > 0, delta < 0) for delta in deltas]
    if is_counted:
        _weigh(deltas, options, kind)
    for delta, mask in zip(deltas, agree, strict=True):
        np.multiply(delta, mask, out=delta)
    total = _total(deltas)
    if options.divide:
        total /= _divisor(agree, (1.0,) * len(agree) if is_counted else options.weights, kind)
    return total


def _divisor(agree: list[Array], shares: tuple[float, ...], kind: Kind) -> Array:
    """Return the sum of the shares of the models that agree; 1 where it is 0."""
    if len(set(shares)) == 1 and shares[0] == 1:
        count = sum(mask.view(np.uint8) for mask in agree)
        return np.maximum(count, 1).astype(kind)
    divisor = _total([mask * kind(share) for mask, share in zip(agree, shares, strict=True)])
    divisor[divisor == 0] = 1
    return divisor
