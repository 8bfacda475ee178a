"""Explain a difference: a cast, another order, a scalar multiple, sparse edits, a low rank, or noise.

A verdict is given only with its evidence. Verdicts on entries (cast, order, multiple, edits) are checked on every entry.
Verdicts on matrices (rank, noise) are tested against the null hypothesis, random matrices of the same size and scale: a low
rank must be unlike these, noise must be indistinguishable from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard import sizes
from steelyard.core.weight import Weight
from steelyard.dtypes import is_floating, itemsize, numpy_dtype
from steelyard.measures.diff.arithmetic import bits
from steelyard.measures.diff.ruled_out import FEW, SPARE, have_other_norms, is_sparse
from steelyard.numerics.blocks import blocks_of, pairs_of
from steelyard.numerics.matrices import chance_range, matrix_shape, one_blas_thread, row_blocks, sample, share_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.measures.diff.entries import Sums

    Holds = Callable[[Array, Array], bool]

LOWER = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float32")
FIRST = 1 << 12
"""Number of entries that are tested first."""
LARGE = 1 << 20
"""In weights with more entries, a reordering is not tested if both sides are nearly equal."""
SIDE = 128
"""Rows and columns of the part of a matrix that is tested before the whole."""
SHARE = 0.99
"""The share of the sum of squares that a low rank must explain."""
DRAWS = 19
"""Number of random matrices of the null; exceeding all of them has a chance of 1 in 20."""


class Verdict:
    """The explanation of a difference: its `kind`, a statement, `what`, and the `evidence` as numbers.

    `figures` is the evidence in words, blank where the statement says it.
    """

    __slots__ = ("evidence", "figures", "kind", "what")

    def __init__(self, kind: str, what: str, figures: str = "", **evidence: Any) -> None:
        self.kind = kind
        self.what = what
        self.figures = figures
        self.evidence = evidence

    def __repr__(self) -> str:
        return self.what

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"kind": self.kind, "what": self.what, "figures": self.figures, "evidence": self.evidence}


def verdict(one: Weight, other: Weight, sums: Sums) -> Verdict | None:
    """Explain the difference of two weights of equal shape; None if there is not enough evidence."""
    if not sums.may_be_explained and (one.size < FEW * FEW or min(matrix_shape(one) or (0,)) < FEW):
        return None  # as of most small weights, which need not be read again
    if not (is_floating(one.dtype) and is_floating(other.dtype)) or one.size < FEW or not sums.changed or sums.nonfinite:
        return None
    if one.size <= FIRST:
        held = sums.sides or (one.read(0, one.size), other.read(0, one.size))
        one, other = _in_memory(one, held[0]), _in_memory(other, held[1])
    with np.errstate(all="ignore"):
        return (
            (_cast(one, other, sums) if sums.may_be_cast else None)
            or _reordered(one, other, sums)
            or (_scaled(one, other, sums) if sums.may_be_scaled else None)
            or _sparse(one, sums)
            or _structured(one, other, sums)
        )


def _in_memory(weight: Weight, numbers: Array) -> Weight:
    """Return a weight whose numbers have been read, since most tests read them again."""
    return weight.replace(read=lambda start, stop: numbers[start:stop])


def _everywhere(one: Weight, other: Weight, holds: Holds) -> bool:
    """Whether a property holds in every block; a few entries are tested first, since most properties fail there."""
    few = min(FIRST, one.size)
    if not holds(one.read(0, few), other.read(0, few)):
        return False
    return few == one.size or all(holds(x, y) for _, x, y in pairs_of(one, other, sizes.DIFF_BLOCK, few))


def _cast(one: Weight, other: Weight, sums: Sums) -> Verdict | None:
    """Test whether one side is the other rounded to a narrower type.

    A side with few distinct numbers, such as the initial ones of a norm's scale, gets no verdict: all numbers near them round
    to them.
    """
    sides = ((one, other, "rounded to"), (other, one, "before is after rounded to"))
    sought = [side for side in sides if _may_be_rounded(side[1])]
    for low in LOWER:
        for source, target, what in sought:
            shorter = itemsize(low) < itemsize(source.dtype)
            if shorter and _everywhere(source, target, _rounding(low)) and _different(target) >= FEW:
                figures = f"this holds for each of {one.size:,} numbers"
                return Verdict("cast", f"{what} {low}", figures, dtype=low, changed=sums.changed, entries=one.size)
    return None


def _may_be_rounded(weight: Weight) -> bool:
    """Whether the last bits of all fractions are zero, among the first entries, as those of narrower types are."""
    spare = SPARE.get(weight.dtype)
    return spare is None or not (bits(weight.read(0, min(FIRST, weight.size))) & spare).any()


def _different(weight: Weight) -> int:
    """Return the number of distinct numbers among the first entries."""
    numbers = weight.read(0, min(FIRST, weight.size))
    return len(np.unique(numbers.astype(np.float64)))


def _rounding(low: str) -> Holds:
    dtype = numpy_dtype(low)

    def holds(x: Array, y: Array) -> bool:
        return bool(np.array_equal(x.astype(dtype).astype(np.float64), y.astype(np.float64)))

    return holds


def _reordered(one: Weight, other: Weight, sums: Sums) -> Verdict | None:
    """Test whether both sides have the same numbers in different orders; sums of hashes show it without sorting."""
    # equal numbers have equal norms in any order, and these are known already
    if one.dtype != other.dtype or have_other_norms(sums.one, sums.other):
        return None
    # entries that moved would lower the cosine, and hashing reads both sides again
    if one.size > LARGE and (sums.cosine or 0.0) > 0.999:
        return None
    if _order_free(one) != _order_free(other):
        return None
    figures = 'align="permutation" shows whether hidden units were permuted'
    return Verdict("reordered", "the same numbers in another order", figures, entries=one.size)


def _order_free(weight: Weight) -> int:
    """Return the sum of the hashes (splitmix64 finaliser) of all entries, which does not depend on their order."""
    total = 0
    for _, block in blocks_of(weight, 0, weight.size, sizes.DIFF_BLOCK):
        words = bits(block).astype(np.uint64)
        words += np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            words ^= words >> np.uint64(shift)
            words *= np.uint64(factor)
        words ^= words >> np.uint64(31)
        total += int(np.add.reduce(words))
    return total & (1 << 64) - 1


def _scaled(one: Weight, other: Weight, sums: Sums) -> Verdict | None:
    """Test whether `after` is `before` times a scalar, within the rounding of both types."""
    if abs(sums.cosine or 0.0) < 0.9999:
        return None
    x, y = (weight.read(0, min(4 * FIRST, weight.size)).astype(np.float64) for weight in (one, other))
    # least squares over the first entries: the factor that minimises |y - scale * x|
    scale = float(np.add.reduce(x * y) / np.add.reduce(x * x)) if x.any() else 0.0
    rounding = max(_epsilon(one.dtype), _epsilon(other.dtype))
    # a factor this near to 1 cannot be distinguished from the rounding of a cast
    if np.count_nonzero(x) < FEW or not np.isfinite(scale) or abs(scale - 1) < 8 * rounding:
        return None

    def holds(x: Array, y: Array) -> bool:
        x, y = x.astype(np.float64), y.astype(np.float64)
        return bool((np.abs(y - scale * x) <= 2 * rounding * np.abs(y) + 1e-37).all())

    if not _everywhere(one, other, holds):
        return None
    figures = f"this holds for each of {one.size:,} numbers, within rounding"
    return Verdict("scaled", f"multiplied by {scale:.7g}", figures, factor=scale, entries=one.size)


def _epsilon(dtype: str) -> float:
    if itemsize(dtype) >= 4:
        return float(np.finfo(numpy_dtype(dtype)).eps)
    import ml_dtypes

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).eps)


def _sparse(one: Weight, sums: Sums) -> Verdict | None:
    if not is_sparse(sums.changed, one.size):
        return None
    what = f"{sums.changed:,} of {one.size:,} numbers changed ({sums.changed / one.size:.2%}), the others have the same bits"
    return Verdict("sparse", what, changed=sums.changed, entries=one.size)


def _structured(one: Weight, other: Weight, sums: Sums) -> Verdict | None:
    """Test the difference of two matrices against random matrices."""
    shape = matrix_shape(one)
    if shape is None or min(shape) < FEW:
        return None
    with one_blas_thread():
        x, y = (sample(weight, shape, SIDE) for weight in (one, other))
        d = y - x
        if x.shape != y.shape or not np.isfinite(d).all() or not d.any():
            return None
        return _low_rank(one, other, sums, x, d, shape) or _noise(x, y, d, sums)


def _low_rank(one: Weight, other: Weight, sums: Sums, x: Array, d: Array, shape: tuple[int, int]) -> Verdict | None:
    """Test whether a matrix of low rank was added: first on a part of the matrix, then on the whole."""
    most = min(d.shape) // 4
    if not _may_be_low(d, most):
        return None
    values = np.linalg.svd(d, compute_uv=False)
    rank = _rank(values, most)
    if rank is None or _touched(d) <= rank:
        return None  # a few rows or columns always have a low rank
    # neither random matrices nor the weight itself may be explained as well by as few singular values
    null = max(share_of(_random_values(d.shape, draw), rank) for draw in range(DRAWS))
    itself = share_of(np.linalg.svd(x, compute_uv=False), rank)
    share = share_of(values, rank) if d.size == one.size else _share(one, other, sums, rank, shape)
    if null > 0.9 or itself > 0.9 or share < SHARE:
        return None
    held = f"{rank} singular values hold" if rank > 1 else "1 singular value holds"
    figures = f"{held} {share:.6%} of the difference, at most {null:.0%} of random matrices, and {itself:.0%} of before"
    evidence = {"rank": rank, "share": share, "null": null, "draws": DRAWS, "itself": itself, "part": list(d.shape)}
    return Verdict("low rank", f"changed by a rank-{rank} matrix, as LoRA does", figures, **evidence)


def _touched(d: Array) -> int:
    """Return the number of nonzero rows or of nonzero columns, whichever is smaller."""
    return min(int(d.any(axis=axis).sum()) for axis in (0, 1))


def _may_be_low(d: Array, most: int) -> bool:
    """Whether some low rank can explain nearly all, by a projection, which is much cheaper than singular values."""
    width = min(most + 8, *d.shape)
    # the randomised range finder of Halko, Martinsson and Tropp (2011), with eight columns more than the rank
    basis, _ = np.linalg.qr(d @ np.random.default_rng(0).standard_normal((d.shape[1], width)))
    inside = basis.T @ d
    return float((inside * inside).sum()) >= 0.95 * float((d * d).sum())


def _rank(values: Array, most: int) -> int | None:
    """Return the rank with the largest drop of singular values after it, among those that explain nearly all."""
    held = [rank for rank in range(1, most + 1) if share_of(values, rank) >= SHARE]
    # singular values that are zero up to rounding would make their drops arbitrary
    floor = float(values[0]) * 1e-12
    return max(held, key=lambda rank: values[rank - 1] / max(values[rank], floor), default=None)


def _random_values(shape: tuple[int, ...], draw: int) -> Array:
    values: Array = np.linalg.svd(np.random.default_rng([draw, *shape]).standard_normal(shape), compute_uv=False)
    return values


def _share(one: Weight, other: Weight, sums: Sums, rank: int, shape: tuple[int, int]) -> float:
    """Return the share of the whole difference that a rank explains, by a random projection in two passes over its rows."""
    width = min(rank + 8, *shape)
    chance = np.random.default_rng(0).standard_normal((shape[1], width))
    basis, _ = np.linalg.qr(np.concatenate([d @ chance for _, d in _rows_apart(one, other, shape)]))
    inside = np.zeros((width, shape[1]))
    for first, d in _rows_apart(one, other, shape):
        inside += basis[first : first + len(d)].T @ d
    values = np.linalg.svd(inside, compute_uv=False)
    return min(float((values[:rank] ** 2).sum()) / sums.apart**2, 1.0)


def _rows_apart(one: Weight, other: Weight, shape: tuple[int, int]) -> Iterator[tuple[int, Array]]:
    for (first, x), (_, y) in zip(row_blocks(one, shape), row_blocks(other, shape), strict=True):
        yield first, y - x


def _noise(x: Array, y: Array, d: Array, sums: Sums) -> Verdict | None:
    """Test whether the difference of two related matrices is noise: without structure, and uncorrelated with `before`.

    The null is the Tracy-Widom law of the largest singular value of random matrices, which holds for entries without heavy
    tails.
    """
    related, left = _correlation(x, y), _correlation(x, d)
    # unrelated weights differ by more than noise; a correlation with `before` of four standard errors is structure
    if related < 0.5 or abs(left) > 4 / np.sqrt(d.size) or sums.apart > sums.one:
        return None
    d = d - d.mean()
    squares = d * d
    # a kurtosis above 6 (a normal distribution has 3) means heavy tails, for which the null does not hold
    if float((squares * squares).mean()) > 6 * float(squares.mean()) ** 2:
        return None
    low, high = chance_range(d.shape, float(np.sqrt(squares.sum())))
    largest = float(np.linalg.svd(d, compute_uv=False)[0])
    if not low <= largest <= high:
        return None
    size = sums.apart / sums.one
    figures = (
        f"the largest singular value of the difference is {largest:.4g}, of random matrices {low:.4g} to {high:.4g} (99.8 %)"
    )
    evidence = {"relative": size, "correlation": related, "largest": largest, "null": [low, high], "part": list(d.shape)}
    return Verdict("noise", f"changed by noise of {size:.1%} of its size, without structure", figures, **evidence)


def _correlation(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size else 0.0
