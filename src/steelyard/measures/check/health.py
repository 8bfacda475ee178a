"""The health of a net, as far as its numbers show it: findings with evidence and severity.

An "error" makes outputs wrong or NaN, a "warning" is rare in trained nets, and "info" is common in healthy nets. The
thresholds were chosen so that published healthy nets give no warning; the comment on each threshold gives the value at which
these came closest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.gc_pause import uncollected
from steelyard.core.packing import packed, parts_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import SteelyardError, printable
from steelyard.measures.check.duplicate_units import UnitScan
from steelyard.measures.check.findings import Finding
from steelyard.measures.digest.canonical import net_of
from steelyard.measures.stats.channels import channel_axes
from steelyard.numerics.small import groups_of_small
from steelyard.transfers.layers.layer_weights import with_facts

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.text.rows import Row
    from steelyard.transfers.layers.layer_weights import LayerWeights

KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL)
SCALE = 10_000.0
"""The ratio of a kernel's norm to that at initialization may be this large or its inverse; healthy nets had 0.028 to 1,070."""
DEAD = 0.1
"""A larger share of outputs without any weight is rare; healthy nets had up to 0.029."""
SATURATED = 0.01
"""A larger share of numbers at the limit of a narrow type is rare; one in each row is usual."""
FEW = 16
"""Weights with fewer elements are too small for statistics."""
SHOWN = 3


def health(weights: Weights) -> Iterator[Finding]:
    """Yield the findings for each weight, which is read once; unreadable and non-finite weights are left to `check`.

    Packed weights are skipped: their codes are not the numbers that the net computes with.
    """
    known = judged(weights)
    listed = [known[name] for name in weights.distinct() if name in known]
    healthy = surely_healthy(listed)
    for facts in listed:
        if facts.name not in healthy:
            with suppress(SteelyardError):
                yield from list(unhealthy(facts, scanned(facts)))


def surely_healthy(weights: Sequence[Weight]) -> set[str]:
    """Return the names of the small weights in large groups that surely have no finding, by a coarser look at many at once."""
    healthy: set[str] = set()
    for some, rows in groups_of_small(weights, aspect):
        healthy.update(weight.name for weight, is_sound in zip(some, sound(some[0], rows).tolist(), strict=True) if is_sound)
    return healthy


def aspect(weight: Weight) -> Hashable:
    """Return what weights of one shape and dtype have in common of which the numbers are judged alike."""
    return weight.role, weight.axes, _is_bare(weight)


def sound(weight: Weight, rows: Array) -> Array:
    """Return which rows, each the numbers of a weight like this one, surely have no finding."""
    with np.errstate(all="ignore"):
        numbers = rows.astype(np.float64)
        low, high = numbers.min(axis=1), numbers.max(axis=1)
        good: Array = np.isfinite(low) & np.isfinite(high)
        if weight.role is Role.VARIANCE:
            good &= low > 0
        largest = _largest(weight.dtype)
        if largest is not None:
            good &= (low > -largest) & (high < largest)
        if weight.role in KERNELS and weight.size >= FEW and len(weight.shape) > 1:
            bare = _is_bare(weight)
            out, inputs = ((0,), (1,)) if bare else (channel_axes(weight, "out"), channel_axes(weight, "in"))
            good &= low < high
            if start := _start(weight, out, inputs):
                times = np.sqrt(np.square(numbers).mean(axis=1)) / start
                good &= (times > 2 / SCALE) & (times < SCALE / 2)  # well within, whatever the rounding
        elif weight.role is not Role.EMBEDDING:
            return good
        zeros, apart = _units(weight)
        good &= ~_have_empty_or_equal(numbers.reshape(-1, *weight.shape), zeros, apart)
        return good


