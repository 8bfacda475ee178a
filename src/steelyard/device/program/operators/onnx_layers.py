"""ONNX's operators with weights, and its pools and norms."""

from __future__ import annotations

from steelyard.device.program.linear import Affine, ConvTranspose, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm
from steelyard.device.program.operators.combining import activated, combined, flattened, multiplied, product, with_bias
from steelyard.device.program.operators.layers import Windows, convolved, pooled, same_padding
from steelyard.device.program.operators.tensors import Call, Data
from steelyard.device.program.windows import GlobalPool


def _windows(call: Call, data: Data, size: tuple[int, ...]) -> Windows:
    """Return the windows of an operator; pads are all beginnings, then all ends."""
    rank = len(size)
    pads = call.integers("pads", (0,) * 2 * rank) or ()
    strides, dilation = (call.integers(name, (1,) * rank) or () for name in ("strides", "dilations"))
    if {len(pads), 2 * len(strides), 2 * len(dilation)} != {2 * rank}:
        call.refuse(f"has pads, strides or dilations for other than {rank} axes")
    windows = Windows(size, strides, tuple(zip(pads[:rank], pads[rank:], strict=True)), dilation)
    automatic = call.setting("auto_pad", "") or "NOTSET"
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        space = call.building.shapes[data.place][1:]
        return windows._replace(padding=same_padding(space, windows, more_after=automatic == "SAME_UPPER"))
    if automatic not in ("NOTSET", "VALID"):
        call.refuse(f"has auto_pad={automatic}, which is not known")
    return windows


def _image(call: Call) -> tuple[Data, int]:
    """Return the image that an operator takes, and the number of its spatial axes."""
    data = call.data()
    call.is_image(data)
    rank = len(call.shape(data)) - 2
    if rank < 1:
        call.refuse(f"takes an input of {rank + 2} axes, where an image is known")
    return data, rank


def conv(call: Call) -> Data:
    """Add a convolution."""
    data, rank = _image(call)
    kernel = call.weight(1)
    if kernel.ndim != rank + 2:
        call.refuse(f"has a kernel of {kernel.ndim} axes for an image of {rank + 2}")
    made = convolved(call, data, kernel, call.weight(2) if call.has(2) else None, _windows(call, data, kernel.shape[2:]), "first")
    channels = call.building.shapes[data.place][0]
    if call.integer("group", 1) * kernel.shape[1] != channels:
        call.refuse(f"has {call.integer('group', 1)} groups, but a kernel for {channels // kernel.shape[1]}")
    return made


def conv_transpose(call: Call) -> Data:
    """Add a transposed convolution."""
    data, rank = _image(call)
    kernel = call.weight(1)
    call.only(output_shape=None)
    if call.setting("auto_pad", "NOTSET") not in ("NOTSET", "VALID", ""):
        call.refuse("pads automatically, which is not known")
    windows = _windows(call, data, kernel.shape[2:])
    more = call.integers("output_padding", (0,) * rank) or ()
    space = call.building.shapes[data.place][1:]
    axes = zip(space, windows.size, windows.strides, windows.padding, windows.dilation, more, strict=True)
    lengths = tuple((n - 1) * step + gap * (size - 1) + 1 + extra - sum(pad) for n, size, step, pad, gap, extra in axes)
    cropped, bias = tuple(before for before, _ in windows.padding), call.weight(2) if call.has(2) else None
    groups = call.integer("group", 1)
    operation = ConvTranspose(kernel, bias, windows.strides, cropped, lengths, windows.dilation, groups, "first")
    return Data(call.add(operation, data.place))


def pool(call: Call) -> Data:
    """Add a pool over windows."""
    data, _ = _image(call)
    size = call.integers("kernel_shape")
    if size is None:
        call.refuse("has no kernel_shape")
    word = "max" if call.operator.word == "MaxPool" else "average"
    call.only(storage_order=0)
    counts = word == "max" or bool(call.integer("count_include_pad", 0))
    rounds = bool(call.integer("ceil_mode", 0))
    return pooled(call, data, word, _windows(call, data, size), "first", counts=counts, rounds_up=rounds)


def global_pool(call: Call) -> Data:
    """Add a pool over all places of each channel."""
    data, _ = _image(call)
    word = "max" if call.operator.word == "GlobalMaxPool" else "average"
    return Data(call.add(GlobalPool(word, True, "first"), data.place))


