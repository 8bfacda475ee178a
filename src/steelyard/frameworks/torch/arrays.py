"""Tensors of the CPU as arrays, and arrays as tensors, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from steelyard.dtypes import numpy_dtype

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_NATIVE = {
    getattr(torch, word)
    for word in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128")
}
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def numpy_of(tensor: torch.Tensor) -> Array:
    """View a strided CPU tensor as an array; types that NumPy lacks become integers of the same size."""
    if tensor.dtype in _NATIVE:
        array: Array = tensor.numpy()
        return array
    word = str(tensor.dtype).removeprefix("torch.")
    carried: Array = tensor.contiguous().view(_CARRIERS[tensor.element_size()]).numpy()
    return carried.view(numpy_dtype(word))


def tensor_like(array: Array, dtype: torch.dtype) -> torch.Tensor:
    """Make a tensor of an array, bit for bit."""
    import numpy as np

    array = np.require(array, requirements=["C", "W"])
    if dtype in _NATIVE:
        return torch.from_numpy(array)
    carrier = array.reshape(-1).view(f"i{array.itemsize}" if array.itemsize > 1 else "u1")
    return torch.from_numpy(carrier).view(dtype).reshape(array.shape)
