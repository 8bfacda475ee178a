"""Operators on images and sequences with kernels, pools and norms, whose settings are already read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.program.linear import Conv
from steelyard.device.program.operators.tensors import Call, Data
from steelyard.device.program.windows import Pad, Pool

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Padding = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """The windows of a convolution or pool along each spatial axis; `padding` is before and after, as in `Pool`."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]


def same_padding(space: Sequence[int], windows: Windows, *, more_after: bool = True) -> Padding:
    """Return the padding with which each stride has a window; an odd place is after the last unless `more_after` is false."""
    made = []
    for length, size, step, gap in zip(space, windows.size, windows.strides, windows.dilation, strict=True):
        whole = max((-(-length // step) - 1) * step + gap * (size - 1) + 1 - length, 0)
        less, more = whole // 2, whole - whole // 2
        made.append((less, more) if more_after else (more, less))
    return tuple(made)


def rounded_up(space: Sequence[int], windows: Windows) -> tuple[int, ...]:
    """Return the places after the padding that windows reach where their number is rounded up.

    A window that would begin after the image and the padding before it is left out.
    """
    made = []
    for length, size, step, (before, after), gap in zip(space, *windows, strict=True):
        reach = gap * (size - 1) + 1
        count = -(-(length + before + after - reach) // step) + 1
        count -= (count - 1) * step >= length + before
        made.append(max((count - 1) * step + reach - length - before - after, 0))
    return tuple(made)


def convolved(call: Call, data: Data, kernel: Array, bias: Array | None, windows: Windows, channels: str) -> Data:
    """Return a convolution with a kernel (out, in / groups, *space)."""
    shape = call.building.shapes[data.place]
    given = shape[0] if channels == "first" else shape[-1]
    if kernel.ndim != len(shape) + 1 or given % kernel.shape[1]:
        call.refuse(f"has a kernel of shape {kernel.shape} for an input of shape {shape}")
    groups = given // kernel.shape[1]
    if len(kernel) % groups:
        call.refuse(f"has {groups} groups of {len(kernel)} outputs")
    shared = call.building.shared
    operation = Conv(
        shared(kernel),
        None if bias is None else shared(bias),
        windows.strides,
        windows.padding,
        windows.dilation,
        groups,
        channels,
    )
    return Data(call.add(operation, data.place))


def pooled(call: Call, data: Data, word: str, windows: Windows, channels: str, *, counts: bool, rounds_up: bool) -> Data:
    """Return a pool; `counts` is whether an average counts padding. What rounding up adds to it never counts."""
    shape = call.building.shapes[data.place]
    space = shape[1:] if channels == "first" else shape[:-1]
    beyond = rounded_up(space, windows) if rounds_up else (0,) * len(space)
    place, padding = data.place, windows.padding
    if any(beyond):
        if word == "average" and counts and any(map(any, padding)):  # the padding counts as the image does
            around = ((0, 0), *padding) if channels == "first" else (*padding, (0, 0))
            place, padding = call.add(Pad(around, 0.0), place), ((0, 0),) * len(space)
        counts = word == "max"
        padding = tuple((before, after + more) for (before, after), more in zip(padding, beyond, strict=True))
    return Data(call.add(Pool(word, windows.size, windows.strides, padding, windows.dilation, counts, channels), place))
