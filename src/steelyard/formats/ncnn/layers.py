"""The layers of ncnn (`.param`), and the runs of numbers that each loads from the `.bin`, in its order.

    7767517
    LAYERS BLOBS
    TYPE NAME INPUTS OUTPUTS NAME-OF-INPUT... NAME-OF-OUTPUT... 0=64 1=3 -23310=2,0.1,0.2

A setting that is not there has the default of its layer; `-23300 - N` is the list N. Source: `load_param` and `load_model` of
each layer of ncnn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.core.weight import Role
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.storage.source import Source

MAGIC = b"7767517"

_SETTING = re.compile(r"(\d{1,2})=(-?\d{1,10})")
_LINE_COST = 1000
_WORD_COST = 60
"""bytes of memory that a word of a line takes"""

_SPATIAL = {1: "k", 2: "kh kw", 3: "kd kh kw"}
_RANKS = {"": 2, "1D": 1, "3D": 3}
_KINDS = ("", "DepthWise")
_LSTM, _GRU = "[ifog]", "[rzn]"


class Run(NamedTuple):
    """A run of numbers: ncnn's word for it, its shape, whether a flag tells how it is stored, and what it is."""

    word: str
    shape: tuple[int, ...]
    has_flag: bool
    role: Role = Role.OTHER
    axes: str = ""


class Layer(NamedTuple):
    """A line: the type and the name of a layer, and its settings that are integers, by their numbers."""

    kind: str
    name: str
    settings: Mapping[int, int]

    def get(self, number: int, default: int = 0) -> int:
        """Return a setting."""
        return self.settings.get(number, default)


