"""The output shapes of Keras layers by their configs, for old files, which do not store them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Shape

Config = Mapping[str, Any]


def shape_after(kind: str, config: Config, inputs: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of a layer's output without the batch; None if the config does not determine it.

    >>> shape_after("Conv2D", {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}, [(7, 6, 1)])
    (4, 3, 4)
    >>> shape_after("Flatten", {}, [(4, 3, 4)])
    (48,)
    """
    if not inputs or any(shape is None for shape in inputs):
        return None
    if kind in _SAME:
        return inputs[0]
    rule = _RULES.get(re.sub(r"[123]D", "", kind))
    try:
        return rule(config, inputs) if rule else None  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError):
        return None  # an inconsistent config


def _each(value: Any, rank: int) -> list[int]:
    return [int(each) for each in value] if isinstance(value, (list, tuple)) else [int(value)] * rank


def _lengths_and_channels(config: Config, shape: Shape) -> tuple[tuple[int | None, ...], int | None]:
    """Return the spatial lengths of an image, and the number of its channels."""
    first = config.get("data_format") == "channels_first"
    return (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])


def _image_shape(config: Config, lengths: Sequence[int | None], channels: int | None) -> Shape:
    return (channels, *lengths) if config.get("data_format") == "channels_first" else (*lengths, channels)


def _along(config: Config, shape: Shape, rule: Callable[..., int], *keys: str) -> list[int | None]:
    """Apply a rule to each length of an image, with the values of the config's keys for its axis."""
    lengths, _ = _lengths_and_channels(config, shape)
    values = [_each(config[key], len(lengths)) for key in keys]
    return [None if n is None else rule(n, *each) for n, *each in zip(lengths, *values, strict=True)]


def _slid(config: Config, shape: Shape, size: str, step: str, dilation: str = "") -> list[int | None]:
    """Return the number of positions of a sliding window along each axis."""
    loose = config.get("padding", config.get("border_mode")) in ("same", "causal")

    def rule(length: int, window: int, stride: int, spacing: int = 1) -> int:
        return math.ceil(length / stride) if loose else (length - (window - 1) * spacing - 1) // stride + 1

    return _along(
        {**config, step: config.get(step) or config[size]}, shape, rule, size, step, *([dilation] if dilation in config else [])
    )


def _conv(config: Config, inputs: Sequence[Shape]) -> Shape:
    _, channels = _lengths_and_channels(config, inputs[0])
    depth = int(config.get("depth_multiplier", 1))
    made = config["filters"] if "filters" in config else channels and channels * depth
    return _image_shape(config, _slid(config, inputs[0], "kernel_size", "strides", "dilation_rate"), made)


def _conv_transpose(config: Config, inputs: Sequence[Shape]) -> Shape:
    same, extra = config.get("padding") == "same", config.get("output_padding")

    def rule(length: int, window: int, stride: int, more: int = 0) -> int:
        if extra is None:
            return length * stride + (0 if same else max(window - stride, 0))
        return (length - 1) * stride + window - (2 * (window // 2) if same else 0) + more

    keys = ("kernel_size", "strides", *(() if extra is None else ("output_padding",)))
    return _image_shape(config, _along(config, inputs[0], rule, *keys), config["filters"])


def _pool(config: Config, inputs: Sequence[Shape]) -> Shape:
    _, channels = _lengths_and_channels(config, inputs[0])
    return _image_shape(config, _slid(config, inputs[0], "pool_size", "strides"), channels)


def _global_pool(config: Config, inputs: Sequence[Shape]) -> Shape:
    lengths, channels = _lengths_and_channels(config, inputs[0])
    return _image_shape(config, [1] * len(lengths), channels) if config.get("keepdims") else (channels,)


def _up(config: Config, inputs: Sequence[Shape]) -> Shape:
    _, channels = _lengths_and_channels(config, inputs[0])
    return _image_shape(config, _along(config, inputs[0], lambda n, by: n * by, "size"), channels)


def _pad(config: Config, inputs: Sequence[Shape]) -> Shape:
    lengths, channels = _lengths_and_channels(config, inputs[0])
    sides = [config["padding"]] if len(lengths) == 1 else config["padding"]
    both = [sum(_each(side, 2)) for side in sides]
    return _image_shape(config, [None if n is None else n + more for n, more in zip(lengths, both, strict=True)], channels)


def _product(shape: Sequence[int | None]) -> int | None:
    """Multiply the lengths of a shape with a plausible number of axes."""
    if len(shape) > 32:
        raise ValueError("too many axes")
    return None if None in shape else math.prod(shape)  # type: ignore[arg-type]


def _reshape(config: Config, inputs: Sequence[Shape]) -> Shape:
    target = [int(each) for each in config["target_shape"]]
    whole, known = _product(inputs[0]), _product([each for each in target if each != -1])
    return tuple((whole and known and whole // known) if each == -1 else each for each in target)


def _concatenate(config: Config, inputs: Sequence[Shape]) -> Shape:
    axis = int(config.get("axis", -1))
    axis = axis - 1 if axis > 0 else axis + len(inputs[0])
    lengths = [shape[axis] for shape in inputs]
    whole = None if None in lengths else sum(lengths)  # type: ignore[arg-type]
    return (*inputs[0][:axis], whole, *inputs[0][axis + 1 :])


def _recurrent(config: Config, inputs: Sequence[Shape]) -> Shape:
    return (inputs[0][0], config["units"]) if config.get("return_sequences") else (config["units"],)


def _attention(config: Config, inputs: Sequence[Shape]) -> Shape:
    made = config.get("output_shape")
    lengths = inputs[0][-1:] if made is None else made if isinstance(made, (list, tuple)) else (made,)
    return (*inputs[0][:-1], *(length and int(length) for length in lengths))


def _units(key: str, keep: int | None) -> Callable[[Config, Sequence[Shape]], Shape]:
    return lambda config, inputs: (*inputs[0][:keep], int(config[key]))


_SAME = {
    *(
        "Activation",
        "ReLU",
        "LeakyReLU",
        "ELU",
        "PReLU",
        "Softmax",
        "ThresholdedReLU",
        "Dropout",
        "AlphaDropout",
        "GaussianDropout",
    ),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "BatchNormalization", "LayerNormalization"),
    *("SyncBatchNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization", "Normalization", "Rescaling"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "ActivityRegularization", "Masking"),
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Gelu", "Identity"),
}
_RULES: dict[str, Callable[[Config, Sequence[Shape]], Shape]] = {
    "Dense": _units("units", -1),
    "Embedding": _units("output_dim", None),
    **dict.fromkeys(("Conv", "DepthwiseConv", "SeparableConv"), _conv),
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(("MaxPooling", "AveragePooling"), _pool),
    **dict.fromkeys(("GlobalMaxPooling", "GlobalAveragePooling"), _global_pool),
    "UpSampling": _up,
    "ZeroPadding": _pad,
    "MultiHeadAttention": _attention,
    "Flatten": lambda _, inputs: (_product(inputs[0]),),
    "Reshape": _reshape,
    "Permute": lambda config, inputs: tuple(inputs[0][int(axis) - 1] for axis in config["dims"]),
    "RepeatVector": lambda config, inputs: (int(config["n"]), *inputs[0]),
    "Concatenate": _concatenate,
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU"), _recurrent),
}
"""The rule of each class whose output and input shapes differ, by its name without the number of axes."""
