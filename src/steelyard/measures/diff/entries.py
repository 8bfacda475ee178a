"""Compare the numbers of two weights block by block, and many small weights as the rows of a matrix.

Blocks are compared as bytes first, so that equal ones cost no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import hypot, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize
from steelyard.measures.diff.arithmetic import (
    Desk,
    apart,
    changed_entries,
    desk_of,
    equal,
    norm,
    real,
    total_and_norm,
)
from steelyard.measures.diff.ruled_out import FEW
from steelyard.measures.diff.small_couples import TINY, columns_of
from steelyard.numerics.blocks import BlockReader, blocks_of, is_shared, pairs_of, runs
from steelyard.numerics.matrices import as_float64
from steelyard.numerics.small import TOGETHER, is_grouped, read_rows

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Tolerance(NamedTuple):
    """The tolerated difference of `after` from `before`: `absolute` + `relative` * |before|."""

    absolute: float = 0.0
    relative: float = 0.0


class Sums:
    """Sums over some entries of two weights; the sums of two runs of entries can be merged.

    `changed` counts the entries whose bits differ, `over_tolerance` those that differ by more than the tolerance. `max_abs` is
    the largest absolute difference, `place` its offset, and `falls` whether the second side is the smaller one there; `total`
    is the sum of all absolute differences. `apart`, `one` and `other` are the l2 norms of the difference and of both sides.
    All of these exclude entries that are NaN or infinite; `nonfinite` counts those that differ between the sides. `equal`
    lists the runs of equal entries, whose norms were not computed. `cosine` and `relative` are set once all parts are merged.
    `sides` are the numbers of both sides of a small weight that changed, as far as a verdict needs them again. `may_be_cast` and
    `may_be_scaled` are false where such a verdict is ruled out, and `may_be_explained` where every verdict on entries is.
    """

    __slots__ = (
        "apart",
        "changed",
        "cosine",
        "equal",
        "falls",
        "max_abs",
        "may_be_cast",
        "may_be_explained",
        "may_be_scaled",
        "nonfinite",
        "one",
        "other",
        "over_tolerance",
        "place",
        "relative",
        "sides",
        "total",
    )

    def __init__(self) -> None:
        self.changed = self.over_tolerance = self.nonfinite = 0
        self.max_abs = self.total = self.apart = self.one = self.other = 0.0
        self.place = -1
        self.falls = False
        self.cosine: float | None = 1.0
        self.relative: float | None = 0.0
        self.equal: list[tuple[int, int]] = []
        self.sides: tuple[Array, Array] | None = None
        self.may_be_cast = self.may_be_scaled = self.may_be_explained = True

    @classmethod
    def of_row(cls, figures: tuple[Any, ...]) -> Sums:
        """Return sums with the figures of a row of `small_couples.Columns`, of which most are used once."""
        sums = cls.__new__(cls)
        sums.changed, sums.over_tolerance, sums.place, sums.falls, sums.max_abs, sums.total = figures[:6]
        sums.apart, sums.one, sums.other, sums.relative, sums.cosine = figures[6:11]
        sums.may_be_cast, sums.may_be_scaled, sums.may_be_explained = figures[11:]
        sums.nonfinite, sums.equal, sums.sides = 0, [], None
        return sums

    def merge(self, later: Sums) -> None:
        """Merge the sums of later entries."""
        self.changed += later.changed
        self.over_tolerance += later.over_tolerance
        self.nonfinite += later.nonfinite
        self.total += later.total
        if later.max_abs > self.max_abs:
            self.max_abs, self.place, self.falls = later.max_abs, later.place, later.falls
        for slot in ("apart", "one", "other"):
            # the norm of both parts is sqrt(a^2 + b^2); `hypot` does not overflow where the squares would
            setattr(self, slot, hypot(getattr(self, slot), getattr(later, slot)))
        self.equal += later.equal

    def add(self, x: Array, y: Array, start: int, tolerance: Tolerance, desk: Desk) -> None:
        """Add a block of both sides that begins at entry `start`."""
        self.changed += int(np.count_nonzero(changed_entries(x, y, desk.flags[: len(x)])))
        d, one, other = apart(x, y, desk)
        top = float(d.max(initial=0.0))
        if not isfinite(top):
            d, one, other = self._finite(d, one, other)
            top = float(d.max(initial=0.0))
        if top > self.max_abs:
            at = int(d.argmax())
            self.max_abs, self.place, self.falls = top, start + at, _falls(x[at].item(), y[at].item())
        if top > tolerance.absolute:
            limit = tolerance.absolute + tolerance.relative * np.abs(one) if tolerance.relative else tolerance.absolute
            self.over_tolerance += int(np.count_nonzero(d > limit))
        total, length = total_and_norm(d)
        self.total += total
        self.apart = hypot(self.apart, length)
        self.one = hypot(self.one, norm(one))
        self.other = hypot(self.other, norm(other))

    def _finite(self, d: Array, one: Array, other: Array) -> tuple[Array, Array, Array]:
        """Replace entries that are not finite by zeros, and count those that differ."""
        if d.dtype == np.float32:
            one, other = one.astype(np.float64), other.astype(np.float64)
            d = np.abs(other - one)
        bad = ~np.isfinite(d)
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        wrong = int(np.count_nonzero(bad & ~same))
        self.nonfinite += wrong
        self.over_tolerance += wrong
        return np.where(bad, 0.0, d), np.where(bad, 0.0, one), np.where(bad, 0.0, other)


def side_by_side(couples: Sequence[tuple[Weight, Weight]], tolerance: Tolerance) -> Iterator[Sums]:
    """Yield the sums of each couple of weights of equal shape; two threads read large ones from files or memory."""
    for first in range(0, len(couples), TOGETHER):
        some = couples[first : first + TOGETHER]
        small = _of_small(some, tolerance)
        others = (couple for place, couple in enumerate(some) if place not in small)
        jobs = ((*couple, start, stop, tolerance) for couple in others for start, stop in _runs(couple[0]))
        parts = in_turn(jobs, compare, _is_shared)
        for place, couple in enumerate(some):
            yield small[place] if place in small else _settled(*couple, list(islice(parts, len(_runs(couple[0])))))


def _of_small(couples: Sequence[tuple[Weight, Weight]], tolerance: Tolerance) -> dict[int, Sums]:
    """Return the sums of the small couples of one dtype by their places, if there are many; those not readable are left out."""
    alike: dict[object, list[int]] = {}
    for place, (one, other) in enumerate(couples):
        alike.setdefault((one.dtype, other.dtype, one.shape), []).append(place)
    found: dict[int, Sums] = {}
    equal = Sums()
    for places in alike.values():
        one, other = couples[places[0]]
        if one.dtype != other.dtype or not is_grouped(one) or one.size > sizes.DIFF_BLOCK or len(places) < sizes.SMALL_RUN:
            continue
        (before, failed), (after, wrong) = (read_rows([couples[place][side] for place in places]) for side in (0, 1))
        are_equal = (before.view(np.uint8) == after.view(np.uint8)).all(axis=1)
        are_read = np.ones(len(places), bool)
        are_read[[*failed, *wrong]] = False
        found |= dict.fromkeys((places[at] for at in np.flatnonzero(are_read & are_equal).tolist()), equal)
        differing = np.flatnonzero(are_read & ~are_equal)
        named = [(place, couples[place]) for place in map(places.__getitem__, differing.tolist())]
        found |= _of_rows(named, before[differing], after[differing], tolerance)
    return found


def _of_rows(
    named: Sequence[tuple[int, tuple[Weight, Weight]]], before: Array, after: Array, tolerance: Tolerance
) -> Iterator[tuple[int, Sums]]:
    """Yield the place and the sums of each small couple, whose numbers are rows that differ."""
    columns, desk = columns_of(before, after, tolerance), desk_of(sizes.DIFF_BLOCK)
    marks = zip(columns.are_alone.tolist(), columns.are_uneven.tolist(), strict=True)
    are_tested = before.shape[1] >= FEW * FEW
    for at, ((place, couple), figures, (is_alone, is_uneven)) in enumerate(zip(named, columns.rows(), marks, strict=True)):
        sums = Sums() if is_alone else Sums.of_row(figures)
        if are_tested or is_alone or is_uneven or sums.may_be_explained:
            sums.sides = before[at], after[at]
        if is_alone:
            with np.errstate(all="ignore"):
                sums.add(before[at], after[at], 0, tolerance, desk)
            _settled(*couple, [sums])
        elif is_uneven:
            _measure_again(*couple, sums)
        yield place, sums


def _is_shared(one: Weight, other: Weight, *_: object) -> bool:
    """Whether two weights are thread-safe to read, and large enough to be worth a thread."""
    return one.nbytes > sizes.DIFF_THRESHOLD_BYTES and is_shared(one) and is_shared(other)


def _runs(weight: Weight) -> list[tuple[int, int]]:
    """Return the run of each job. Their sums are merged in order, so that results do not depend on threads."""
    return list(runs(0, weight.size, max(sizes.DIFF_RUN_BYTES // itemsize(weight.dtype), 1)))


def _settled(one: Weight, other: Weight, parts: list[Sums]) -> Sums:
    """Merge the sums of all parts; unless all entries are equal, add the norms of the equal runs."""
    whole = parts[0] if len(parts) == 1 else Sums()
    for part in parts[len(parts) == 1 :]:
        whole.merge(part)
    if whole.changed:
        for start, stop in whole.equal:
            # runs of equal bytes were skipped, and one side is read again only if the weight changed somewhere
            own = norm_of(one, start, stop)
            whole.one, whole.other = hypot(whole.one, own), hypot(whole.other, own)
        whole.relative, whole.cosine = _relative(whole), _cosine(whole)
        # the formula of `_cosine` is exact for sides of about equal norm only
        if whole.cosine is not None and not TINY <= whole.other / 2 <= whole.one <= whole.other * 2:
            _measure_again(one, other, whole)
    return whole


def _falls(x: Any, y: Any) -> bool:
    return not isinstance(x, complex) and not isinstance(y, complex) and bool(y < x)


def _relative(sums: Sums) -> float | None:
    """Return the l2 norm of the difference divided by that of the first side; None if the latter is zero, or one overflows."""
    if not isfinite(sums.one) or not isfinite(sums.apart):
        return None
    return sums.apart / sums.one if sums.one else 0.0 if not sums.apart else None


def _cosine(sums: Sums) -> float | None:
    """Return the cosine similarity of sides of about equal norm; None if a norm is zero or overflows.

    1 - cos = (|y - x|^2 - (|y| - |x|)^2) / (2 |x| |y|), from the law of cosines.
    """
    # x.y / (|x| |y|) would lose all digits: if the sides differ by 1e-6, it differs from 1 in the 12th digit only. Hence
    # the small numbers |y - x| and |y| - |x| are computed first; factoring, and dividing each factor, prevents overflow.
    if not _measurable(sums):
        return None
    gap = sums.other - sums.one
    below = ((sums.apart - gap) / sums.one) * ((sums.apart + gap) / sums.other) / 2
    return min(max(1.0 - below, -1.0), 1.0)


def _measurable(sums: Sums) -> bool:
    return all(norm and isfinite(norm) for norm in (sums.one, sums.other, max(sums.apart, sums.one)))


def _measure_again(one: Weight, other: Weight, sums: Sums) -> None:
    """Compute the cosine from the dot product, in a second pass over both sides.

    `_cosine` loses its digits if one norm is much larger, since then |y - x| is nearly |y| - |x|, or if the norms are so tiny
    that they are subnormal. Both sides are first scaled to a norm of about one.
    """
    scales = [max(length, TINY) for length in (sums.one, sums.other, sums.apart)]
    squares, product = np.zeros(3), 0.0
    with np.errstate(all="ignore"):
        held = ((x, y) for _, x, y in pairs_of(one, other, sizes.DIFF_BLOCK)) if sums.sides is None else [sums.sides]
        for x, y in (map(as_float64, blocks) for blocks in held):
            good = np.isfinite(y - x)
            sides = [side[good] / scale for side, scale in zip((x, y, y - x), scales, strict=True)]
            squares += [np.add.reduce((side * side.conj()).real) for side in sides]
            product += float(np.add.reduce((sides[0] * sides[1].conj()).real))
        lengths = np.sqrt(squares)
        sums.cosine = min(max(float(product / (lengths[0] * lengths[1])), -1.0), 1.0)
        if min(sums.one, sums.apart or 1.0) < TINY:
            again = float(lengths[2] / lengths[0] * (scales[2] / scales[0]))
            sums.relative = again if isfinite(again) else None


def norm_of(weight: Weight, start: int, stop: int) -> float:
    """Return the l2 norm of the finite entries [start, stop)."""
    length = 0.0
    with np.errstate(all="ignore"):
        for _, block in blocks_of(weight, start, stop, sizes.DIFF_BLOCK):
            numbers = real(block)
            good = np.isfinite(numbers)
            length = hypot(length, norm(numbers if good.all() else numbers[good]))
    return length


def compare(one: Weight, other: Weight, start: int, stop: int, tolerance: Tolerance) -> Sums:
    """Compare the entries [start, stop) of two weights of one shape."""
    sums, same_type = Sums(), one.dtype == other.dtype
    limit = sizes.DIFF_BLOCK
    desk = desk_of(limit)
    readers = BlockReader(one, limit, desk.one), BlockReader(other, limit, desk.other)
    with np.errstate(all="ignore"):
        for at, end in runs(start, stop, limit):
            x, y = (reader.block(at, end) for reader in readers)
            if same_type and _equal(*readers, x, y):
                sums.equal.append((at, end))
            else:
                sums.add(x, y, at, tolerance, desk)
    return sums


def _equal(one: BlockReader, other: BlockReader, x: Array, y: Array) -> bool:
    """Whether two blocks of one dtype have the same bits; comparing two whole bytearrays is fastest."""
    if one.buffer is not None and other.buffer is not None and len(one.buffer) == x.nbytes:
        return one.buffer == other.buffer
    return equal(x, y)
