"""The `.cfg` of a net of Darknet: the settings of its layers, from which the shapes of their weights follow.

    # a comment, or ;
    [net]
    height=416
    [convolutional]
    filters=32

Source: `parser.c` of Darknet, and of its fork by AlexeyAB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.limits import is_possible
from steelyard.core.weight import Role
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    Settings = Mapping[str, str]
    Size = tuple[int, int, int]
    """Height, width and channels of what a layer gives."""


class Part(NamedTuple):
    """A run of numbers: its layer, Darknet's word for it, its shape and what it is."""

    layer: str
    word: str
    shape: tuple[int, ...]
    role: Role
    axes: str


class _Layer(NamedTuple):
    """A section of the file, and what the layers before it give."""

    kind: str
    settings: Settings
    before: Size
    sizes: Sequence[Size]
    file: str

    def number(self, key: str, default: int) -> int:
        """Return a setting that is an integer."""
        word = self.settings.get(key, "").strip()
        if not word:
            return default
        if not word.lstrip("-").isdecimal() or len(word) > 9:
            raise FormatError(self.file, f"{quoted(key)} of a layer {quoted(self.kind)} is {quoted(word)}, not a number")
        return int(word)

    def layers(self, key: str) -> list[Size]:
        """Return what the layers give that a setting names, from this one backwards if below zero."""
        words = self.settings.get(key, "").replace(" ", "").split(",")
        places = [int(word) for word in words if word.lstrip("-").isdecimal() and len(word) < 9]
        places = [place + len(self.sizes) if place < 0 else place for place in places]
        if not places or not all(0 <= place < len(self.sizes) for place in places):
            raise FormatError(self.file, f"a layer {quoted(self.kind)} names layers that are not before it")
        return [self.sizes[place] for place in places]


def sections(source: Source) -> list[tuple[str, Settings]]:
    r"""Return the sections of a file, and their settings.

    >>> from steelyard.storage.source import from_bytes
    >>> sections(from_bytes(b"[net]\nheight = 4 # pixels\n[avgpool]"))
    [('net', {'height': '4'}), ('avgpool', {})]
    """
    found: list[tuple[str, dict[str, str]]] = []
    for line in source.read(0, source.size).decode("utf-8", "replace").splitlines():
        text = line.partition("#")[0].partition(";")[0].strip()
        if text.startswith("["):
            found.append((text.strip("[]").strip().lower(), {}))
        elif "=" in text and found:
            key, _, value = text.partition("=")
            found[-1][1][key.strip()] = value.strip()
    if not found or found[0][0] not in ("net", "network"):
        raise FormatError(source.name, "does not begin with the section [net] of a net of Darknet")
    return [*found]


def parts(listed: Sequence[tuple[str, Settings]], file: str) -> Iterator[Part]:
    """Yield the runs of numbers of all layers, in their order. Raises `FormatError` for a layer whose weights are not known."""
    net = _Layer("net", listed[0][1], (0, 0, 0), (), file)
    size = (net.number("height", 1), net.number("width", 1), net.number("channels", net.number("inputs", 1)))
    sizes: list[Size] = []
    for number, (kind, settings) in enumerate(listed[1:]):
        kind = _SHORT.get(kind, kind)  # noqa: PLW2901 - the same kind by its long word
        layer = _Layer(kind, settings, size, sizes, file)
        if kind not in _KINDS or settings.get("weights_type", "none") not in ("none", ""):
            raise FormatError(
                file, f"has a layer {quoted(kind)}, whose weights are not known; convert the net to ONNX, and open that"
            )
        size, runs = _KINDS[kind](layer)
        if not is_possible(size) or not all(is_possible(shape) for _, shape, _, _ in runs):
            raise FormatError(file, f"has a layer {quoted(kind)} of the impossible size {list(size)}")
        for word, shape, role, axes in runs:
            yield Part(f"{number}.{kind}", word, shape, role, axes)
        sizes.append(size)


if TYPE_CHECKING:
    Run = tuple[str, tuple[int, ...], Role, str]
    Found = tuple[Size, list[Run]]


