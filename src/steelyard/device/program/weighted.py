"""The steps of layers with kernels, tables and norms."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.activations import Activation
from steelyard.device.program.building import Node, integers, refuse
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm
from steelyard.device.program.windows import Pad

if TYPE_CHECKING:
    from steelyard.core.graph import Setting

_ACTIVATED = ("activation", "negative_slope", "alpha")
_FIRST = ("BatchNorm", "InstanceNorm", "GroupNorm", "PReLU")
"""The beginnings of PyTorch's classes that have the channels after the batch; Keras's end in "Normalization"."""

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""The modes of `Pad` by PyTorch's words."""
_OF_PYTORCH = ("1d", "2d", "3d", "mean")
"""The ends of the names of PyTorch's classes and functions on images, whose channels are after the batch."""


def dense(node: Node) -> int:
    """Add a dense layer and its activation."""
    node.only(*_ACTIVATED)
    node.has("kernel", "bias", "norm", "direction", "raw kernel", "u vector", "v vector", "sigma")
    kernel = node.needed("kernel")
    node.fits(kernel.shape[1], node.shape[-1] if node.shape else 0, "features")
    made = node.add(Dense(kernel, node.array("bias")), node.input)
    return node.building.activate(node.layer, made)


def conv(node: Node) -> int:
    """Add a convolution, or the two of a separable one, and the activation."""
    node.only(*_ACTIVATED, "strides", "padding", "dilation", "groups", "separable", "data_format", "padding_mode")
    node.has("kernel", "bias", "norm", "direction", "raw kernel", "u vector", "v vector", "sigma")
    rank = node.rank
    channels = known_channels(node)
    settings, made = node.layer.settings, node.input
    strides = integers(node.layer, settings.get("strides"), rank, 1)
    dilation = integers(node.layer, settings.get("dilation"), rank, 1)
    for place in range(len(node.weights) or 1):
        kernel = node.needed("kernel", of=place)
        if kernel.ndim != rank + 2:
            refuse(node.layer, f"has a kernel of {kernel.ndim - 2} spatial axes for an input of {rank}")
        shape = node.building.shapes[made]
        count, space = (shape[0], shape[1:]) if channels == "first" else (shape[-1], shape[:-1])
        if place:  # the second convolution of a separable one has no windows
            strides = dilation = (1,) * rank
        windows = zip(space, kernel.shape[2:], strides, dilation, strict=True)
        padding = tuple(around(node, settings.get("padding"), axis, *each) for axis, each in enumerate(windows))
        mode = settings.get("padding_mode")
        if mode is not None:
            made, padding = _padded(node, made, padding, str(mode), channels), ((0, 0),) * rank
        groups = count // kernel.shape[1]
        node.fits(groups * kernel.shape[1], count, "channels")
        if settings.get("groups", groups) != groups and not settings.get("separable"):
            refuse(node.layer, f"has {settings['groups']} groups, but a kernel for {groups}")
        made = node.add(Conv(kernel, node.array("bias", of=place), strides, padding, dilation, groups, channels), made)
    return node.building.activate(node.layer, made)


def _padded(node: Node, place: int, padding: tuple[tuple[int, int], ...], mode: str, channels: str) -> int:
    """Add the padding of a convolution of PyTorch that is made of the image."""
    if mode not in PAD_MODES:
        refuse(node.layer, f"has padding_mode {mode}, which is not known")
    whole = ((0, 0), *padding) if channels == "first" else (*padding, (0, 0))
    return node.add(Pad(whole, 0.0, PAD_MODES[mode]), place) if any(map(any, padding)) else place


def conv_transpose(node: Node) -> int:
    """Add a transposed convolution and its activation."""
    node.only(*_ACTIVATED, "strides", "padding", "dilation", "groups", "output_padding", "data_format", "transpose_kernel")
    node.has("kernel", "bias")
    rank, kernel, channels = node.rank, node.needed("kernel"), known_channels(node)
    settings = node.layer.settings
    strides = integers(node.layer, settings.get("strides"), rank, 1)
    dilation = integers(node.layer, settings.get("dilation"), rank, 1)
    more = integers(node.layer, settings.get("output_padding"), rank, 0)
    space = node.shape[1:] if channels == "first" else node.shape[:-1]
    axes = zip(space, kernel.shape[2:], strides, dilation, more, strict=True)
    ends = [_grown(node, axis, settings.get("padding"), *each) for axis, each in enumerate(axes)]
    cropped, lengths = tuple(crop for crop, _ in ends), tuple(length for _, length in ends)
    groups = integers(node.layer, settings.get("groups"), 1, 1)[0]
    made = node.add(ConvTranspose(kernel, node.array("bias"), strides, cropped, lengths, dilation, groups, channels), node.input)
    return node.building.activate(node.layer, made)


def _grown(node: Node, axis: int, padding: Setting, length: int, size: int, step: int, gap: int, more: int) -> tuple[int, int]:
    """Return the places cropped before the first of an axis, and the length of the output, as PyTorch and Keras have them."""
    reach = gap * (size - 1) + 1
    if isinstance(padding, tuple):
        crop = integers(node.layer, padding, node.rank)[axis]
        return crop, (length - 1) * step - 2 * crop + reach + more
    if padding == "same":
        if node.layer.settings.get("output_padding") is not None:
            refuse(node.layer, 'has padding "same" with output_padding, which is not known')
        return max(reach - step, 0) // 2, length * step
    if padding != "valid":
        refuse(node.layer, f"has padding {padding}, which is not known")
    if node.building.channels == "last" and "output_padding" not in node.layer.settings:
        return 0, (length - 1) * step + max(reach, step)
    if step > reach:
        node.assume("it adds no places after the last")
    return 0, (length - 1) * step + reach + more


