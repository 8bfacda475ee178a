"""Real numbers of integers that are stored with scales and zero points: (stored - zero) * scale, by channels or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.core.readers import by_rows
from steelyard.numerics.packed import rows as rows_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.numerics.row_changes import Numbers


def affine(stored: Weight, scales: Numbers, zeros: Numbers | None, groups: Sequence[int], *, divides: bool = False) -> Reader:
    """Return a reader of real numbers in float32, each computed in float64 and rounded once.

    `scales` and `zeros` have an axis for each of the weight; `groups` has how many numbers along each axis share a scale.
    With `divides` the scale is a divisor.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> weight = from_array("w", np.array([[1, 2, 3], [4, 5, 6]], np.int8))
    >>> read = affine(weight, lambda: np.array([[1.0, 10.0]]), lambda: np.array([[1.0, 0.0]]), (2, 2))
    >>> read(0, 6).tolist()
    [0.0, 1.0, 30.0, 3.0, 4.0, 60.0]
    """
    shape = stored.shape or (1,)
    flat = stored.replace(shape=shape)

    def rows(first: int, last: int) -> Array:
        import numpy as np

        values = rows_of(flat, first, last).astype(np.float64)
        with np.errstate(all="ignore"):  # a damaged file may have any scale
            if zeros is not None:
                values -= _part(zeros(), shape, groups, first, last)
            scale = _part(scales(), shape, groups, first, last)
            result: Array = (values / scale if divides else values * scale).astype(np.float32)
        return result

    return by_rows(shape, rows)


def _part(values: Array, shape: Sequence[int], groups: Sequence[int], first: int, last: int) -> Array:
    """Return the values for the rows [first, last), repeated along the axes where several numbers share one."""
    import numpy as np

    made = values[np.arange(first, last) // groups[0]] if values.shape[0] > 1 else values
    for axis in range(1, len(shape)):
        if values.shape[axis] > 1 and groups[axis] > 1:
            made = np.repeat(made, groups[axis], axis)[(slice(None),) * axis + (slice(shape[axis]),)]
    return made
