"""The kind of layer of each class of PyTorch, and its settings in the words used for all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.core.graph import Setting, Settings

    SettingsOf = Callable[[Any, int], Settings]
    """Returns the settings of a module by the number of spatial axes, which is in the name of its class."""


IMAGES = ("conv", "conv transpose", "pool", "global pool", "upsample")
"""Kinds of layers whose inputs have channels, which come first."""


def kind_and_settings(module: Any, bases: Iterable[str]) -> tuple[str, Settings]:
    """Return the kind and the settings of a module by the names of its classes, the nearest first.

    >>> class Norm:
    ...     eps, momentum, track_running_stats = 1e-5, 0.1, True
    >>> kind_and_settings(Norm(), ["BatchNorm2d", "_BatchNorm", "Module"])
    ('batch norm', {'epsilon': 1e-05, 'momentum': 0.9})
    """
    for name in bases:
        if name in _ACTIVATIONS:
            return "activation", _activation(module, name)
        stem, rank = (name[:-2], int(name[-2])) if name[-2:] in ("1d", "2d", "3d") else (name, 0)
        if stem in _KINDS:
            kind, settings = _KINDS[stem]
            return _special(kind, module), settings(module, rank)
    return "other", {}


def _special(kind: str, module: Any) -> str:
    """Return a more special kind: a norm with one group per channel is an instance norm, a pool to one pixel is global."""
    if kind == "group norm" and module.num_groups == module.num_channels:
        return "instance norm"
    return "global pool" if kind == "pool" and set(per_axis(getattr(module, "output_size", 0), 1)) == {1} else kind


def per_axis(value: Setting, rank: int) -> tuple[Setting, ...]:
    """Return a setting for each spatial axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def padding_of(value: Setting, rank: int) -> Setting:
    """Return the padding of each axis, or its word."""
    each = value if isinstance(value, str) else per_axis(value, rank)
    return each if isinstance(each, str) or any(each) else "valid"


def _read(**attributes: str) -> SettingsOf:
    """Copy settings from attributes, except those that are missing, None or False."""

    def settings(module: Any, rank: int) -> Settings:
        held = {word: getattr(module, key, None) for word, key in attributes.items()}
        return {word: value for word, value in held.items() if value is not None and value is not False}

    return settings


def _conv(module: Any, rank: int) -> Settings:
    settings = {
        "strides": per_axis(module.stride, rank),
        "padding": padding_of(module.padding, rank),
        "dilation": per_axis(module.dilation, rank),
        "groups": module.groups,
    }
    if any(module.output_padding):
        settings["output_padding"] = per_axis(module.output_padding, rank)
    if module.padding_mode != "zeros":
        settings["padding_mode"] = module.padding_mode
    if module.groups == module.in_channels > 1 and not module.transposed:
        settings["depthwise"] = True
    return settings


def _batch_norm(module: Any, rank: int) -> Settings:
    momentum = {} if module.momentum is None else {"momentum": 1 - module.momentum}
    of_batch = {} if module.track_running_stats else {"statistics": "batch"}
    return {"epsilon": module.eps, **momentum, **of_batch}


def _instance_norm(module: Any, rank: int) -> Settings:
    running = {"statistics": "running"} if module.track_running_stats else {}
    return {"epsilon": module.eps, **running}


def _group_norm(module: Any, rank: int) -> Settings:
    groups = {} if module.num_groups == module.num_channels else {"groups": module.num_groups}
    return {"epsilon": module.eps, **groups}


def _rms_norm(module: Any, rank: int) -> Settings:
    if module.eps is not None:
        return {"epsilon": module.eps}
    import numpy as np

    weight = module.weight
    wide = weight is not None and str(weight.dtype) == "torch.float64"
    return {"epsilon": float(np.finfo(np.float64 if wide else np.float32).eps)}


def _recurrent(module: Any, rank: int) -> Settings:
    mode = str(getattr(module, "mode", "") or type(module).__name__)
    settings: Settings = {"activation": str(getattr(module, "nonlinearity", "tanh"))}
    if not mode.startswith("RNN"):
        settings["recurrent_activation"] = "sigmoid"
    if mode.startswith("GRU"):
        settings["reset_after"] = True
    if hasattr(module, "num_layers"):
        settings |= {"layers": module.num_layers, "bidirectional": module.bidirectional}
    return {**settings, **({"projection": module.proj_size} if getattr(module, "proj_size", 0) else {})}


def _attention(module: Any, rank: int) -> Settings:
    zero = {"zero_attention": True} if module.add_zero_attn else {}
    return {"heads": module.num_heads, "key_heads": module.num_heads, **zero}


def _pool(word: str) -> SettingsOf:
    def settings(module: Any, rank: int) -> Settings:
        pooling: Settings = {"pool": word}
        if hasattr(module, "output_size"):
            return pooling | {"output_size": per_axis(module.output_size, rank)}
        pooling |= {"size": per_axis(module.kernel_size, rank), "strides": per_axis(module.stride, rank)}
        pooling |= {"padding": padding_of(module.padding, rank)}
        if word == "average":
            pooling["count_padding"] = module.count_include_pad
        dilation = per_axis(getattr(module, "dilation", 1), rank)
        return {
            **pooling,
            **({"dilation": dilation} if set(dilation) != {1} else {}),
            **_read(round_up="ceil_mode", divisor="divisor_override")(module, rank),
        }

    return settings


def _lp_pool(module: Any, rank: int) -> Settings:
    return {"pool": f"l{module.norm_type}", "size": per_axis(module.kernel_size, rank)}


def _flatten(module: Any, rank: int) -> Settings:
    whole = (module.start_dim, module.end_dim) == (1, -1)
    return {} if whole else {"axes": (module.start_dim, module.end_dim)}