def _norm(count: int) -> list[Run]:
    words = {"scales": Role.SCALE, "rolling_mean": Role.MEAN, "rolling_variance": Role.VARIANCE}
    return [(word, (count,), role, "channel") for word, role in words.items()]


def _has_norm(layer: _Layer) -> bool:
    return layer.number("batch_normalize", 0) != 0


def _biases(layer: _Layer, count: int) -> Run:
    return ("biases", (count,), Role.OFFSET, "channel") if _has_norm(layer) else ("biases", (count,), Role.BIAS, "out")


def _stepped(layer: _Layer, size: int, padding: int, count: int) -> Size:
    stride = max(layer.number("stride", 1), 1)
    steps = max(layer.number("stride_y", stride), 1), max(layer.number("stride_x", stride), 1)
    height, width = ((length + padding - size) // step + 1 for length, step in zip(layer.before, steps, strict=False))
    return max(height, 1), max(width, 1), count


def _convolutional(layer: _Layer) -> Found:
    count, size, groups = layer.number("filters", 1), max(layer.number("size", 1), 1), max(layer.number("groups", 1), 1)
    if layer.before[2] % groups or layer.number("share_index", 0) or layer.number("xnor", 0):
        raise FormatError(layer.file, "has a convolution with shared or binary weights, or with groups that do not fit")
    dilation = max(layer.number("dilation", 1), 1)
    padding = size // 2 * dilation if layer.number("pad", 0) else layer.number("padding", 0)
    kernel = ("weights", (count, layer.before[2] // groups, size, size), Role.KERNEL, "out in kh kw")
    runs = [_biases(layer, count), *(_norm(count) if _has_norm(layer) else []), kernel]
    return _stepped(layer, dilation * (size - 1) + 1, 2 * padding, count), runs


def _connected(layer: _Layer) -> Found:
    count, inputs = layer.number("output", 1), layer.before[0] * layer.before[1] * layer.before[2]
    kernel = ("weights", (count, inputs), Role.KERNEL, "out in")
    return (1, 1, count), [_biases(layer, count), kernel, *(_norm(count) if _has_norm(layer) else [])]


def _pool(layer: _Layer) -> Found:
    size = layer.number("size", max(layer.number("stride", 1), 1))
    padding = layer.number("padding", size - 1)
    channels = layer.number("out_channels", 1) if layer.number("maxpool_depth", 0) else layer.before[2]
    return _stepped(layer, size, padding, channels), []


def _route(layer: _Layer) -> Found:
    named = layer.layers("layers")
    groups = max(layer.number("groups", 1), 1)
    return (named[0][0], named[0][1], sum(channels for _, _, channels in named) // groups), []


def _upsample(layer: _Layer) -> Found:
    stride = layer.number("stride", 2)
    return (layer.before[0] * stride, layer.before[1] * stride, layer.before[2]), []


def _reorg(layer: _Layer) -> Found:
    stride, (height, width, channels) = max(layer.number("stride", 1), 1), layer.before
    if layer.number("reverse", 0):
        return (height * stride, width * stride, channels // stride**2), []
    return (height // stride, width // stride, channels * stride**2), []


def _same(layer: _Layer) -> Found:
    return layer.before, []


_SHORT = {"conv": "convolutional", "conn": "connected", "max": "maxpool", "maxpool_layer": "maxpool", "avg": "avgpool"}
_SAME = (
    *("shortcut", "yolo", "gaussian_yolo", "region", "detection", "softmax", "soft", "cost", "dropout", "activation", "active"),
    *("normalization", "lrn", "logistic", "l2norm", "iseg", "empty", "silence", "sam", "noise"),
)
_KINDS: Mapping[str, Callable[[_Layer], Found]] = {
    "convolutional": _convolutional,
    "connected": _connected,
    "maxpool": _pool,
    "local_avgpool": _pool,
    "avgpool": lambda layer: ((1, 1, layer.before[2]), []),
    "route": _route,
    "upsample": _upsample,
    "reorg": _reorg,
    "reorg3d": _reorg,
    "scale_channels": lambda layer: (layer.layers("from")[0], []),
    **dict.fromkeys(_SAME, _same),
}