def _have_empty_or_equal(stack: Array, zeros: tuple[int, ...], apart: int | None) -> Array:
    """Return which arrays of a stack have a slice of zeros along some axes, or perhaps two equal ones along another."""
    found = np.zeros(len(stack), bool)
    for axis in zeros:
        others = tuple(each + 1 for each in range(stack.ndim - 1) if each != axis)
        found |= ~(stack != 0).any(others).all(axis=1)
    if apart is not None:
        bits = np.moveaxis(stack + 0.0, apart + 1, 1).reshape(len(stack), stack.shape[apart + 1], -1).view(np.uint64)
        odd = np.arange(1, 2 * bits.shape[2], 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        hashes = np.sort(((bits ^ (bits >> np.uint64(29))) * odd).sum(axis=2, dtype=np.uint64), axis=1)
        found |= (hashes[:, 1:] == hashes[:, :-1]).any(axis=1)
    return found


def has_health(weight: Weight) -> bool:
    """Whether a weight's health is checked; strings and counters are skipped."""
    return weight.dtype != "object" and not (weight.role is Role.COUNT and weight.dtype.startswith(("int", "uint")))


def judged(weights: Weights, rows: Sequence[Row] | None = None) -> dict[str, Weight]:
    """Return by name the weights whose health is checked, with the axes and roles that their layers imply.

    Packed weights are left out: their codes are not the numbers that the net computes with. `rows` are the folded rows of the
    weights, where a view has them: repeated blocks are then looked at once.
    """
    with uncollected():
        known = _known_of_rows(weights, rows) if rows and weights.graph is None else known_facts(weights)
    codes = parts_of(packed(weights))
    return {name: facts for name, own in weights.items() if name not in codes and has_health(facts := known.get(name, own))}


def _known_of_rows(weights: Weights, rows: Sequence[Row]) -> dict[str, Weight]:
    """Return what the layers of the first of each repeated block imply for those of all."""
    known = known_facts(weights.with_weights(row.weight for row in rows))
    made: dict[str, Weight] = {}
    for row in rows:
        facts = known.get(row.weight.name, row.weight)
        if facts is not row.weight:
            made |= {each.name: with_facts(each, facts.role, facts.axes) for each in row.weights}
    return made


def known_facts(weights: Weights) -> dict[str, Weight]:
    """Return the weights with the axes and roles that their layers imply."""
    known: dict[str, Weight] = {}
    listed = dict(weights.items())
    for unit in net_of(weights).layers:
        is_sure = unit.is_sure
        for part in unit.parts.values():
            weight = part.weight
            own = listed.get(weight.name, weight)
            role = Role.EMBEDDING if unit.kind == "embedding" and is_sure else weight.role
            axes = weight.axes if is_sure and not _is_assumed(unit, own) else own.axes
            known[weight.name] = with_facts(weight, own.role if role is Role.OTHER else role, axes)
    return known


def _is_assumed(unit: LayerWeights, weight: Weight) -> bool:
    """Whether a list of names and shapes leaves open which axis of a matrix is that of the outputs."""
    return unit.graph_layer is None and unit.kind == "dense" and not weight.axes and weight.name.endswith("weight")


def scanned(weight: Weight, also: Callable[[Array, int], None] | None = None) -> UnitScan:
    """Read a weight once, and analyse the axes that are relevant to its health; `also` gets each block."""
    return UnitScan(weight, *_units(weight), also)


def _units(weight: Weight) -> tuple[tuple[int, ...], int | None]:
    """Return the axes along which slices of zeros are of interest, and the one along which equal slices are."""
    out, inputs, vocab = (channel_axes(weight, word) for word in ("out", "in", "vocab"))
    if len(weight.shape) < 2 or weight.role not in (*KERNELS, Role.EMBEDDING):
        return (), None
    if _is_bare(weight):
        out, inputs = (0,), (1,)
    rows = vocab or out
    apart = rows[0] if len(rows) == 1 and not _is_complex(weight) else None  # hashes need numbers of at most 64 bits
    return tuple({*out, *inputs, *vocab}), apart


def unhealthy(weight: Weight, scan: UnitScan) -> Iterator[Finding]:
    """Yield the findings of the pass over a weight."""
    out, inputs = channel_axes(weight, "out"), channel_axes(weight, "in")
    if weight.role is Role.VARIANCE:
        yield from _variance(weight, scan)
    yield from _saturated(weight, scan)
    if scan.summary.moments.minimum is None:  # no number is finite, which `check` says
        return
    if weight.role in KERNELS and weight.size >= FEW and len(weight.shape) > 1:
        if _is_bare(weight):
            out, inputs = (0,), (1,)
        constant = list(_constant(weight, scan))
        yield from constant
        if not constant:
            yield from _scaled(weight, scan, out, inputs)
            words = _words(weight)
            yield from _dead(weight, scan, out, words[0])
            yield from _dead(weight, scan, inputs, words[1])
            yield from _same(weight, scan, words[0])
    elif weight.role is Role.EMBEDDING and scan.hashed_axis is not None:
        yield from _unused(weight, scan, scan.hashed_axis)


def _is_bare(weight: Weight) -> bool:
    """Whether a weight is a kernel whose axis of outputs, one of its first two, is not known."""
    ndim = len(weight.shape)
    return not weight.axes and weight.role in KERNELS and (ndim == 2 or (ndim > 2 and weight.name.endswith("weight")))


def _variance(weight: Weight, scan: UnitScan) -> Iterator[Finding]:
    """A running variance is a mean of squares by whose root outputs are divided, so it must be positive."""
    moments = scan.summary.moments
    if moments.minimum is not None and moments.minimum < 0:
        what = f"is a running variance with negative numbers, the least {moments.minimum:.4g}"
        yield _finding("negative variance", "error", weight, what, least=moments.minimum)
    elif moments.zeros:
        what = f"is a running variance that is zero for {moments.zeros:,} of {moments.count:,} channels, which never varied"
        yield _finding("zero variance", "warning", weight, what, zeros=moments.zeros, of=moments.count)


def _saturated(weight: Weight, scan: UnitScan) -> Iterator[Finding]:
    """Numbers outside a narrow type's range are clipped to its limits; quantised kernels reach the limit once in each row."""
    largest = _largest(weight.dtype)
    if largest is None or weight.size < FEW:
        return
    values, counts = scan.summary.histogram.points()
    at_end = int(counts[abs(values) >= largest].sum())
    share = at_end / weight.size
    # the scale of a quantised row is its largest number, so one number of each row is at the limit
    if at_end and share > (0.0 if weight.dtype == "float16" else SATURATED + len(scan.hashes) / weight.size):
        what = f"is at the limit of {weight.dtype} in {at_end:,} of {weight.size:,} numbers, as if they had been clipped"
        yield _finding("saturated", "warning", weight, what, numbers=at_end, of=weight.size, limit=largest)


def _largest(dtype: str) -> float | None:
    """Return the largest number of a one-byte type, or of float16; None for other types."""
    if dtype == "int8":
        return 127.0
    if not dtype.startswith(("float8", "float16")) or dtype == "float8_e8m0fnu":
        return None
    from steelyard.dtypes import numpy_dtype

    if dtype == "float16":
        return 65504.0
    import ml_dtypes

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).max)


