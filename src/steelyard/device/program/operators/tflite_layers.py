"""TensorFlow Lite's operators with weights, its pools, and images in another size."""

from __future__ import annotations

from steelyard.device.program.linear import ConvTranspose, Embedding, Prelu
from steelyard.device.program.operators.combining import activated, combined, multiplied, product, with_bias
from steelyard.device.program.operators.layers import Windows, convolved, pooled, same_padding
from steelyard.device.program.operators.moving import permuted, reshaped
from steelyard.device.program.operators.tensors import BATCH, Call, Data, count
from steelyard.device.program.resampling import coordinates, linear, nearest, sampled

_FUSED: dict[str, tuple[str, dict[str, float]]] = {
    "RELU": ("relu", {}),
    "RELU6": ("relu6", {}),
    "RELU_N1_TO_1": ("hard_tanh", {"lowest": -1.0, "highest": 1.0}),
    "TANH": ("tanh", {}),
}


def fused(call: Call, data: Data) -> Data:
    """Return the activation that an operator has at its end."""
    word = str(call.setting("fused", ""))
    if not word:
        return data
    if word not in _FUSED:
        call.refuse(f"has the activation {word}, which is not known")
    return activated(call, *_FUSED[word], data)


def _windows(call: Call, data: Data, size: tuple[int, ...]) -> Windows:
    strides = (call.integer("stride_h", 1), call.integer("stride_w", 1))
    dilation = (call.integer("dilation_h", 1), call.integer("dilation_w", 1))
    windows = Windows(size, strides, ((0, 0), (0, 0)), dilation)
    if call.integer("padding", 0):
        return windows
    return windows._replace(padding=same_padding(call.building.shapes[data.place][:-1], windows))


def _image(call: Call, place: int = 0) -> Data:
    data = call.data(place)
    call.is_image(data)
    if len(call.shape(data)) != 4:
        call.refuse(f"takes an input of {len(call.shape(data))} axes, where an image is known")
    return data


def conv(call: Call) -> Data:
    """Add a convolution with a kernel (out, kh, kw, in), or a depthwise one (1, kh, kw, in * multiplier)."""
    import numpy as np

    data, kernel = _image(call), call.weight(1)
    if kernel.ndim != 4:
        call.refuse(f"has a kernel of {kernel.ndim} axes")
    is_depthwise = call.operator.word == "DEPTHWISE_CONV_2D"
    own = kernel.transpose(3, 0, 1, 2) if is_depthwise else np.moveaxis(kernel, -1, 1)
    bias = call.weight(2) if call.has(2) else None
    return fused(call, convolved(call, data, own, bias, _windows(call, data, own.shape[2:]), "last"))


def transpose_conv(call: Call) -> Data:
    """Add a transposed convolution of the kernel (out, kh, kw, in), whose first input is the shape of its output."""
    data, kernel = _image(call, 2), call.weight(1)
    lengths = call.lengths(0)[1:3]
    windows = _windows(call, data, kernel.shape[1:3])
    space = call.building.shapes[data.place][:2]
    whole = [(length - 1) * step + size for length, step, size in zip(space, windows.strides, windows.size, strict=True)]
    cropped = tuple(max(full - made, 0) // 2 for full, made in zip(whole, lengths, strict=True))
    if call.integer("padding", 0):
        cropped = (0, 0)
    bias = call.weight(3) if call.has(3) else None
    operation = ConvTranspose(
        call.building.shared(kernel.transpose(3, 0, 1, 2)), bias, windows.strides, cropped, tuple(lengths), (1, 1), 1, "last"
    )
    return fused(call, Data(call.add(operation, data.place)))


def pool(call: Call) -> Data:
    """Add a pool over windows; an average counts the places of the image only."""
    data = _image(call)
    windows = _windows(call, data, (call.integer("filter_height", 1), call.integer("filter_width", 1)))
    word = "max" if call.operator.word == "MAX_POOL_2D" else "average"
    return fused(call, pooled(call, data, word, windows, "last", counts=word == "max", rounds_up=False))


def fully_connected(call: Call) -> Data:
    """Add a dense layer with a kernel (out, in), on rows of as many numbers as it takes."""
    call.only(weights_format=0)
    data, kernel = call.data(), call.weight(1)
    if not call.integer("keep_num_dims", 0) and len(call.shape(data)) != 2:
        if count(call.shape(data)) != kernel.shape[-1]:
            call.refuse("makes rows of the examples and another axis, which is not known")
        data = reshaped(call, data, (BATCH, count(call.shape(data))))
    return fused(call, multiplied(call, data, kernel, call.weight(2) if call.has(2) else None))


def batch_matmul(call: Call) -> Data:
    """Add a dense layer for a constant matrix, or the product of two computed ones."""
    first, turns = call.data(0), bool(call.integer("adj_y", 0))
    if call.integer("adj_x", 0):
        first = _turned(call, first)
    if call.is_known(1):
        kernel = call.weight(1)
        kernel = kernel.reshape(kernel.shape[-2:]) if kernel.size == kernel.shape[-1] * kernel.shape[-2] else kernel
        return multiplied(call, first, kernel if turns or kernel.ndim != 2 else kernel.T)
    second = call.data(1)
    return product(call, first, _turned(call, second) if turns else second)


def _turned(call: Call, data: Data) -> Data:
    """Return a tensor with its last two axes exchanged."""
    axes = list(range(len(call.shape(data))))
    return permuted(call, data, [*axes[:-2], axes[-1], axes[-2]])


def add(call: Call) -> Data:
    """Add a sum, which is the bias of a dense layer where only it takes the layer's product."""
    for place in (0, 1):
        if call.is_known(1 - place) and call.used_once(place) and (bias := call.known(1 - place)).ndim:
            made = with_bias(call, call.data(place), bias)
            if made is not None:
                return fused(call, made)
    return fused(call, combined(call, "add"))


def gather(call: Call) -> Data:
    """Add a table whose rows are taken by number."""
    call.only(axis=0, batch_dims=0)
    table, data = call.weight(0), call.data(1)
    if table.ndim != 2:
        call.refuse("takes rows of a table that has other than two axes")
    return Data(call.add(Embedding(table), data.place), data.batch)


def prelu(call: Call) -> Data:
    """Add an activation whose negative slope is a weight: one number, or one for each channel."""
    data, slope = call.data(), call.weight(1)
    if slope.size == 1:
        return activated(call, "leaky_relu", {"negative_slope": float(slope.reshape(-1)[0])})
    if slope.shape[-1] != slope.size:
        call.refuse(f"has slopes of shape {slope.shape}")
    return Data(call.add(Prelu(slope.reshape(-1), call.own_axis(-1, data)), data.place), data.batch)


def resize(call: Call) -> Data:
    """Add an image in another size."""
    data, lengths = _image(call), call.lengths(1)
    corners, half = bool(call.integer("align_corners", 0)), bool(call.integer("half_pixel_centers", 0))
    mode = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    is_nearest = call.operator.word == "RESIZE_NEAREST_NEIGHBOR"
    if is_nearest and corners:
        call.refuse("takes the nearest place by aligned corners, which is not known")
    space, place, axes = call.building.shapes[data.place][:2], data.place, []
    for length, made in zip(space, lengths, strict=True):
        where = coordinates(length, made, made / length, mode)
        axes.append(nearest(where, length, "round_prefer_ceil" if half else "floor") if is_nearest else linear(where, length))
    for operation in sampled(axes, space, "last"):
        place = call.add(operation, place)
    return Data(place)
