"""The places in an estimator that hold its numbers: attributes, and items of a list in an attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, issparse

from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from steelyard.core.weight import Array, DType


class AttributeSlot:
    """The attribute, or the place in a list, that holds an array, a number or a sparse matrix.

    Re-resolves the attribute after another `fit`. Keeps a reference to the last array so that its address cannot be reused.
    """

    __slots__ = ("dtype", "live", "model", "name", "seen", "shape")

    def __init__(self, model: BaseEstimator, name: str) -> None:
        self.model = model
        self.name = name
        self.seen = self.value()
        self.live = _in_memory(self.seen)
        self.shape = tuple(np.shape(self.seen))
        self.dtype = _dtype(self.seen)

    def value(self) -> Any:
        """Return what the attribute holds now. Raises `LookupError` if it is gone."""
        holder, key = self.place()
        return holder[key]

    def place(self) -> tuple[Any, str | int]:
        """Return the estimator's dict or the list, and the key in it."""
        attribute, _, place = self.name.partition(".")
        held = vars(self.model)
        return (held[attribute], int(place)) if place else (held, attribute)

    def current(self) -> Any:
        """Return what the attribute holds now. Raises `ShapeError` if its shape, dtype or layout has changed."""
        try:
            now = self.value()
        except LookupError:
            now = None
        if now is self.seen:
            return now
        if _in_memory(now) is not self.live or tuple(np.shape(now)) != self.shape or _dtype(now) != self.dtype:
            raise ShapeError(
                f"{printable(self.name)} has changed its shape or was removed since it was listed; list the model's weights again"
            )
        self.seen = now
        return now

    def check(self) -> None:
        """Raise `ShapeError` if the attribute no longer fits the listed weight."""
        self.current()

    @property
    def link(self) -> None:
        """None: the attribute is looked up at every access."""
        return None

    def address(self) -> int:
        """Return the address of the first element."""
        return self.current().ctypes.data  # type: ignore[no-any-return]

    def array(self) -> Array:
        """Return the memory itself, with one axis."""
        return self.current().reshape(-1)  # type: ignore[no-any-return]

    def rows(self, first: int, last: int) -> Array:
        """Return a range of rows as a dense array in native byte order."""
        now = self.current()
        if issparse(now):  # with one axis, scikit-learn's own `sparsify` makes matrices that cannot be cut
            rows: Array = now[first:last].toarray() if len(self.shape) > 1 else now.toarray()[first:last]
        else:
            rows = np.atleast_1d(now)[first:last]
        return rows.astype(self.dtype.newbyteorder("="), copy=False)

    def put(self, array: Array) -> None:
        """Copy an array into the memory, or replace what is not memory by a value of the same type."""
        now = self.current()
        if isinstance(now, np.ndarray) and now.flags.writeable:
            now[...] = array
            return
        holder, key = self.place()
        if isinstance(now, np.ndarray):
            holder[key] = array.copy()
        elif issparse(now):
            holder[key] = type(now)(csr_array(array))
        else:
            holder[key] = framework_of(now).assign(now, {"": array})


def _dtype(value: Any) -> DType:
    return value.dtype if issparse(value) else np.asarray(value).dtype


def _in_memory(value: object) -> bool:
    """Whether a value is a writable array, contiguous in memory: not a number, a sparse matrix or a strided view."""
    return isinstance(value, np.ndarray) and value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
