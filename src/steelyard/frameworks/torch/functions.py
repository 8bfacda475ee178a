"""The functions of PyTorch as layers: a kind and settings for each, in the words used for modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from steelyard.layers.torch.kinds import FUNCTIONS, padding_of, per_axis

if TYPE_CHECKING:
    from steelyard.core.graph import Setting, Settings


class Call(NamedTuple):
    """A call of a function: its name, its arguments, the tensors among them, and its first result."""

    word: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    tensors: Sequence[torch.Tensor]
    output: torch.Tensor

    def argument(self, place: int, name: str, usual: Any = None) -> Any:
        """Return an argument by its place or its name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, usual)


_OPERATORS = frozenset({"add", "sub", "mul", "div", "truediv", "maximum", "minimum", "max", "min", "true_divide", "subtract"})
_SWAPPED = ("rsub", "rdiv", "rtruediv")
_SAME = {"truediv": "div", "true_divide": "div", "subtract": "sub", "multiply": "mul", "divide": "div"}
PASSING = frozenset(
    {
        *("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda", "contiguous", "clone", "detach", "data"),
        *("alias", "positive", "requires_grad", "resolve_conj", "resolve_neg", "pin_memory", "_pack_padded_sequence"),
        *("_pad_packed_sequence", "pack_padded_sequence", "pad_packed_sequence"),
    }
)
"""Functions that change neither the numbers nor their order, except for the dtype."""


def word_of(function: Callable[..., object]) -> str:
    """Return the name of a function, without the marks of operators and of functions that work in place.

    >>> word_of(torch.Tensor.__iadd__), word_of(torch.relu_), word_of(torch.Tensor.mT.__get__)
    ('add', 'relu', 'mT')
    """
    name = str(getattr(function, "__name__", ""))
    if name == "__get__":
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    plain = name.strip("_")
    # __radd__ and __iadd__ are add, but __rsub__ and __rtruediv__ swap their operands, and are words of their own
    if name.startswith("__") and plain[:1] in "ir" and plain[1:] in _OPERATORS and plain not in _SWAPPED:
        plain = plain[1:]
    return _SAME.get(plain, plain) if name not in PASSING else name


def described(call: Call) -> tuple[str, Settings]:
    """Return the kind and the settings of a function; "other" for one whose kind is not known."""
    word = call.word
    if word in FUNCTIONS:
        return "activation", _activation(call)
    if word in _OPERATORS:
        return _operator(call)
    if word in _RESHAPING and len(call.tensors) == 1:
        return _reshaped(call)
    if word in _TRANSPOSING and len(call.tensors) == 1:
        return _transposed(call)
    stem, rank = (word[:-2], int(word[-2])) if word[-2:] in ("1d", "2d", "3d") else (word, 0)
    kind, settings = _KINDS.get(stem, ("other", _axis))
    if stem == "mean":
        return _mean(call)
    read = settings(call, rank)
    return "global pool" if kind == "pool" and _only_ones(read.get("output_size")) else kind, read


def _only_ones(sizes: Setting) -> bool:
    return isinstance(sizes, tuple) and set(sizes) == {1}