def layers(source: Source) -> Iterator[Layer]:
    """Yield the layers of a `.param`. Raises `FormatError` for a line that is none."""
    budget = Budget(source)
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, too many for the layers of ncnn")
    budget.spend(2 * source.size)
    lines = [line for line in source.read(0, source.size).decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    counts = lines[1].split() if len(lines) > 1 else []
    if len(counts) != 2 or not counts[0].isdecimal() or int(counts[0][:9]) != len(lines) - 2:
        raise FormatError(source.name, f"has {max(len(lines) - 2, 0):,} layers, but not the count of them (partial download?)")
    for line in lines[2:]:
        words = line.split()
        budget.spend(_LINE_COST + _WORD_COST * len(words))
        yield _layer(source, words)


def _layer(source: Source, words: list[str]) -> Layer:
    counts = words[2:4]
    if len(counts) < 2 or not all(count.isdecimal() and len(count) < 7 for count in counts):
        raise FormatError(source.name, f"has a line {quoted(' '.join(words)[:60])}, which does not describe a layer")
    settings = words[4 + sum(map(int, counts)) :]
    pairs = [match for match in map(_SETTING.fullmatch, settings) if match]
    return Layer(words[0], words[1], {int(match[1]): int(match[2]) for match in pairs})


def runs(layer: Layer) -> list[Run] | None:
    """Return the runs that a layer loads; None for a layer whose type is not known to load any."""
    known = _LOADERS.get(layer.kind)
    return None if known is None else [run for run in known(layer) if prod(run.shape)]


def _raw(word: str, *shape: int, role: Role = Role.OTHER, axes: str = "") -> Run:
    return Run(word, shape, False, role, axes)


def _bias(layer: Layer, has_bias: int, length: int) -> list[Run]:
    return [_raw("bias_data", length, role=Role.BIAS, axes="out")] if has_bias else []


def _convolution(rank: int, dynamic: int = 19) -> Callable[[Layer], list[Run]]:
    """Return the loader of a convolution with so many axes of its kernel, unless that is an input by the setting `dynamic`."""

    def load(layer: Layer) -> list[Run]:
        if layer.get(dynamic):
            return []
        width = layer.get(1)
        kernel = [layer.get(21, width), layer.get(11, width), width][3 - rank :] if rank > 1 else [width]
        outputs, size = layer.get(0), layer.get(6)
        made = [_kernel("weight_data", size, outputs, kernel, f"out in {_SPATIAL[rank]}")]
        made += _bias(layer, layer.get(5), outputs)
        term = layer.get(8)
        if not term or not layer.kind.startswith("Convolution"):
            return made
        groups = layer.get(7, 1) if layer.kind == "ConvolutionDepthWise" else outputs
        scales = 1 if layer.kind == "ConvolutionDepthWise" and term % 100 == 2 else groups
        made += [_raw("weight_data_int8_scales", scales), _raw("bottom_blob_int8_scales", 1)]
        return [*made, _raw("top_blob_int8_scales", 1)] if term > 100 else made

    return load


def _kernel(word: str, size: int, outputs: int, kernel: list[int], axes: str) -> Run:
    """Return a kernel in the shape that its settings give, or flat where they do not divide it."""
    each = outputs * prod(kernel)
    if min(each, size) <= 0 or size % each:
        return Run(word, (size,), True, Role.KERNEL)
    return Run(word, (outputs, size // each, *kernel), True, Role.KERNEL, axes)


def _dense(layer: Layer) -> list[Run]:
    outputs = layer.get(0)
    made = [_kernel("weight_data", layer.get(2), outputs, [], "out in"), *_bias(layer, layer.get(1), outputs)]
    if layer.get(8):
        made += [_raw("weight_data_int8_scales", outputs), _raw("bottom_blob_int8_scales", 1)]
    return made


def _embed(layer: Layer) -> list[Run]:
    width, size = layer.get(0), layer.get(3)
    shape = (size // width, width) if width > 0 and not size % width else (size,)
    made = [Run("weight_data", shape, True, Role.EMBEDDING, "vocab out" if len(shape) == 2 else "")]
    made += _bias(layer, layer.get(2), width)
    return [*made, _raw("weight_data_int8_scale", 1)] if layer.get(18) else made


def _recurrent(gates: int, rows: int, letters: str) -> Callable[[Layer], list[Run]]:
    """Return the loader of a recurrent layer of so many gates, and so many rows of the bias."""

    def load(layer: Layer) -> list[Run]:
        outputs, both = layer.get(0), 2 if layer.get(2) == 2 else 1
        hidden = layer.get(3, outputs) if layer.kind == "LSTM" else outputs
        inputs = layer.get(1) // max(both * hidden * gates, 1)
        packed = f"dir {letters}*out in" if letters else "dir out in"
        bias = f"dir {letters} out" if rows == gates and letters else ""
        made = [
            Run("weight_xc_data", (both, hidden * gates, inputs), True, Role.KERNEL, packed),
            Run("bias_c_data", (both, rows, hidden), True, Role.BIAS, bias),
            Run("weight_hc_data", (both, hidden * gates, outputs), True, Role.RECURRENT_KERNEL, packed),
        ]
        if hidden != outputs:
            made.append(Run("weight_hr_data", (both, outputs, hidden), True, Role.KERNEL, "dir out in"))
        if layer.get(8):
            made += [_raw(f"weight_{part}_data_int8_scales", both, hidden * gates) for part in ("xc", "hc")]
        return made

    return load


def _gemm(layer: Layer) -> list[Run]:
    term, (rows, columns, inner) = layer.get(18), (layer.get(number) for number in (7, 8, 9))
    bits = _bits(term)
    made = []
    if layer.get(4) == 1:
        made.append(Run("A_data", (inner, rows) if layer.get(2) else (rows, inner), True, Role.KERNEL))
    if layer.get(5) == 1:
        width = (inner * bits + 7) // 8 if bits else inner
        shape, axes = ((columns, width), "out in") if layer.get(3) else ((inner, columns), "in out")
        made.append(Run("B_data", shape, True, Role.KERNEL, axes))
    shapes = {0: (1,), 1: (rows,), 2: (rows, 1), 3: (rows, columns), 4: (1, columns)}
    if layer.get(6) == 1 and layer.get(10) in shapes:
        made.append(Run("C_data", shapes[layer.get(10)], True, Role.BIAS))
    if bits:
        made += _block_scales("B_data", term, columns, inner)
        return made + ([_raw("B_data_input_scales", inner)] if term % 100 // 10 == 1 else [])
    if term:
        made += [_raw("A_data_int8_scales", rows)] if layer.get(4) == 1 else []
        made += [_raw("B_data_int8_scale", 1)] if layer.get(5) == 1 else []
    return made


def _bits(term: int) -> int:
    """Return the bits of a number that is quantised in blocks; 0 for other ways."""
    return term // 100 if term >= 400 else 0


def _block_scales(word: str, term: int, rows: int, inner: int) -> list[Run]:
    block = {0: 32, 1: 64}.get(term % 10, 128)
    return [_raw(f"{word}_quantize_scales", rows, (inner + block - 1) // block)]


def _attention(layer: Layer) -> list[Run]:
    width, term = layer.get(0), layer.get(18)
    queries = layer.get(2) // max(width, 1)
    sides = {"q": (width, queries), "k": (width, layer.get(3, width)), "v": (width, layer.get(4, width)), "out": (queries, width)}
    bits = _bits(term)
    made = list[Run]()
    for word, (outputs, inputs) in sides.items():
        stored = (outputs, (inputs * bits + 7) // 8) if bits else (outputs, inputs)
        made.append(Run(f"{word}_weight_data", stored, True, Role.KERNEL, "out in"))
        made.append(_raw(f"{word}_bias_data", outputs, role=Role.BIAS, axes="out"))
    if bits:
        for word, (outputs, inputs) in sides.items():
            made += _block_scales(f"{word}_weight_data", term, outputs, inputs)
        if term % 100 // 10 == 1:
            made += [_raw(f"{word}_weight_data_input_scales", inputs) for word, (_, inputs) in sides.items()]
    elif term:
        made += [_raw(f"{word}_weight_data_int8_scales", width) for word in "qkv"] + [_raw("out_weight_data_int8_scale", 1)]
    return made


def _memory(layer: Layer) -> list[Run]:
    width, height, depth, channels = (layer.get(number) for number in (0, 1, 11, 2))
    if depth:
        shape: tuple[int, ...] = (channels, depth, height, width)
    elif channels:
        shape = (channels, height, width)
    else:
        shape = (height, width) if height else (width,)
    return [Run("data", shape, layer.get(21, 1) == 0)]


def _batch_norm(layer: Layer) -> list[Run]:
    words = {"slope": Role.SCALE, "mean": Role.MEAN, "var": Role.VARIANCE, "bias": Role.OFFSET}
    return [_raw(f"{word}_data", layer.get(0), role=role, axes="channel") for word, role in words.items()]


def _norm(length: int, affine: int, *words: str) -> Callable[[Layer], list[Run]]:
    """Return the loader of a norm: the numbers of the settings with its length, and of whether it has weights."""
    roles = {"gamma": Role.SCALE, "beta": Role.OFFSET}

    def load(layer: Layer) -> list[Run]:
        if not layer.get(affine, 1):
            return []
        return [_raw(f"{word}_data", layer.get(length), role=roles[word], axes="channel") for word in words]

    return load


def _scale(layer: Layer) -> list[Run]:
    length = layer.get(0)
    if length == -233:  # the scale is an input
        return []
    made = [_raw("scale_data", length, role=Role.SCALE, axes="channel")]
    return made + ([_raw("bias_data", length, role=Role.OFFSET, axes="channel")] if layer.get(1) else [])


def _plain(**words: tuple[int, int]) -> Callable[[Layer], list[Run]]:
    """Return the loader of runs whose lengths are settings: by their words, the number of a setting and its default."""
    return lambda layer: [_raw(f"{word}_data", layer.get(*setting)) for word, setting in words.items()]


_LOADERS: Mapping[str, Callable[[Layer], list[Run]]] = {
    **{f"Convolution{kind}{deep}": _convolution(rank) for kind in _KINDS for deep, rank in _RANKS.items()},
    **{f"Deconvolution{kind}{deep}": _convolution(rank, 28) for kind in _KINDS for deep, rank in _RANKS.items()},
    "DeformableConv2D": _convolution(2, -1),
    "InnerProduct": _dense,
    "Embed": _embed,
    "LSTM": _recurrent(4, 4, _LSTM),
    "GRU": _recurrent(3, 4, _GRU),
    "RNN": _recurrent(1, 1, ""),
    "Gemm": _gemm,
    "MultiHeadAttention": _attention,
    "MemoryData": _memory,
    "BatchNorm": _batch_norm,
    "GroupNorm": _norm(1, 3, "gamma", "beta"),
    "InstanceNorm": _norm(0, 2, "gamma", "beta"),
    "LayerNorm": _norm(0, 2, "gamma", "beta"),
    "RMSNorm": _norm(0, 2, "gamma"),
    "Scale": _scale,
    "Bias": lambda layer: _bias(layer, 1, layer.get(0)),
    "PReLU": _plain(slope=(0, 0)),
    "Normalize": _plain(scale=(3, 0)),
    "Padding": _plain(per_channel_pad=(6, 0)),
    "Quantize": _plain(scale=(0, 1)),
    "Dequantize": _plain(scale=(0, 1), bias=(1, 0)),
    "Requantize": _plain(scale_in=(0, 1), scale_out=(1, 1), bias=(2, 0)),
}
