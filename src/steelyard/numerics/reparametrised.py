"""Weights that a net makes of others before it multiplies: masked, weight-normalised and spectrally normalised ones."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.numerics.along_axis import boxes, spread, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.numerics.along_axis import View
    from steelyard.numerics.packed import Operation


def masked(stored: Reader, mask: Reader) -> Reader:
    """Return a reader of the products of numbers and a mask of 0 and 1, in the type of the numbers."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        numbers = stored(start, stop)
        kept: Array = mask(start, stop).astype(numbers.dtype)
        with np.errstate(invalid="ignore"):  # an infinite number that is pruned is not a number, as in PyTorch
            return numbers * kept

    return read


def fits(length: tuple[int, ...], direction: tuple[int, ...]) -> bool:
    """Whether lengths of this shape are those of weight norm for directions of that shape: one number, or one axis.

    >>> fits((4, 1), (4, 5)), fits((), (4, 5)), fits((1, 1), (4, 5)), fits((5, 1), (4, 5))
    (True, True, True, False)
    """
    along = [axis for axis, size in enumerate(length) if size != 1]
    return (
        len(length) in (0, len(direction))
        and bool(direction)
        and len(along) < 2
        and all(length[axis] == direction[axis] for axis in along)
    )


def weight_normed(length: Weight, direction: Weight, *, keep: bool) -> Reader:
    """Return a reader of `direction * length / |direction|`, computed in float64 and rounded to the type of the direction.

    The norm is over all axes but that along which the lengths are (Salimans and Kingma 2016, equation 2). Norms over several
    rows need a pass over the whole direction, whose result is kept if `keep` is True. The shapes fit (`fits`).
    """
    axis = next((axis for axis, size in enumerate(length.shape) if size != 1), None)
    whole = view(direction.shape, axis)
    norms = _kept(lambda: _norms(direction.read, whole, 0, whole.length), keep=keep)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        block = direction.read(start, stop)
        if stop <= start:
            return block
        first, last = (start // whole.inside, -(-stop // whole.inside)) if whole.before == 1 else (0, whole.length)
        norm = norms() if whole.before > 1 or axis is None else _norms(direction.read, whole, first, last)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = length.read(first, last).astype(np.float64) / norm
            return _scaled(np.multiply, block, spread(ratio, whole, start, stop, first))

    return read


def _scaled(operation: Operation, block: Array, factors: Array) -> Array:
    """Return numbers changed by factors in float64, in the type of the numbers."""
    import numpy as np

    result: Array = operation(block, factors, out=np.empty(block.shape, block.dtype), dtype=np.float64, casting="unsafe")
    return result


def _norms(read: Reader, whole: View, first: int, last: int) -> Array:
    """Return the norms at the places [first, last) of the axis."""
    import numpy as np

    sums = np.zeros(last - first)
    for box in boxes(whole, first, last):
        block = read(box.start, box.start + prod(box.shape)).astype(np.float64).reshape(box.shape)
        sums[box.along[0] - first : box.along[1] - first] += np.einsum("bkn,bkn->k", block, block)
    return np.sqrt(sums)


def spectral_axes(shape: tuple[int, ...], left: int, right: int) -> list[int]:
    """Return the axes that spectral norm may have put first, by the lengths of its two vectors.

    >>> spectral_axes((4, 3, 2), 3, 8), spectral_axes((4, 4), 4, 4)
    ([1], [0, 1])
    """
    return [axis for axis, size in enumerate(shape) if size == left and left * right == prod(shape)]


def spectrally_normed(stored: Weight, left: Weight, right: Weight, axis: int, *, keep: bool) -> Reader:
    """Return a reader of `stored / (left . M right)`, where M is the matrix with this axis first (Miyato et al. 2018).

    The two vectors are as they are stored, without another iteration. The quotient is computed in float64 and rounded to the
    type of the numbers. It needs a pass over all of them, whose result is kept if `keep` is True.
    """
    sigma = _kept(lambda: bilinear(stored, left, right, axis), keep=keep)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        block = stored.read(start, stop)
        if stop <= start:
            return block
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return _scaled(np.divide, block, sigma())

    return read


def bilinear(stored: Weight, left: Weight, right: Weight, axis: int) -> Array:
    """Return `left . M right`, where M is the stored weight as a matrix with this axis first."""
    import numpy as np

    whole = view(stored.shape, axis)
    rows, columns = (vector.read(0, vector.size).astype(np.float64) for vector in (left, right))
    columns = columns.reshape(whole.before, whole.inside)
    total = np.zeros(())
    for box in boxes(whole, 0, whole.length):
        block = stored.read(box.start, box.start + prod(box.shape)).astype(np.float64).reshape(box.shape)
        part = columns[slice(*box.before), slice(*box.inside)]
        total += (np.matmul(block, part[..., None])[..., 0] @ rows[slice(*box.along)]).sum()
    return total


def alignment(stored: Weight, left: Weight, right: Weight, axis: int) -> float:
    """Return the cosine between `right` and `M^T left`, where M is the matrix with this axis first.

    A power iteration ends with `right` in this direction, so that the cosine is nearly 1 for the right axis.
    """
    import numpy as np

    whole = view(stored.shape, axis)
    rows, columns = (vector.read(0, vector.size).astype(np.float64) for vector in (left, right))
    pulled = np.zeros((whole.before, whole.inside))
    for box in boxes(whole, 0, whole.length):
        block = stored.read(box.start, box.start + prod(box.shape)).astype(np.float64).reshape(box.shape)
        pulled[slice(*box.before), slice(*box.inside)] += rows[slice(*box.along)] @ block
    size = np.linalg.norm(pulled) * np.linalg.norm(columns)
    return float(pulled.reshape(-1) @ columns / size) if size > 0 and np.isfinite(size) else 0.0


def _kept(make: Callable[[], Array], *, keep: bool) -> Callable[[], Array]:
    """Return a function that makes a result, and keeps it if that is allowed."""
    held: list[Array] = []

    def get() -> Array:
        if held:
            return held[0]
        made = make()
        if keep:
            held.append(made)
        return made

    return get