def _plain(value: Any) -> Setting:
    """Return an argument as a setting: a number, a word or a tuple of these; else its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(_plain(each) for each in value)
    if isinstance(value, slice):
        parts = (value.start, value.stop) if value.step is None else (value.start, value.stop, value.step)
        return ":".join("" if part is None else str(part) for part in parts)
    return "..." if value is Ellipsis else "tensor" if isinstance(value, torch.Tensor) else str(value)


def _activation(call: Call) -> Settings:
    name, arguments = FUNCTIONS[call.word]
    settings: Settings = {"activation": name}
    for place, (setting, argument, usual) in enumerate(arguments, start=1):
        settings[setting] = _plain(call.argument(place, argument, usual))
    if call.word == "gelu" and call.kwargs.get("approximate") == "tanh":
        settings["activation"] = "gelu_tanh"
    if call.word == "rrelu":
        lower, upper = call.argument(1, "lower", 1 / 8), call.argument(2, "upper", 1 / 3)
        settings["negative_slope"] = (lower + upper) / 2
    return settings


def _operator(call: Call) -> tuple[str, Settings]:
    """Return a merge of two tensors, or an operation with a number, which is in the settings as `value`."""
    if len(call.tensors) > 1:
        scale = call.kwargs.get("alpha", 1)
        return "merge", {} if scale == 1 else {"scale": _plain(scale)}
    others = [each for each in (*call.args, *call.kwargs.values()) if not isinstance(each, torch.Tensor)]
    return "other", {"value": _plain(others[0])} if others else {}


def _reshaped(call: Call) -> tuple[str, Settings]:
    before, after = tuple(call.tensors[0].shape), tuple(call.output.shape)
    # the first axis is the batch: a reshape that keeps it works on each example
    if len(before) > 1 and len(after) == 2 and before[:1] == after[:1] and after[1] == math.prod(before[1:]):
        return "flatten", {}
    return "reshape", {"shape": after[1:]} if before[:1] == after[:1] else {"shape": after, "mixes_batch": True}


def _transposed(call: Call) -> tuple[str, Settings]:
    """Return the new order of the axes, counted from 1, the first after the batch."""
    count = call.tensors[0].ndim
    # a tensor without memory whose lengths are the numbers of its axes: its shape afterwards is the order
    probe = torch.empty(tuple(range(count)), device="meta")
    order = {"T": lambda: probe.permute(*range(count - 1, -1, -1)), "mT": lambda: probe.mT, "t": probe.t}.get(call.word)
    moved = order() if order else getattr(torch, call.word)(probe, *_axes_of(call), **_named(call))
    axes = tuple(moved.shape)
    return "reshape", {"axes": axes[1:]} if axes[:1] == (0,) else {"axes": axes, "mixes_batch": True}


def _axes_of(call: Call) -> list[Any]:
    rest = [each for each in call.args if not isinstance(each, torch.Tensor)]
    is_spread = call.word == "permute" and rest and not isinstance(rest[0], (tuple, list, torch.Size))
    return [tuple(rest)] if is_spread else rest


def _named(call: Call) -> dict[str, Any]:
    return {name: each for name, each in call.kwargs.items() if not isinstance(each, torch.Tensor)}


def _mean(call: Call) -> tuple[str, Settings]:
    """Return a mean as a global pool if it is that of all spatial axes of images or sequences with their channels first."""
    count, axes = call.tensors[0].ndim, call.argument(1, "dim")
    listed = axes if isinstance(axes, (tuple, list)) else () if axes is None else (axes,)
    if count > 2 and sorted(axis % count for axis in listed) == list(range(2, count)):
        return "global pool", {"pool": "average"}
    return "other", {"axis": _plain(axes), **_kept(call)}


def _kept(call: Call) -> Settings:
    """Return whether a function that makes one number of several keeps their axes, if it does."""
    return {"keepdim": True} if call.argument(2, "keepdim", False) is True else {}


def _axis(call: Call, rank: int) -> Settings:
    """Return the axis on which a function works, if it has one, or the index of a selection."""
    if call.word == "getitem":
        return {"index": _plain(call.argument(1, "index"))}
    given = next((call.kwargs[name] for name in ("dim", "axis", "dims") if name in call.kwargs), None)
    # the position of `dim` among the arguments, where it is not the last one
    place = {"select": 1, "narrow": 1, "unbind": 1, "sum": 1, "amax": 1, "amin": 1, "cumsum": 1, "chunk": 2, "split": 2}
    given = call.argument(place.get(call.word, len(call.args)), "dim", given)
    kept = _kept(call) if call.word in ("sum", "amax", "amin") else {}
    return {} if given is None or isinstance(given, torch.Tensor) else {"axis": _plain(given), **kept}


def _joined(call: Call, rank: int) -> Settings:
    return {"axis": _plain(call.argument(1, "dim", call.kwargs.get("axis", 0)))}


def _conv(call: Call, rank: int) -> Settings:
    is_transposed = call.word.startswith("conv_transpose")
    after = (("output_padding", 0), ("groups", 1), ("dilation", 1)) if is_transposed else (("dilation", 1), ("groups", 1))
    names = (("stride", 1), ("padding", 0), *after)
    given = {name: call.argument(place, name, usual) for place, (name, usual) in enumerate(names, start=3)}
    settings: Settings = {
        "strides": per_axis(given["stride"], rank),
        "padding": padding_of(given["padding"], rank),
        "dilation": per_axis(given["dilation"], rank),
        "groups": given["groups"],
    }
    extra = per_axis(given.get("output_padding", 0), rank)
    return {**settings, "output_padding": extra} if any(extra) else settings


def _pool(word: str) -> Callable[[Call, int], Settings]:
    def settings(call: Call, rank: int) -> Settings:
        if call.word.startswith("adaptive"):
            return {"pool": word, "output_size": per_axis(_plain(call.argument(1, "output_size")), rank)}
        size = call.argument(1, "kernel_size")
        strides = call.argument(2, "stride")
        pooling: Settings = {"pool": word, "size": per_axis(size, rank), "strides": per_axis(strides or size, rank)}
        pooling["padding"] = padding_of(call.argument(3, "padding", 0), rank)
        dilation = per_axis(call.argument(4, "dilation", 1), rank) if word == "max" else (1,)
        if word == "average":
            pooling["count_padding"] = call.argument(5, "count_include_pad", True)
        more: Settings = {"dilation": dilation} if set(dilation) != {1} else {}
        rounds = call.argument(5 if word == "max" else 4, "ceil_mode", False)
        return {**pooling, **more, **({"round_up": True} if rounds else {})}

    return settings


def _softmax(word: str) -> Callable[[Call, int], Settings]:
    return lambda call, _: {"activation": word, "axis": _plain(call.argument(1, "dim"))}


def _bounds(*words: str) -> Callable[[Call, int], Settings]:
    """Return the reader of the bounds of a clamp, `lowest` and `highest` in the order of its arguments."""
    names = {"lowest": "min", "highest": "max"}
    return lambda call, _: {
        word: _plain(bound)
        for place, word in enumerate(words, start=1)
        if (bound := call.argument(place, names[word])) is not None
    }


def _number(setting: str, place: int, name: str, usual: float | None) -> Callable[[Call, int], Settings]:
    return lambda call, _: {setting: _plain(call.argument(place, name, usual))}


def _group_norm(call: Call, rank: int) -> Settings:
    return {"epsilon": call.argument(4, "eps", 1e-5), "groups": call.argument(1, "num_groups")}


def _pad(call: Call, rank: int) -> Settings:
    return {"padding": _plain(call.argument(1, "pad")), "mode": call.argument(2, "mode", "constant")}


def _interpolate(call: Call, rank: int) -> Settings:
    words = (("size", "size"), ("scale", "scale_factor"), ("interpolation", "mode"), ("align_corners", "align_corners"))
    arguments = {setting: call.argument(place, name) for place, (setting, name) in enumerate(words, start=1)}
    arguments["interpolation"] = arguments["interpolation"] or "nearest"
    return {setting: _plain(value) for setting, value in arguments.items() if value is not None}


def _attention(call: Call, rank: int) -> Settings:
    """Return whether attention is causal, and each argument that changes its outputs otherwise."""
    words = ((3, "attn_mask", None), (4, "dropout_p", 0.0), (6, "scale", None), (7, "enable_gqa", False))
    given = {name: call.argument(place, name, usual) for place, name, usual in words}
    changed: Settings = {
        name: _plain(given[name]) for _, name, usual in words if given[name] is not usual and given[name] != usual
    }
    return {"causal": bool(call.argument(5, "is_causal", False)), **changed}


def _no_settings(call: Call, rank: int) -> Settings:
    return {}


_RESHAPING = frozenset({"view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "ravel", "view_as", "reshape_as"})
_TRANSPOSING = frozenset({"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "T", "mT", "t"})
_KINDS: dict[str, tuple[str, Callable[[Call, int], Settings]]] = {
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), ("merge", _joined)),
    **{word: ("softmax", _softmax(word)) for word in ("softmax", "log_softmax", "softmin")},
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout"), ("dropout", _number("rate", 1, "p", 0.5))),
    "linear": ("dense", _no_settings),
    "conv": ("conv", _conv),
    "conv_transpose": ("conv transpose", _conv),
    "layer_norm": ("layer norm", _number("epsilon", 4, "eps", 1e-5)),
    "batch_norm": ("batch norm", _number("epsilon", 7, "eps", 1e-5)),
    "group_norm": ("group norm", _group_norm),
    "embedding": ("embedding", _no_settings),
    "prelu": ("prelu", _no_settings),
    **dict.fromkeys(("max_pool", "adaptive_max_pool"), ("pool", _pool("max"))),
    **dict.fromkeys(("avg_pool", "adaptive_avg_pool"), ("pool", _pool("average"))),
    "scaled_dot_product_attention": ("other", _attention),
    **dict.fromkeys(("clamp", "clip"), ("other", _bounds("lowest", "highest"))),
    "clamp_min": ("other", _bounds("lowest")),
    "clamp_max": ("other", _bounds("highest")),
    **dict.fromkeys(_SWAPPED, ("other", lambda call, _: {"value": _plain(call.argument(1, "other")), "value_first": True})),
    "pow": ("other", _number("value", 1, "exponent", None)),
    "masked_fill": ("other", lambda call, _: {"value": _plain(call.argument(2, "value"))}),
    **dict.fromkeys(("matmul", "bmm"), ("other", _no_settings)),
    "pad": ("pad", _pad),
    "interpolate": ("upsample", _interpolate),
}
