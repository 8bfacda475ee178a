"""The kind of layer of each class of Keras, and its settings in the words used for all frameworks.

The config of a layer comes from the live layer or from a file. A config from a file is untrusted: values of an unexpected
type are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Layer

if TYPE_CHECKING:
    from steelyard.core.graph import Setting, Settings, Shape

    SettingsOf = Callable[["Config", int], Settings]
    """Returns the settings of a layer by its config and the number of channels of its input (0 if it is unknown)."""

Config = Mapping[str, Any]

RECURRENT = ("SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "CuDNNLSTM", "CuDNNGRU")
"""Layers that run cells over time."""
_BEFORE_MASKS = 3
"""The number of arguments of attention before its masks: query, value and key."""
IMAGES = ("conv", "conv transpose", "pool", "global pool", "upsample")
"""Kinds for which the axis of the channels matters."""


def config_of(layer: Any) -> Config:
    """Return the config of a live layer of Keras 2 or 3; blank for a user's class without one."""
    try:
        config: Config = layer.get_config()
    except NotImplementedError:
        return {}
    return config


def described(
    made_by: str, kind: str, config: Config, name: str, takes: Shape | None = None, gives: Shape | None = None
) -> Layer:
    """Describe a layer of the class `made_by`, which is, or extends, Keras's class `kind`.

    >>> described("Dense", "Dense", {"activation": "relu"}, "fc")
    Layer('fc', 'dense', 'Dense', {'activation': 'relu'}, None, None, None)
    """
    channels = _channels(config, takes)
    if takes is not None and "axis" in config:
        config = {**config, "axis": _from_end(config["axis"], len(takes) + 1)}
    word, settings = _KINDS.get(kind, ("other", _activated))
    read = settings(config, channels)
    if word == "group norm" and read.get("groups") in (-1, channels or -1):
        word = "instance norm"
        del read["groups"]
    if word == "activation" and read.get("activation") == "softmax":
        word = "softmax"
    return Layer(name, word, made_by, read, takes, gives)


def cells_of(kind: str, config: Config) -> list[tuple[str, Config]]:
    """Return the class and the config of each cell of a recurrent layer, in order, with the layer's direction and output.

    Every cell but the last passes all of its steps on.

    >>> cells_of("LSTM", {"units": 3, "go_backwards": True})
    [('LSTM', {'units': 3, 'go_backwards': True})]
    """
    if kind != "RNN":
        return [(kind, config)]
    cell = config.get("cell")
    inner = cell if isinstance(cell, (list, tuple)) else [cell]
    cells = []
    for entry in inner:
        word, own = class_and_config(entry)
        below = own.get("cells") if word == "StackedRNNCells" else None
        cells += [class_and_config(each) for each in below] if isinstance(below, (list, tuple)) else [(word, own)]
    last = len(cells) - 1
    shared = {"go_backwards": config.get("go_backwards")}
    outputs = ({"return_sequences": nth < last or config.get("return_sequences", False)} for nth in range(len(cells)))
    return [(word, {**own, **shared, **steps}) for (word, own), steps in zip(cells, outputs, strict=True)]


def class_and_config(entry: object) -> tuple[str, Config]:
    """Return the class name and the config of a serialised layer; both blank for any other value."""
    if not isinstance(entry, Mapping):
        return "", {}
    kind, config = entry.get("class_name"), entry.get("config")
    return (kind if isinstance(kind, str) else ""), (config if isinstance(config, Mapping) else {})


