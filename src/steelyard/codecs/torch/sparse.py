"""Sparse tensors of PyTorch and sparse matrices of SciPy, written out when they are read."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.arrays import PickledTensor, is_shape, refused
from steelyard.codecs.pickle.values import Record, is_args, shape_of
from steelyard.core.readers import by_rows
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Decode
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source


def dense(source: Source, decode: Decode, layout: Pickled, data: Pickled) -> PickledTensor:
    """Return a COO, CSR, CSC, BSR or BSC tensor as a dense one; `encoding` is its layout. `decode` decodes its components."""
    named = layout.args[0] if isinstance(layout, Record) and is_args(layout.args) else layout
    kind = str(named).removeprefix("torch.")
    count = {"sparse_coo": 2, "sparse_csr": 3, "sparse_csc": 3, "sparse_bsr": 3, "sparse_bsc": 3}.get(kind, 0)
    if not count:
        return refused(source, f"is of layout {printable(kind, 40)}, which is not read")
    components, shape = (data[:count], shape_of(data[count])) if is_args(data, count + 1) else ((), None)
    parts = [decode(component) for component in components]
    if not is_shape(shape) or any(part is None for part in parts):
        return refused(source, f"a sparse tensor of shape {printable(shape, 80)} lacks its indices or values")
    return densified(source, kind, [part for part in parts if part is not None], shape)


def densified(source: Source, kind: str, parts: list[PickledTensor], shape: Pickled) -> PickledTensor:
    """Return the dense array of a sparse one's components, the values last; `encoding` is its layout."""
    if not is_shape(shape):
        return refused(source, f"a sparse array has an invalid shape: {printable(shape, 80)}")
    values = parts[-1]
    size = prod(i for i in shape if i) * itemsize(values.dtype)
    held = sum(prod(part.shape) * itemsize(part.dtype) for part in parts)
    if limits.is_bomb(size, held):
        what = (
            f"a sparse tensor of shape {list(shape)} holds {held:,} bytes and would take {size:,}; refused, see steelyard.limits"
        )
        return refused(source, what, shape, values.dtype, kind)
    Budget(source).spend_read(size)
    name = source.name

    def rows(first: int, last: int) -> Array:
        coordinates, numbers = _coordinates(name, kind, parts, shape)
        return _written(name, coordinates, numbers, shape)[first:last]

    return PickledTensor(shape, values.dtype, by_rows(shape, rows), encoding=kind)


def _array(part: PickledTensor) -> Array:
    return part.read(0, prod(part.shape)).reshape(part.shape)


def _coordinates(name: str, kind: str, parts: list[PickledTensor], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the coordinates of the values, one row for each axis, and the values."""
    import numpy as np

    arrays = [_array(part) for part in parts]
    if kind == "sparse_coo":
        return arrays[0], arrays[1]
    ends, inner, values = arrays
    if ends.ndim != 1 or inner.ndim != 1 or len(shape) < 2 or len(values) != len(inner):
        raise FormatError(name, f"a {kind} tensor of {ends.ndim} axes of ends is not read")
    counts = np.diff(ends)
    if (counts < 0).any() or ends[0] != 0 or ends[-1] != len(inner):
        raise FormatError(name, f"the ends of a {kind} tensor do not count its values")
    outer = np.repeat(np.arange(len(counts)), counts)
    places = np.stack([outer, inner] if kind in ("sparse_csr", "sparse_bsr") else [inner, outer])
    if kind in ("sparse_csr", "sparse_csc"):
        return places, values
    if values.ndim != 3:
        raise FormatError(name, f"the blocks of a {kind} tensor are not matrices")
    _, height, width = values.shape
    down, across = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    row = (places[0][:, None, None] * height + down).reshape(-1)
    column = (places[1][:, None, None] * width + across).reshape(-1)
    return np.stack([row, column]), values.reshape(-1)


def _written(name: str, places: Array, values: Array, shape: tuple[int, ...]) -> Array:
    import numpy as np

    axes = places.shape[0] if places.ndim == 2 else -1
    lengths = np.array(shape[:axes]).reshape(-1, 1)
    if not 0 <= axes <= len(shape) or places.shape[1] != len(values) or values.shape[1:] != shape[axes:]:
        raise FormatError(name, f"coordinates {places.shape} and values {values.shape} do not fit shape {list(shape)}")
    if places.size and ((places < 0).any() or (places >= lengths).any()):
        raise FormatError(name, f"a coordinate of a sparse tensor is outside its shape {list(shape)}")
    whole = np.zeros(shape, values.dtype)
    np.add.at(whole, tuple(places), values)  # duplicate coordinates are summed, as torch does
    return whole