def _constant(weight: Weight, scan: UnitScan) -> Iterator[Finding]:
    moments = scan.summary.moments
    if moments.count and moments.minimum == moments.maximum and not (_is_complex(weight) and moments.maximum):
        what = f"holds the same number {weight.size:,} times, {moments.minimum:.4g}, so that all units learn the same"
        yield _finding("constant", "warning", weight, what, value=moments.minimum)


def _is_complex(weight: Weight) -> bool:
    """Whether the statistics are of magnitudes, which may be equal although the numbers are not."""
    return weight.dtype.startswith("complex")


def _scaled(weight: Weight, scan: UnitScan, out: tuple[int, ...], inputs: tuple[int, ...]) -> Iterator[Finding]:
    """Compare the root mean square with that of Glorot initialization, sqrt(2 / (fan-in + fan-out)) (Glorot and Bengio, 2010)."""
    rms, start = scan.summary.moments.rms, _start(weight, out, inputs)
    if not rms or start is None:
        return
    times = rms / start
    if not 1 / SCALE < times < SCALE:
        kind, side = ("exploded", "large") if times > 1 else ("vanished", "small")
        what = f"is {side}: its root mean square {rms:.4g} is {times:.3g} times the {start:.4g} that is usual at initialization"
        yield _finding(kind, "warning", weight, what, rms=rms, start=start, times=times)