def called_with(kind: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Settings:
    """Return the settings that a call of a layer has: a causal mask of attention, another mask, and the mode of training.

    A function of two operands may have a number as one of them.

    >>> called_with("attention", ["x", "x"], {"use_causal_mask": True, "query_mask": None})
    {'causal': True}
    >>> called_with("merge", [1, "x"], {})
    {'value': 1, 'value_first': True}
    """
    is_attention = kind == "attention"
    settings: Settings = {"causal": bool(kwargs.get("use_causal_mask"))} if is_attention else {}
    numbers = [each for each in args if type(each) in (int, float)] if kind in ("merge", "other") else []
    if len(args) == 2 and len(numbers) == 1:
        settings |= {"value": _setting(numbers[0])} | ({"value_first": True} if args[0] is numbers[0] else {})
    others = [kwargs[name] for name in kwargs if name.endswith("mask") and name != "use_causal_mask"]
    if any(each is not None for each in (*others, *(args[_BEFORE_MASKS:] if is_attention else ()))):
        settings["masked"] = True
    return {**settings, **({"training": True} if kwargs.get("training") else {})}


def joined_by(config: Config) -> str:
    """Return how a bidirectional layer joins both directions: "concat", "sum", "mul", "ave", or "none".

    >>> joined_by({"merge_mode": "sum"}), joined_by({"merge_mode": None}), joined_by({})
    ('sum', 'none', 'concat')
    """
    mode = config.get("merge_mode", "concat")
    return mode if isinstance(mode, str) else "none"


def channels_word(config: Config) -> str:
    """Return the position of the channel axis of a layer of images, "first" or "last".

    >>> channels_word({"data_format": "channels_first"}), channels_word({})
    ('first', 'last')
    """
    return "first" if config.get("data_format") == "channels_first" else "last"


def in_float64(config: Any) -> Any:
    """Rewrite every float dtype in a config, also those of policies."""
    if isinstance(config, (list, tuple)):
        return [in_float64(each) for each in config]
    if not isinstance(config, dict):
        return config
    widened = {key: in_float64(value) for key, value in config.items()}
    if isinstance(widened.get("dtype"), str) and "float" in widened["dtype"]:
        widened["dtype"] = "float64"
    if widened.get("class_name") == "DTypePolicy":
        widened["config"] = {"name": "float64"}
    return widened


def is_operation(module: object) -> bool:
    """Whether a class in a graph is a function rather than a layer."""
    return str(module).startswith("keras.src.ops")


def _channels(config: Config, takes: Shape | None) -> int:
    first = config.get("data_format") == "channels_first" or config.get("axis") == 1
    return (takes[0 if first else -1] or 0) if takes else 0


def _from_end(axis: object, rank: int) -> object:
    """Count axes from the last one, so that old and new files agree."""
    axes: Sequence[object] = axis if isinstance(axis, (list, tuple)) else [axis]
    turned = tuple(each - rank if isinstance(each, int) and each >= 0 else each for each in axes)
    return turned if axes is axis else turned[0]


def _setting(value: Any, depth: int = 0) -> Setting:
    """Return a value of a config as a setting, with tuples for lists; None for a value that is not a setting."""
    if isinstance(value, (bool, int, float, str)):
        return value
    nested = isinstance(value, (list, tuple)) and depth < 2  # the depth of a padding with both sides of each axis
    return tuple(_setting(each, depth + 1) for each in value) if nested else None


def _read(**keys: str) -> SettingsOf:
    """Copy settings from a config, except those that are missing, None or False."""

    def settings(config: Config, channels: int) -> Settings:
        held = {word: _setting(config.get(key)) for word, key in keys.items()}
        return {word: value for word, value in held.items() if value is not None and value is not False}

    return settings


def _function(value: object) -> str:
    """Return the name of an activation, which is a word or a serialised object in a config."""
    if isinstance(value, Mapping):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("class_name")
    return {"swish": "silu", "hard_swish": "hard_silu"}.get(value, value) if isinstance(value, str) else "linear"


def _activated(config: Config, channels: int) -> Settings:
    word = _function(config.get("activation"))
    if word == "leaky_relu":
        return {"activation": word, "negative_slope": 0.2}
    return {} if word == "linear" else {"activation": word}


def _with_activation(**keys: str) -> SettingsOf:
    own = _read(**keys)
    return lambda config, channels: {**own(config, channels), **_activated(config, channels)}


def _conv(**more: bool) -> SettingsOf:
    read = _with_activation(strides="strides", padding="padding", dilation="dilation_rate", groups="groups")
    extra = _read(output_padding="output_padding")

    def settings(config: Config, channels: int) -> Settings:
        convolution = {**read(config, channels), **extra(config, channels), **more}
        if more and channels:
            convolution["groups"] = channels
        elif convolution.get("groups", 1) == channels > 1:
            convolution["depthwise"] = True
        return convolution

    return settings


def _recurrent(gated: bool, *, reset: bool = False) -> SettingsOf:
    def settings(config: Config, channels: int) -> Settings:
        recurrent: Settings = {"activation": _function(config.get("activation", "tanh"))}
        if gated:
            recurrent["recurrent_activation"] = _function(config.get("recurrent_activation", "sigmoid"))
        if reset:
            recurrent["reset_after"] = bool(config.get("reset_after", False))
        if "return_sequences" in config:  # a cell alone runs one step
            recurrent["returns"] = "all" if config["return_sequences"] else "last"
        return {**recurrent, "direction": "backward" if config.get("go_backwards") else "forward"}

    return settings


def _norm(config: Config, channels: int) -> Settings:
    """Return the settings of a norm, with its axis unless that is the last."""
    axis = config.get("axis", -1)
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    more = {} if axes == (-1,) else {"axis": axes}
    return {**_read(epsilon="epsilon", momentum="momentum", groups="groups", rms_scaling="rms_scaling")(config, channels), **more}


def _attention(config: Config, channels: int) -> Settings:
    heads = config.get("num_heads", config.get("num_query_heads"))
    return {"heads": heads, "key_heads": config.get("num_key_value_heads", heads)}


def _pool(word: str) -> SettingsOf:
    read = _read(size="pool_size", strides="strides", padding="padding")
    more = {"count_padding": False} if word == "average" else {}
    return lambda config, channels: {"pool": word, **read(config, channels), **more}


def _relu(config: Config, channels: int) -> Settings:
    slope, top = config.get("negative_slope") or 0, config.get("max_value")
    relu: Settings = {"activation": "leaky_relu", "negative_slope": slope} if slope else {"activation": "relu"}
    if top is not None:
        relu |= {"activation": "relu6"} if (slope, top) == (0, 6) else {"highest": top}
    return {**relu, **_read(threshold="threshold")(config, channels)} if config.get("threshold") else relu


def _leaky(config: Config, channels: int) -> Settings:
    return {"activation": "leaky_relu", "negative_slope": config.get("negative_slope", config.get("alpha", 0.3))}


def _named(word: str, **keys: str) -> SettingsOf:
    return lambda config, channels: {"activation": word, **_read(**keys)(config, channels)}


def _merge(word: str) -> SettingsOf:
    return lambda config, channels: {"merge": word, **_read(axis="axis")(config, channels)}


def _transposed(config: Config, channels: int) -> Settings:
    """Return the order of the axes after that of the examples, which stays the first."""
    axes = _setting(config.get("axes"))
    return {"axes": axes[1:]} if isinstance(axes, tuple) and axes[:1] == (0,) else {"axes": axes, "mixes_batch": True}


def _gelu(config: Config, channels: int) -> Settings:
    return {"activation": "gelu_tanh" if config.get("approximate", True) else "gelu"}


def _spread(names: str, kind: str, settings: SettingsOf, ranks: str = "") -> dict[str, tuple[str, SettingsOf]]:
    endings = [f"{rank}D" for rank in ranks] or [""]
    return {name.replace("#", ending): (kind, settings) for name in names.split() for ending in endings}


_KINDS: dict[str, tuple[str, SettingsOf]] = {
    **_spread("Dense", "dense", _activated),
    **_spread("EinsumDense", "dense", _with_activation(equation="equation")),
    **_spread("Conv#", "conv", _conv(), "123"),
    **_spread("Conv#Transpose", "conv transpose", _conv(), "123"),
    **_spread("DepthwiseConv#", "conv", _conv(depthwise=True), "12"),
    **_spread("SeparableConv#", "conv", _conv(separable=True), "12"),
    **_spread("Embedding ReversibleEmbedding", "embedding", _read(mask_zero="mask_zero")),
    **_spread("BatchNormalization SyncBatchNormalization", "batch norm", _norm),
    **_spread("LayerNormalization", "layer norm", _norm),
    **_spread("GroupNormalization", "group norm", _norm),
    **_spread("RMSNormalization", "rms norm", _norm),
    **_spread("PReLU", "prelu", _read()),
    **_spread("SimpleRNN SimpleRNNCell", "rnn", _recurrent(False)),
    **_spread("LSTM LSTMCell CuDNNLSTM", "lstm", _recurrent(True)),
    **_spread("ConvLSTM#", "lstm", _recurrent(True), "123"),
    **_spread("GRU GRUCell", "gru", _recurrent(True, reset=True)),
    "CuDNNGRU": ("gru", lambda config, channels: {**_recurrent(True)(config, channels), "reset_after": True}),
    **_spread("MultiHeadAttention GroupQueryAttention GroupedQueryAttention", "attention", _attention),
    **_spread("Activation", "activation", lambda config, _: {"activation": "linear", **_activated(config, 0)}),
    **_spread("ReLU", "activation", _relu),
    **_spread("LeakyReLU LeakyRelu", "activation", _leaky),
    **_spread("ELU Elu", "activation", _named("elu", alpha="alpha")),
    **_spread("Gelu", "activation", _gelu),
    **_spread("Softmax", "softmax", _named("softmax", axis="axis")),
    **{
        name: ("activation", _named(word))
        for name, word in (
            *(("Relu", "relu"), ("Relu6", "relu6"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh"), ("Silu", "silu")),
            *(("Selu", "selu"), ("HardSigmoid", "hard_sigmoid"), ("HardSilu", "hard_silu"), ("HardTanh", "hard_tanh")),
            *(("Softplus", "softplus"), ("Softsign", "softsign"), ("LogSigmoid", "log_sigmoid"), ("Exp", "exponential")),
        )
    },
    **_spread("Flatten", "flatten", _read(data_format="data_format")),
    **_spread("Reshape", "reshape", _read(shape="target_shape", newshape="newshape")),
    **_spread("Permute", "reshape", _read(axes="dims")),
    **_spread("Transpose", "reshape", _transposed),
    **_spread("MaxPooling#", "pool", _pool("max"), "123"),
    **_spread("AveragePooling#", "pool", _pool("average"), "123"),
    **_spread("GlobalMaxPooling#", "global pool", lambda *_: {"pool": "max"}, "123"),
    **_spread("GlobalAveragePooling#", "global pool", lambda *_: {"pool": "average"}, "123"),
    **_spread("ZeroPadding#", "pad", _read(padding="padding"), "123"),
    **_spread("UpSampling#", "upsample", _read(scale="size", interpolation="interpolation"), "123"),
    **_spread("Dropout AlphaDropout GaussianDropout", "dropout", _read(rate="rate")),
    **_spread("SpatialDropout#", "dropout", _read(rate="rate"), "123"),
    **{name: ("merge", _merge(name.lower())) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    **_spread("Divide TrueDivide", "merge", _merge("divide")),
    **_spread("Concatenate", "merge", _merge("concatenate")),
    **_spread("Dot", "merge", _merge("dot")),
    **_spread("Mean Sum Max", "other", _read(axis="axis", keepdim="keepdims")),
    **_spread("Clip", "other", _read(lowest="x_min", highest="x_max")),
}
"""The kind of each class, layers and functions, and the reader of its config."""
