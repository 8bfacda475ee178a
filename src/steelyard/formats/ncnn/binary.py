"""The layers of ncnn in binary (`.param.bin`), as `ncnn2mem` and pnnx write them: without the names, so a layer has its place.

    int32 7767517, layers, blobs
    of each layer int32: its type, inputs, outputs, the blob of each input, and of each output; then settings, up to -233
    setting    its number, and 4 bytes; or -23300 less its number, a length, and 4 bytes for each

The types are ncnn's layers in the order in which they came. Source: `load_param_bin` of ncnn's `net.cpp` and `paramdict.cpp`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import FormatError
from steelyard.formats.ncnn.layers import Layer

if TYPE_CHECKING:
    from steelyard.storage.source import Source

MAGIC = (7767517).to_bytes(4, "little")

_END, _LISTS = -233, -23300
_SETTINGS = 64
_COST = 60
"""bytes of memory that an integer takes"""
_LAYER_COST = 1000
_KINDS = {
    2: "BatchNorm",
    3: "Bias",
    6: "Convolution",
    8: "Deconvolution",
    12: "Embed",
    15: "InnerProduct",
    19: "MemoryData",
    23: "PReLU",
    29: "Scale",
    38: "RNN",
    39: "LSTM",
    42: "ConvolutionDepthWise",
    43: "Padding",
    46: "Normalize",
    51: "DeconvolutionDepthWise",
    53: "InstanceNorm",
    57: "Quantize",
    58: "Dequantize",
    63: "Requantize",
    74: "Gemm",
    75: "GroupNorm",
    76: "LayerNorm",
    78: "GRU",
    79: "MultiHeadAttention",
    81: "Convolution1D",
    83: "ConvolutionDepthWise1D",
    84: "Convolution3D",
    85: "ConvolutionDepthWise3D",
    88: "Deconvolution1D",
    89: "DeconvolutionDepthWise1D",
    90: "Deconvolution3D",
    91: "DeconvolutionDepthWise3D",
    93: "DeformableConv2D",
    104: "RMSNorm",
}
"""The places of the layers that load weights; the tests have them from ncnn itself."""


def binary_layers(source: Source) -> Iterator[Layer]:
    """Yield the layers of a `.param.bin`. Raises `FormatError` for one that is cut off or damaged."""
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, too many for the layers of ncnn")
    numbers = _Numbers(source)
    _, count, _ = numbers.take(3)
    for place in range(count):
        kind, inputs, outputs = numbers.take(3)
        numbers.take(max(inputs, 0) + max(outputs, 0))
        numbers.budget.spend(_LAYER_COST)
        yield Layer(_KINDS.get(kind, f"type {kind}"), str(place), dict(_settings(numbers)))
    numbers.require_end()


def _settings(numbers: _Numbers) -> Iterator[tuple[int, int]]:
    while (number := numbers.one()) != _END:
        if number <= _LISTS:
            numbers.take(max(numbers.one(), 0))
        elif 0 <= number < _SETTINGS:
            yield number, numbers.one()
        else:
            numbers.refuse(f"has the setting {number}, which ncnn does not have")


class _Numbers:
    """Integers of 4 bytes, one after another."""

    __slots__ = ("at", "budget", "data", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.budget = Budget(source)
        self.budget.spend(2 * source.size)
        self.data = source.read(0, source.size)
        self.at = 0

    def take(self, count: int) -> tuple[int, ...]:
        """Return the next integers."""
        if 4 * (self.at + count) > len(self.data):
            self.refuse(f"ends within its layers, at {self.source.size:,} bytes (partial download?)")
        self.budget.spend(_COST * (1 + count))
        found = struct.unpack_from(f"<{count}i", self.data, 4 * self.at)
        self.at += count
        return found

    def one(self) -> int:
        """Return the next integer."""
        return self.take(1)[0]

    def refuse(self, what: str) -> NoReturn:
        """Raise an error at the place that is read next."""
        raise FormatError(self.source.name, what, 4 * self.at)

    def require_end(self) -> None:
        """Raise an error for a file that goes on after its layers."""
        if 4 * self.at != self.source.size:
            self.refuse(f"goes on after its layers, to byte {self.source.size:,}")