def _reshape(module: Any, rank: int) -> Settings:
    return {"axis": module.dim, "shape": tuple(module.unflattened_size)}


def _pad(module: Any, rank: int) -> Settings:
    return {"padding": per_axis(module.padding, 2 * rank), **_read(value="value")(module, rank)}


def _activation(module: Any, name: str) -> Settings:
    settings = {"activation": _ACTIVATIONS[name], **_MORE.get(name, _read())(module, 0)}
    if name == "GELU" and module.approximate == "tanh":
        settings["activation"] = "gelu_tanh"
    if name == "RReLU":  # at inference the slope is the mean
        settings["negative_slope"] = (module.lower + module.upper) / 2
    return settings


def _softmax(word: str) -> SettingsOf:
    return lambda module, rank: {"activation": word, **_read(axis="dim")(module, rank)}


_ACTIVATIONS = {
    **{name: name.lower() for name in ("ReLU", "ReLU6", "ELU", "CELU", "SELU", "GELU", "GLU", "SiLU", "Mish", "Tanh", "Sigmoid")},
    **{name: name.lower() for name in ("Softplus", "Softsign", "Threshold")},
    "LeakyReLU": "leaky_relu",
    "RReLU": "leaky_relu",
    "LogSigmoid": "log_sigmoid",
    "Tanhshrink": "tanh_shrink",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_silu",
    "Hardtanh": "hard_tanh",
    "Softshrink": "soft_shrink",
    "Hardshrink": "hard_shrink",
}
_MORE = {
    "LeakyReLU": _read(negative_slope="negative_slope"),
    "ELU": _read(alpha="alpha"),
    "CELU": _read(alpha="alpha"),
    "GLU": _read(axis="dim"),
    "Softplus": _read(beta="beta", threshold="threshold"),
    "Threshold": _read(threshold="threshold", value="value"),
    "Hardtanh": _read(lowest="min_val", highest="max_val"),
    "Softshrink": _read(threshold="lambd"),
    "Hardshrink": _read(threshold="lambd"),
}
"""The parameters of activations."""

_OTHER_WORDS = {"LogSigmoid": "logsigmoid", "LeakyReLU": "leaky_relu"}
FUNCTIONS: dict[str, tuple[str, tuple[tuple[str, str, Setting], ...]]] = {
    **{_OTHER_WORDS.get(name, name.lower()): (word, ()) for name, word in _ACTIVATIONS.items()},
    "log_sigmoid": ("log_sigmoid", ()),
    "exp": ("exponential", ()),
    "leaky_relu": ("leaky_relu", (("negative_slope", "negative_slope", 0.01),)),
    "elu": ("elu", (("alpha", "alpha", 1.0),)),
    "celu": ("celu", (("alpha", "alpha", 1.0),)),
    "glu": ("glu", (("axis", "dim", -1),)),
    "softplus": ("softplus", (("beta", "beta", 1.0), ("threshold", "threshold", 20.0))),
    "threshold": ("threshold", (("threshold", "threshold", 0.0), ("value", "value", 0.0))),
    "hardtanh": ("hard_tanh", (("lowest", "min_val", -1.0), ("highest", "max_val", 1.0))),
    "softshrink": ("soft_shrink", (("threshold", "lambd", 0.5),)),
    "hardshrink": ("hard_shrink", (("threshold", "lambd", 0.5),)),
}
"""The functions of the activations: the activation, and the setting, name and default of each argument after the input."""

_NORM = _read(epsilon="eps")
_KINDS: dict[str, tuple[str, SettingsOf]] = {
    "Linear": ("dense", _read()),
    "Conv": ("conv", _conv),
    "ConvTranspose": ("conv transpose", _conv),
    "Embedding": ("embedding", _read(largest_norm="max_norm")),
    "EmbeddingBag": ("embedding", _read(largest_norm="max_norm", pool="mode")),
    "PReLU": ("prelu", _read()),
    "BatchNorm": ("batch norm", _batch_norm),
    "SyncBatchNorm": ("batch norm", _batch_norm),
    "InstanceNorm": ("instance norm", _instance_norm),
    "GroupNorm": ("group norm", _group_norm),
    "LayerNorm": ("layer norm", _NORM),
    "RMSNorm": ("rms norm", _rms_norm),
    **{name: (kind, _recurrent) for kind, name in (("rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU"))},
    **{f"{name}Cell": (kind, _recurrent) for kind, name in (("rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU"))},
    "MultiheadAttention": ("attention", _attention),
    "Softmax": ("softmax", _softmax("softmax")),
    "LogSoftmax": ("softmax", _softmax("log_softmax")),
    "Softmin": ("softmax", _softmax("softmin")),
    "Flatten": ("flatten", _flatten),
    "Unflatten": ("reshape", _reshape),
    **{f"{word}Pool": ("pool", _pool("max")) for word in ("Max", "AdaptiveMax")},
    **{f"{word}Pool": ("pool", _pool("average")) for word in ("Avg", "AdaptiveAvg")},
    "LPPool": ("pool", _lp_pool),
    **{f"{word}Pad": ("pad", _pad) for word in ("Zero", "Constant", "Reflection", "Replication", "Circular")},
    "Upsample": ("upsample", _read(scale="scale_factor", size="size", interpolation="mode", align_corners="align_corners")),
    **{f"{word}Dropout": ("dropout", _read(rate="p")) for word in ("", "Alpha", "FeatureAlpha")},
    "UpsamplingNearest": ("upsample", _read(scale="scale_factor", size="size", interpolation="mode")),
    "UpsamplingBilinear": (
        "upsample",
        _read(scale="scale_factor", size="size", interpolation="mode", align_corners="align_corners"),
    ),
}
