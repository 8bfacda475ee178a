"""Quantised tensors of PyTorch: stored integers, and the scales and zero points that make real numbers of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.arrays import plain_number
from steelyard.codecs.pickle.values import Global, is_args
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.torch.tensors import TensorDecoder


def quantised(
    decoder: TensorDecoder, storage: Pickled, offset: Pickled, shape: Pickled, stride: Pickled, parameters: Pickled, *_: Pickled
) -> PickledTensor:
    """Decode the stored integers; the scale and zero point of the tensor, or of each of its channels, are its companions."""
    tensor = decoder.strided(storage, offset, shape, stride)
    method, scale, zero, *axis = parameters if is_args(parameters, 3) else (None, None, None)
    if not isinstance(method, Global):
        raise TypeError("the scheme of the quantisation is not named")
    if method.name == "per_tensor_affine":
        if type(scale) not in (int, float) or type(zero) is not int:
            raise ValueError("a scale or a zero point is not a number")
        tensor.companions = ("scale", plain_number(scale, "float64")), ("zero_point", plain_number(zero))  # type: ignore[arg-type]
        return tensor
    scales, zeros = decoder.decode(scale), decoder.decode(zero)
    (place,) = axis
    if type(place) is not int or not 0 <= place < len(tensor.shape) or scales is None or zeros is None:
        raise ValueError(f"axis {printable(place, 20)} of the scales is not an axis of shape {tensor.shape}")
    if not scales.shape == zeros.shape == (tensor.shape[place],):
        raise ValueError(f"{scales.shape} scales for axis {place} of shape {tensor.shape}")
    tensor.encoding += f" along axis {place}"
    tensor.companions = ("scales", scales), ("zero_points", zeros)
    return tensor