def _start(weight: Weight, out: tuple[int, ...], inputs: tuple[int, ...]) -> float | None:
    """Return the root mean square of a kernel at initialization; None if its fans are not known."""
    if not (len(weight.shape) == 2 or (out and inputs)):
        return None
    ends = [prod(weight.shape[axis] for axis in axes) for axes in (out, inputs)] if out and inputs else list(weight.shape)
    return sqrt(2 / (sum(ends) * weight.size / prod(ends)))


_EMPTY = {
    "outputs": "dead outputs",
    "inputs": "unused inputs",
    "rows": "zero rows",
    "columns": "zero columns",
    "slices": "zero slices",
}


def _words(weight: Weight) -> tuple[str, str]:
    """Return what the first two axes of a kernel index, or its outputs and inputs if these are known."""
    if not _is_bare(weight):
        return "outputs", "inputs"
    return ("rows", "columns") if len(weight.shape) == 2 else ("slices", "slices")


def _dead(weight: Weight, scan: UnitScan, axes: tuple[int, ...], word: str) -> Iterator[Finding]:
    """Outputs that no input reaches are constant; inputs that reach no output are ignored by the net.

    Many dead outputs are a warning; rows and columns may be either.
    """
    for axis in axes:
        places = scan.zero[axis].nonzero()[0].tolist()
        length = weight.shape[axis]
        if places and length > 1:
            rare = len(places) / length > DEAD
            along = f" along axis {axis}" if word == "slices" else ""
            what = f"has only zeros for {len(places):,} of {length:,} {word}{along} ({_some(places)})"
            severity = "warning" if rare and word == "outputs" else "info"
            yield _finding(_EMPTY[word], severity, weight, what, places=places, of=length, axis=axis)


def _same(weight: Weight, scan: UnitScan, word: str) -> Iterator[Finding]:
    """Outputs with equal weights compute the same; short rows of narrow types may be equal by chance."""
    groups = scan.same()
    if not groups or scan.hashed_axis is None:
        return
    from steelyard.dtypes import itemsize

    length = weight.shape[scan.hashed_axis]
    # rows of fewer than 32 bytes, or of one-byte numbers, have few enough values to coincide
    by_chance = weight.size // length * itemsize(weight.dtype) < 32 or itemsize(weight.dtype) < 2
    count = sum(len(group) - 1 for group in groups)
    pair = f"{groups[0][0]} and {groups[0][1]}"
    what = f"has {count:,} of {length:,} {word} with the weights of another {word[:-1]}, for example {pair}"
    severity = "warning" if word == "outputs" and not by_chance else "info"
    yield _finding(f"same {word}", severity, weight, what, groups=groups, of=length)


def _unused(weight: Weight, scan: UnitScan, axis: int) -> Iterator[Finding]:
    """Report words of zeros, apart from a single one, which may be padding, and words with equal numbers."""
    zero, length = scan.zero[axis].nonzero()[0].tolist(), weight.shape[axis]
    # a single row of zeros is that of padding (padding_idx, mask_zero)
    if len(zero) > 1:
        what = f"has only zeros for {len(zero):,} of {length:,} words ({_some(zero)})"
        yield _finding("unused embeddings", "warning" if len(zero) > length / 2 else "info", weight, what, places=zero, of=length)
    same = scan.same()
    count = sum(len(group) - 1 for group in same)
    if count:
        what = f"has {count:,} of {length:,} words with the numbers of another word, for example {same[0][0]} and {same[0][1]}"
        yield _finding("same embeddings", "warning" if count > length / 2 else "info", weight, what, groups=same, of=length)


def _some(places: Sequence[int]) -> str:
    more = ", ..." if len(places) > SHOWN else ""
    return f"{', '.join(map(str, places[:SHOWN]))}{more}"


def _finding(kind: str, severity: str, weight: Weight, what: str, **evidence: Any) -> Finding:
    return Finding(kind, weight.name, f"{printable(weight.name) or 'the tensor'} {what}", severity=severity, evidence=evidence)
