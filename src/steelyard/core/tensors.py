"""Weights as tensors of PyTorch, in memory of their own or in that of a live weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.core import plugins
from steelyard.dtypes import ITEMSIZES, numpy_dtype
from steelyard.errors import MissingExtraError, ReadOnlyError, ShapeError, printable, quoted

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from steelyard.core.vector import Order
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights


def tensor_of(weight: Weight, *, copy: bool | None) -> Any:
    """Return a weight as a tensor; see `Weight.to_torch`."""
    if copy not in (True, False, None):
        raise ShapeError(f"copy is {printable(copy)}; it must be True, False or None")
    torch = _torch()
    if copy is True:
        return torch.tensor_of(weight.numpy(), weight.dtype)
    array = weight.read(0, weight.size).reshape(weight.shape)
    if copy is False and not _is_shareable(weight, array):
        raise ReadOnlyError(
            f"{printable(weight.name)} has no memory that a tensor may share and write to; pass copy=None to copy it then"
        )
    return torch.tensor_of(array, weight.dtype, copy=False)


def _is_shareable(weight: Weight, array: Array) -> bool:
    """Whether the array is the memory of a live weight, which may be written to."""
    return hasattr(weight.read, "memory") and bool(array.flags.writeable)


def vector_like(
    weights: Weights, like: str, order: Order, dtype: DTypeLike | None, out: Array | None, *, skip_unreadable: bool
) -> Any:
    """Return the vector as a tensor; `dtype` may be one of PyTorch. Raises `ShapeError` for anything but "torch"."""
    if like != "torch":
        raise ShapeError(f'like is {quoted(like)}; it must be "torch" or None')
    if out is not None:
        raise ShapeError("out is an array, which is filled without like=; take one of the two")
    word = str(dtype).removeprefix("torch.")
    vector = weights.to_vector(order, numpy_dtype(word) if word in ITEMSIZES else dtype, skip_unreadable=skip_unreadable)
    return _torch().tensor_of(vector, vector.dtype.name, copy=False)


def _torch() -> Any:
    try:
        return plugins.load("frameworks", "torch")
    except ImportError:
        raise MissingExtraError("a PyTorch tensor", "torch") from None
