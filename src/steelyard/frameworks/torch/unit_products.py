"""What products do with the labels of their arguments: of matrices, convolutions, and attention (see `units`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from steelyard.core.coupling import NEUTRAL, Axis
from steelyard.frameworks.torch.unit_labels import MEANS, Parts, common, first_of, join, listed, mark_read, moved, varying

if TYPE_CHECKING:
    from steelyard.frameworks.torch.units import UnitTracer

_WITHIN = "they are a part of the axes of {} that cannot be followed"


def product(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """A product of matrices, with a bias where the function adds one."""
    bias, left, right = args if word in ("addmm", "baddbmm", "addmv", "addbmm") else (None, *args[:2])
    if word in ("mv", "addmv"):
        return tracer.unknown(word, args, kwargs, output)
    made = _multiplied(tracer, left, right, output)
    if bias is not None and tracer.parts(bias):
        labels = tracer.parts(bias)[0].expand(output.shape)
        join(tracer, made, labels)
        made = first_of(made, labels)
    return [[made]]


def _multiplied(tracer: UnitTracer, left: torch.Tensor, right: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    mine, theirs = tracer.parts(left), tracer.parts(right)
    if len(mine) > 1 and len(theirs) > 1:
        for part in (*mine, *theirs):
            tracer.fix(part, "a kernel is computed from them")
        return tracer.fixed_like(output, "a kernel is computed from them")
    if len(theirs) > 1 or (len(theirs) == 1 and right in tracer.names):
        return _by_kernel(tracer, left, mine, theirs, output)
    if len(mine) > 1 or (len(mine) == 1 and left in tracer.names):
        turned = _by_kernel(tracer, right.mT, [p.mT for p in theirs], [p.mT for p in mine], output.mT)
        return turned.mT
    return _by_activation(tracer, mine, theirs, output)


def _by_kernel(tracer: UnitTracer, numbers: torch.Tensor, given: Parts, kernel: Parts, output: torch.Tensor) -> torch.Tensor:
    """Activations (..., n, k) by a kernel (..., k, m), which reads k units and gives m."""
    made = torch.full((), NEUTRAL).expand(output.shape)
    for part in kernel:
        varies = varying(part)
        inward, outward = part.ndim - 2 in varies, part.ndim - 1 in varies
        if inward and outward:
            tracer.fix(part, _WITHIN.format("a kernel"))
        elif inward:
            ids = part.select(-1, 0).unsqueeze(-2)
            mark_read(tracer, ids, numbers.reshape(-1, numbers.shape[-1]))
            if given:
                join(tracer, given[0], ids)
        elif varies:
            made = part.narrow(-2, 0, 1).expand(output.shape)
    return made


def _by_activation(tracer: UnitTracer, mine: Parts, theirs: Parts, output: torch.Tensor) -> torch.Tensor:
    """A product of activations binds what it sums over, such as the places inside a head, and both factors."""
    made = torch.full((), NEUTRAL).expand(output.shape)
    for parts, axis in ((mine, -1), (theirs, -2)):
        for labels in parts:
            narrow = moved(labels)
            top = narrow.amax(axis, keepdim=True)
            tracer.couplings.join(narrow.numpy(), top.numpy())
            wide = top.expand(output.shape)
            join(tracer, made, wide)
            made = first_of(made, wide)
    return made


def attention(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """The fused attention: places inside a head belong together, and query, key and value too."""
    first = listed(output)[0]
    made: torch.Tensor | None = None
    for tensor in args[:3]:
        for labels in tracer.parts(tensor):
            narrow = moved(labels)
            top = narrow.amax((-2, -1), keepdim=True)
            tracer.couplings.join(narrow.numpy(), top.numpy())
            if made is not None:
                join(tracer, made, top)
            made = top if made is None else made
    assert made is not None
    return [[made.expand(first.shape)]]


def convolution(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """A convolution: its channels go by the kernel, and its places, which it mixes, have those of the whole image."""
    given, kernel, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    labels = tracer.parts(given)
    rank = kernel.ndim - 2
    taken = (
        common(tracer, labels[0], range(labels[0].ndim - rank, labels[0].ndim), MEANS.format(tracer.where(word)))
        if labels
        else None
    )
    taken = None if taken is None else taken.expand(*taken.shape[: -rank - 1], given.shape[-rank - 1], *[1] * rank)
    along = {axis: next((part for part in tracer.parts(kernel) if varying(part) == {axis}), None) for axis in (0, 1)}
    channels = _grouped if groups > 1 else _plain
    call = _Call(kernel, given.movedim(-rank - 1, -1).reshape(-1, given.shape[-rank - 1]), transposed, groups, _pads(args))
    made = channels(tracer, call, taken, along)
    shape = [1] * output.ndim
    shape[-rank - 1] = output.shape[-rank - 1]
    wide = torch.full(shape, NEUTRAL) if made is None else made.reshape(shape)
    if bias is not None and tracer.parts(bias):
        own = tracer.parts(bias)[0].reshape(shape)
        join(tracer, wide, own)
        wide = first_of(wide, own)
    return [[wide.expand(output.shape)]]


class _Call(NamedTuple):
    """A convolution: its kernel, the numbers (samples, channels) that it reads, and whether it reads padding."""

    kernel: torch.Tensor
    numbers: torch.Tensor
    transposed: bool
    groups: int
    padded: bool


def _pads(args: Any) -> bool:
    """Whether outputs at the border differ from those inside, even if all inputs are one constant."""
    return bool(args[6]) or any(args[4])


def _plain(tracer: UnitTracer, call: _Call, taken: torch.Tensor | None, along: Any) -> torch.Tensor | None:
    inward, outward = (along[0], along[1]) if call.transposed else (along[1], along[0])
    if inward is not None:
        mark_read(tracer, inward, call.numbers, padded=call.padded)
        if taken is not None:
            join(tracer, taken.flatten(-call.kernel.ndim + 1), moved(inward).reshape(-1))
    return None if outward is None else moved(outward).reshape(-1)


def _grouped(tracer: UnitTracer, call: _Call, taken: torch.Tensor | None, along: Any) -> torch.Tensor | None:
    """A convolution in groups: a depthwise one binds each input to its outputs, in others each group loses equally many."""
    kernel, groups = call.kernel, call.groups
    outward = moved(along[0]).reshape(-1) if along[0] is not None else None
    channels = None if taken is None else taken.flatten(-kernel.ndim + 1).reshape(-1, taken.shape[-kernel.ndim + 1])
    if outward is None or channels is None or (call.transposed and kernel.shape[1] > 1) or kernel not in tracer.names:
        for part in (*tracer.parts(kernel), *([] if taken is None else [taken])):
            tracer.fix(part, "a convolution in groups takes them")
        return outward if not call.transposed else None
    if kernel.shape[1] == 1:
        tracer.couplings.join(channels.repeat_interleave(len(outward) // groups, 1).numpy(), outward.numpy())
        return outward
    axis = Axis(tracer.names[kernel], 1, groups)
    ids = tracer.couplings.axis(axis, channels.shape[1])
    tracer.couplings.join(channels.numpy(), ids)
    mark_read(tracer, torch.from_numpy(ids), call.numbers, padded=call.padded)
    tracer.couplings.even += [ids.reshape(groups, -1), outward.numpy().reshape(groups, -1)]
    return outward
