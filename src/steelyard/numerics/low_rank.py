"""The changes that adapters of low rank add to a weight: LoRA, LoHa and LoKr, with their Tucker forms.

LoRA    B A                                          Hu et al. 2021, arXiv:2106.09685
LoHa    (a1 b1) * (a2 b2), number by number          Hyeon-Woo et al. 2021, arXiv:2108.06098
LoKr    the Kronecker product of w1 and w2, each of which may be a product a b    Yeh et al. 2023, arXiv:2309.14859
Tucker  a core over the places of a kernel, and a factor for each of its first two axes
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import ShapeError
from steelyard.numerics.row_changes import elementwise, kept, kronecker, numbers, product, tucker

if TYPE_CHECKING:
    from steelyard.core.merging import Rows
    from steelyard.core.weight import Array, Weight
    from steelyard.numerics.row_changes import Numbers

    Parts = Mapping[str, Weight]


class Delta(NamedTuple):
    """What is added, before its scale: its rows, how many and how long they are, and its rank where it has one."""

    rows: Rows
    height: int
    width: int
    rank: int | None


def fitting(delta: Delta, shape: tuple[int, ...]) -> Rows:
    """Return the rows of a delta; raises `ShapeError` if they are not those of a weight of this shape."""
    if not shape or (delta.height, delta.width) != (shape[0], prod(shape[1:])):
        raise ShapeError(f"its parts make {delta.height} rows of {delta.width} numbers, and the weight has shape {list(shape)}")
    return delta.rows


def lora(down: Weight, up: Weight, *, transposed: bool = False) -> Delta:
    """Return the product of `up`, of shape (rows, rank), and `down`, (rank, columns); further axes of `down` are flattened."""
    rank = _rank(down, "the first factor")
    if len(up.shape) < 2 or up.size != up.shape[0] * rank:
        raise ShapeError(f"its factors have shapes {list(down.shape)} and {list(up.shape)}, which are not of one rank")
    a, b = (rank, down.size // rank), (up.shape[0], rank)
    if transposed:
        return Delta(product(numbers(down, a, transposed=True), numbers(up, b, transposed=True)), a[1], b[0], rank)
    return Delta(product(numbers(up, b), numbers(down, a)), b[0], a[1], rank)


def lora_tucker(down: Weight, middle: Weight, up: Weight) -> Delta:
    """Return the Tucker form of LoRA, whose factors have kernels of size 1, and `middle` the kernel of the layer."""
    rank, inner = _rank(down, "the first factor"), up.shape[1] if len(up.shape) > 1 else 0
    if middle.shape[:2] != (inner, rank) or up.size != up.shape[0] * inner or not inner:
        raise ShapeError(f"its parts have shapes {list(down.shape)}, {list(middle.shape)} and {list(up.shape)}, which do not fit")
    left, right = numbers(up, (up.shape[0], inner), transposed=True), numbers(down, (rank, down.size // rank))
    width = down.size // rank * prod(middle.shape[2:])
    return Delta(tucker(numbers(middle), left, right), up.shape[0], width, rank)


def loha(parts: Parts) -> Delta:
    """Return the change of LoHa."""
    one, other = (_half(parts, f"hada_w{place}", f"hada_t{place}") for place in (1, 2))
    if one[1:3] != other[1:3]:
        raise ShapeError("the two products of its factors have different shapes")
    return Delta(elementwise(one.rows, other.rows), one.height, one.width, one.rank)


def _half(parts: Parts, stem: str, core: str) -> Delta:
    a, b = _needed(parts, f"{stem}_a"), _needed(parts, f"{stem}_b")
    if core in parts:
        return _tucker(parts[core], a, b)
    return lora(b, a)


def _tucker(core: Weight, a: Weight, b: Weight) -> Delta:
    """Return a Tucker product: core (i, j, ...), a (i, rows), b (j, columns)."""
    fits = len(core.shape) > 2 and len(a.shape) == len(b.shape) == 2 and core.shape[:2] == (a.shape[0], b.shape[0])
    if not fits:
        raise ShapeError(f"its parts have shapes {list(core.shape)}, {list(a.shape)} and {list(b.shape)}, which do not fit")
    width = b.shape[1] * prod(core.shape[2:])
    return Delta(tucker(numbers(core), numbers(a), numbers(b)), a.shape[1], width, b.shape[0])


def lokr(parts: Parts) -> Delta:
    """Return the change of LoKr; its rank is None where neither factor is a product."""
    one, rank = _kronecker_factor(parts, "lokr_w1", "")
    other, inner = _kronecker_factor(parts, "lokr_w2", "lokr_t2")
    (height, width), (rows, columns) = one[1], other[1]
    return Delta(kronecker(one[0], other[0]), height * rows, width * columns, inner or rank)


def _kronecker_factor(parts: Parts, stem: str, core: str) -> tuple[tuple[Numbers, tuple[int, int]], int | None]:
    """Return what makes a factor as a matrix, its shape, and its rank where it is a product."""
    if stem in parts:
        whole = parts[stem]
        if len(whole.shape) < 2 or not whole.size:
            raise ShapeError(f"its {stem} has shape {list(whole.shape)}")
        shape = whole.shape[0], whole.size // whole.shape[0]
        return (numbers(whole, shape), shape), None
    delta = _half(parts, stem, core)

    def made() -> Array:
        return delta.rows(0, delta.height, slice(None))

    return (kept(made), (delta.height, delta.width)), delta.rank


def _needed(parts: Parts, word: str) -> Weight:
    if word not in parts:
        raise ShapeError(f"it has no {word}")
    return parts[word]


def _rank(down: Weight, what: str) -> int:
    if len(down.shape) < 2 or not down.size:
        raise ShapeError(f"{what} has shape {list(down.shape)}, which is not a matrix")
    return down.shape[0]