def around(node: Node, padding: Setting, axis: int, length: int, size: int, step: int, gap: int) -> tuple[int, int]:
    """Return the zeros before and after an axis."""
    reach = gap * (size - 1) + 1
    if padding in ("valid", None):
        return 0, 0
    if padding == "same":
        whole = max((-(-length // step) - 1) * step + reach - length, 0)
        return whole // 2, whole - whole // 2
    if padding == "causal":
        return reach - 1, 0
    if not isinstance(padding, tuple):
        refuse(node.layer, f"has padding {padding}, which is not known")
    each = integers(node.layer, padding, node.rank)[axis]
    return each, each


def known_channels(node: Node) -> str:
    """Return the position of the channels of a layer of images, "first" or "last"."""
    if node.building.channels in ("first", "last"):
        return node.building.channels
    if not node.layer.class_name.endswith(_OF_PYTORCH):
        refuse(node.layer, "has channels, whose position is not known")
    return "first"


def embedding(node: Node) -> int:
    """Add a table whose rows are taken by number."""
    node.only()
    node.has("table")
    return node.add(Embedding(node.needed("table")), node.input)


def batch_norm(node: Node) -> int:
    """Add the factors and offsets of a batch norm at inference, computed in float64 and rounded once."""
    import numpy as np

    node.only("epsilon", "axis")
    node.has("scale", "offset", "mean", "variance")
    variance, mean = (node.needed(word).astype(np.float64) for word in ("variance", "mean"))
    scale = 1 / np.sqrt(variance + _epsilon(node))
    given, offset = node.array("scale"), node.array("offset")
    scale = scale if given is None else scale * given
    shift = (0 if offset is None else offset) - mean * scale
    return node.add(Affine(scale, np.asarray(shift), channel_axis(node, len(scale))), node.input)


def layer_norm(node: Node) -> int:
    """Add a layer norm over the last axes, as many as its scale has."""
    node.only("epsilon")
    node.has("scale", "offset")
    return _over_last(node, centres=True)


def rms_norm(node: Node) -> int:
    """Add an RMS norm over the last axes."""
    node.only("epsilon")
    node.has("scale")
    return _over_last(node, centres=False)


def _over_last(node: Node, *, centres: bool) -> int:
    scale, offset = node.array("scale"), node.array("offset")
    known = scale if scale is not None else offset
    if known is None:
        node.assume("it normalises the last axis")
    count = node.shape[-1] if known is None else known.size
    ends = [prod(node.shape[axis:]) for axis in range(len(node.shape))]
    if count not in ends:
        refuse(node.layer, f"normalises {count} numbers, which are not the last axes of {node.shape}")
    return node.add(LayerNorm(scale, offset, count, _epsilon(node), centres), node.input)


def group_norm(node: Node) -> int:
    """Add a norm over groups of channels; an instance norm has a group for each channel."""
    node.only("epsilon", "groups", "axis")
    node.has("scale", "offset")
    scale, offset = node.array("scale"), node.array("offset")
    known = scale if scale is not None else offset
    if known is None:
        node.assume("its channels are after the batch")
    axis = 1 if known is None else channel_axis(node, known.size)
    count = node.shape[axis - 1]
    groups = count if node.layer.kind == "instance norm" else integers(node.layer, node.layer.settings.get("groups"), 1)[0]
    if groups < 1 or count % groups:
        refuse(node.layer, f"has {groups} groups of {count} channels")
    return node.add(GroupNorm(scale, offset, groups, _epsilon(node), axis), node.input)


def prelu(node: Node) -> int:
    """Add an activation whose negative slope is a weight: one number, or one for each channel."""
    node.only()
    node.has("slope")
    slope = node.needed("slope")
    if slope.size == 1:
        return node.add(Activation("leaky_relu", {"negative_slope": float(slope.reshape(-1)[0])}), node.input)
    stored = next(iter(node.weights[0].parts.values())).weight.shape
    along = [axis for axis, length in enumerate(stored, start=1) if length > 1]
    if len(along) > 1 or (len(stored) > 1 and len(stored) != len(node.shape)):
        refuse(node.layer, f"has slopes of shape {stored} for an input of shape {node.shape}")
    axis = along[0] if len(stored) > 1 else channel_axis(node, slope.size)  # one of PyTorch is a vector
    node.fits(slope.size, node.shape[axis - 1], "channels")
    return node.add(Prelu(slope, axis), node.input)


def channel_axis(node: Node, count: int) -> int:
    """Return the axis of so many channels, counted from 1 without the batch."""
    given = node.layer.settings.get("axis")
    rank = len(node.shape)
    if given is not None:
        axis = integers(node.layer, given, 1)[0]
        return node.building.axis(node.layer, axis, node.input)
    fitting = [axis for axis, length in enumerate(node.shape, start=1) if length == count and axis in (1, rank)]
    if not fitting:
        refuse(node.layer, f"has {count} channels, its input of shape {node.shape} does not")
    if len(fitting) == 1:
        return fitting[0]
    name = node.layer.class_name
    if name.startswith(_FIRST) and not name.endswith("Normalization"):
        return 1
    if node.building.channels == "last" or name.endswith("Normalization"):
        return rank
    node.assume("its channels are after the batch")
    return 1


def _epsilon(node: Node) -> float:
    epsilon = node.layer.settings.get("epsilon")
    if not isinstance(epsilon, (int, float)):
        refuse(node.layer, "has an epsilon that is not known")
    return float(epsilon)