def gemm(call: Call) -> Data:
    """Add a dense layer `alpha A B + beta C`."""
    import numpy as np

    call.only(transA=0)
    kernel = call.weight(1)
    if kernel.ndim != 2:
        call.refuse(f"has a kernel of {kernel.ndim} axes")
    kernel = kernel if call.integer("transB", 0) else kernel.T
    alpha, beta = call.real("alpha", 1.0), call.real("beta", 1.0)
    if alpha != 1:
        kernel = kernel.astype(np.float64) * alpha
    if not call.has(2):
        return multiplied(call, call.data(), kernel)
    bias = call.weight(2)
    bias = bias if beta == 1 else bias.astype(np.float64) * beta
    if bias.size not in (1, len(kernel)) or bias.shape[-1:] not in ((), (1,), (len(kernel),)):
        call.refuse(f"has a bias of shape {bias.shape} for {len(kernel)} outputs")
    bias = np.broadcast_to(bias.reshape(-1), (len(kernel),))
    return multiplied(call, call.data(), kernel, np.ascontiguousarray(bias))


def matmul(call: Call) -> Data:
    """Add a dense layer for a constant matrix, or the product of two computed ones."""
    if call.is_known(1):
        kernel = call.weight(1)
        return multiplied(call, call.data(), kernel.T if kernel.ndim == 2 else kernel)
    return product(call, call.data(0), call.data(1))


def add(call: Call) -> Data:
    """Add a sum, which is the bias of a dense layer where only it takes the layer's product."""
    for place in (0, 1):
        if call.is_known(1 - place) and call.used_once(place) and (bias := call.known(1 - place)).ndim:
            made = with_bias(call, call.data(place), bias)
            if made is not None:
                return made
    return combined(call, "add")


def gather(call: Call) -> Data:
    """Add a table whose rows are taken by number."""
    table = call.weight(0)
    if call.integer("axis", 0) or table.ndim != 2:
        call.refuse("takes numbers of a constant along another axis than the rows of a table")
    data = call.data(1)
    return Data(call.add(Embedding(table), data.place), data.batch)


def batch_norm(call: Call) -> Data:
    """Add the factors and offsets of a batch norm at inference, computed in float64 and rounded once."""
    import numpy as np

    call.only(training_mode=0, spatial=1)
    data = call.data()
    call.is_image(data)
    scale, offset, mean, variance = (call.weight(place).astype(np.float64) for place in range(1, 5))
    if {each.shape for each in (scale, offset, mean, variance)} != {(call.building.shapes[data.place][0],)}:
        call.refuse("has statistics for another number of channels")
    scale = scale / np.sqrt(variance + call.real("epsilon", 1e-5))
    return Data(call.add(Affine(scale, offset - mean * scale, 1), data.place))


def layer_norm(call: Call) -> Data:
    """Add a norm over the last axes."""
    data = call.data()
    word, shape = call.operator.word, call.shape(data)
    axis = call.axis(call.integer("axis", -1), data)
    centres = word == "LayerNormalization"
    if axis <= data.batch:
        call.refuse("normalises the axis of the examples")
    size = 1
    for length in shape[axis:]:
        size *= length
    scale, offset = (call.weight(place) if call.has(place) else None for place in (1, 2))
    if any(each is not None and each.size != size for each in (scale, offset)):
        call.refuse(f"has a scale that is not of the {size} numbers that it normalises")
    flat = [None if each is None else each.reshape(-1) for each in (scale, offset)]
    return Data(call.add(LayerNorm(flat[0], flat[1], size, call.real("epsilon", 1e-5), centres), data.place), data.batch)


def group_norm(call: Call) -> Data:
    """Add a norm over groups of channels; an instance norm has a group for each channel."""
    import numpy as np

    data, _ = _image(call)
    channels = call.building.shapes[data.place][0]
    groups = channels if call.operator.word == "InstanceNormalization" else call.integer("num_groups", 0)
    if groups < 1 or channels % groups:
        call.refuse(f"has {groups} groups of {channels} channels")
    held = [call.weight(place) for place in (1, 2)]
    held = [np.repeat(each, channels // groups) if each.size == groups else each for each in held]
    if any(each.shape != (channels,) for each in held):
        call.refuse(f"has a scale that is not of its {channels} channels")
    return Data(call.add(GroupNorm(held[0], held[1], groups, call.real("epsilon", 1e-5), 1), data.place))


def prelu(call: Call) -> Data:
    """Add an activation whose negative slope is a weight: one number, or one for each place along an axis."""
    data, slope = call.data(), call.weight(1)
    if slope.size == 1:
        return activated(call, "leaky_relu", {"negative_slope": float(slope.reshape(-1)[0])})
    shape = call.shape(data)
    whole = (1,) * (len(shape) - slope.ndim) + slope.shape
    along = [axis for axis, length in enumerate(whole) if length > 1]
    if len(whole) != len(shape) or len(along) != 1 or shape[along[0]] != slope.size:
        call.refuse(f"has slopes of shape {slope.shape}")
    return Data(call.add(Prelu(slope.reshape(-1), call.own_axis(along[0], data)), data.place), data.batch)


def flatten(call: Call) -> Data:
    """Add a reshape to the examples and one other axis."""
    data = call.data()
    axis = call.integer("axis", 1)
    return flattened(call, data, axis + len(call.shape(data)) if axis < 0 else axis)
