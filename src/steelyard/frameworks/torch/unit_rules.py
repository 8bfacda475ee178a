"""What each function of PyTorch does with the labels of its arguments (see `units`).

A rule takes the tracer, the word of the function, its arguments and its output, and returns the parts of each output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from steelyard.core.coupling import NEUTRAL
from steelyard.frameworks.torch.unit_labels import MEANS, Parts, common, first_of, join, listed, varying
from steelyard.frameworks.torch.unit_products import attention, convolution, product

if TYPE_CHECKING:
    from steelyard.frameworks.torch.units import UnitTracer

_CONSTANT = "a constant of the net has a number for each of them"
_NORMALISED = "{} normalises over them, and its mean and variance would change"


def _same(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    return [tracer.parts(args[0])]


def _rerun(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """Move labels as the function moves numbers."""
    listed = isinstance(args[0], (list, tuple))
    tensors = list(args[0]) if listed else [args[0]]
    held = [tracer.parts(tensor) for tensor in tensors]
    count = max(map(len, held))
    if listed and count > 1:
        return tracer.unknown(word, args, kwargs, output)
    made = []
    for nth in range(count):
        labels = [parts[nth] if parts else torch.full(t.shape, NEUTRAL) for parts, t in zip(held, tensors, strict=True)]
        labels = [part.to(torch.int64) for part in labels]
        made.append(_again(word, labels if listed else labels[0], args[1:], kwargs))
    outputs = [output] if isinstance(output, torch.Tensor) else list(output)
    return [[part if isinstance(part, torch.Tensor) else part[at] for part in made] for at in range(len(outputs))]


def _again(word: str, labels: Any, more: Any, kwargs: Any) -> Any:
    if word in ("view", "unsafe_view", "reshape", "reshape_alias"):
        return labels.reshape(tuple(more[0]))
    if word == "constant_pad_nd":
        return torch.ops.aten.constant_pad_nd(labels, more[0], NEUTRAL)
    more = [tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf, each) for each in more]
    name = {"unsafe_split": "split", "unsafe_chunk": "chunk", "copy": "clone"}.get(word, word)
    return getattr(torch.ops.aten, name)(labels, *more, **kwargs)


def _pointwise(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """Join the labels of numbers that meet; a constant with different numbers for them keeps them."""
    if not isinstance(output, torch.Tensor):
        return tracer.unknown(word, args, kwargs, output)
    tensors = [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor)]
    single = [t for t in tensors if len(tracer.parts(t)) == 1]
    several = [t for t in tensors if len(tracer.parts(t)) > 1]
    if several and not single:
        return [_axis_by_axis(tracer, several, output.shape)]
    made = None
    for tensor in single:
        labels = tracer.parts(tensor)[0].expand(output.shape)
        if made is not None:
            join(tracer, made, labels)
        made = labels if made is None else first_of(made, labels)
    assert made is not None
    for tensor in several:
        for part in tracer.parts(tensor):
            wide = part.expand(output.shape)
            if varying(wide) <= varying(made):
                join(tracer, made, wide)
    for tensor in tensors:
        if not tracer.parts(tensor) and tensor.ndim and not _is_uniform(tensor):
            _keep_varied(tracer, made, tensor)
    return [[made]]


def _axis_by_axis(tracer: UnitTracer, tensors: list[torch.Tensor], shape: torch.Size) -> Parts:
    """Combine parameters: the labels of the axes that vary alike are joined."""
    first, *others = ([part.expand(shape) for part in tracer.parts(tensor)] for tensor in tensors)
    for parts in others:
        for part in parts:
            for own in first:
                if varying(own) == varying(part):
                    join(tracer, own, part)
    return list(first)


def _is_uniform(tensor: torch.Tensor) -> bool:
    return tensor.numel() <= 1 or bool((tensor == tensor.reshape(-1)[0]).all())


def _keep_varied(tracer: UnitTracer, labels: torch.Tensor, constant: torch.Tensor) -> None:
    shift = labels.ndim - constant.ndim
    if any(axis >= shift and constant.shape[axis - shift] > 1 for axis in varying(labels)):
        tracer.fix(labels, _CONSTANT)


def _reduced(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """A function that computes one number from several along some axes, such as a mean."""
    (labels, *rest), tensors = tracer.parts(args[0]), listed(output)
    axes = args[1] if len(args) > 1 and isinstance(args[1], (int, list, tuple)) else kwargs.get("dim")
    axes = range(labels.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    if rest or isinstance(axes, bool):
        return tracer.unknown(word, args, kwargs, output)
    made = common(tracer, labels, list(axes), MEANS.format(tracer.where(word)))
    if tensors[0].ndim < labels.ndim:
        made = made.squeeze(tuple(axis % labels.ndim for axis in axes))
    return [[made.expand(tensor.shape)] for tensor in tensors]


def _along(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """A function that mixes numbers along one axis, such as a softmax."""
    (labels, *_), axis = tracer.parts(args[0]), args[1] if len(args) > 1 else -1
    common(tracer, labels, [axis], MEANS.format(tracer.where(word)))
    return [[labels] for _ in listed(output)]


def _spatial(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """Pooling, resizing and padding inside each channel."""
    rank = next((int(mark) for mark in "123" if f"{mark}d" in word), 0)
    labels = tracer.parts(args[0])[0]
    made = common(tracer, labels, range(labels.ndim - rank, labels.ndim), MEANS.format(tracer.where(word)))
    return [[made.expand(tensor.shape)] for tensor in listed(output)]


def _batch_norm(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    labels = tracer.parts(args[0])
    made = labels[0] if labels else None
    channels = args[0].shape[1] if args[0].ndim > 1 else 0
    for tensor in args[1:]:
        for part in tracer.parts(tensor):
            wide = part.reshape(1, -1, *[1] * (args[0].ndim - 2))
            if made is not None and wide.shape[1] == channels:
                join(tracer, made, wide)
    return [[made]] if made is not None else []


def _layer_norm(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    labels, rank = tracer.parts(args[0])[0], len(args[1])
    common(tracer, labels, range(-rank, 0), _NORMALISED.format(tracer.where(word)))
    for tensor in args[2:4]:
        for part in tracer.parts(tensor):
            join(tracer, labels, part)
    return [[labels]]


def _group_norm(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    labels, channels, groups = tracer.parts(args[0])[0], args[4], args[6]
    axes = [axis for axis in range(labels.ndim) if axis != 1]
    made = common(tracer, labels, axes, _NORMALISED.format(tracer.where(word))).reshape(-1).expand(channels)
    for tensor in args[1:3]:
        for part in tracer.parts(tensor):
            join(tracer, made, part.reshape(-1))
    together = made.reshape(groups, -1)
    tracer.couplings.join(together.numpy(), together[:, :1].numpy())
    return [[labels]]


def _glu(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """The first half of an axis, times the gate that the second half is."""
    (labels, *_), axis = tracer.parts(args[0]), args[1] if len(args) > 1 else -1
    half = labels.shape[axis] // 2
    made = labels.narrow(axis, 0, half)
    join(tracer, made, labels.narrow(axis, half, half))
    return [[made]]


def _embedding(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    made = next((part for part in tracer.parts(args[0]) if varying(part) == {1}), None)
    if made is None:
        return tracer.unknown(word, args, kwargs, output)
    return [[made[0].expand(output.shape)]]


def _new(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    """A constant of the shape of another tensor has no labels."""
    return [[] for _ in listed(output)]


def _copied(tracer: UnitTracer, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
    parts = tracer.parts(args[1])
    return [[part.expand(output.shape) for part in parts]] if parts else [tracer.parts(args[0])]


_POINTWISE = "prelu_kernel masked_fill where gelu silu leaky_relu elu hardtanh softplus threshold clamp lerp addcmul addcdiv"
_SAME = "detach alias clone to_copy contiguous lift_fresh dropout native_dropout feature_dropout"
_RERUN = (
    "view unsafe_view reshape reshape_alias t transpose permute expand unsqueeze squeeze slice select split unsafe_split "
    "split_with_sizes chunk unsafe_chunk unbind cat stack flip roll repeat repeat_interleave index index_select narrow "
    "constant_pad_nd pixel_shuffle pixel_unshuffle channel_shuffle diagonal unfold tril triu unflatten"
)
_REDUCED = "mean sum amax amin max min var std prod logsumexp linalg_vector_norm norm median argmax argmin any all"
_ALONG = "softmax log_softmax cumsum cumprod sort topk"
_SPATIAL = (
    "max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices max_pool1d max_pool2d max_pool3d avg_pool1d "
    "avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d "
    "upsample_linear1d upsample_trilinear3d reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d"
)
_NEW = "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty bernoulli"
_NORMS = "native_batch_norm native_batch_norm_legit native_batch_norm_legit_no_training cudnn_batch_norm batch_norm_with_update"

RULES: dict[str, Callable[..., Sequence[Parts]]] = {
    "pointwise": _pointwise,
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_RERUN.split(), _rerun),
    **dict.fromkeys(_REDUCED.split(), _reduced),
    **dict.fromkeys(_ALONG.split(), _along),
    **dict.fromkeys(_SPATIAL.split(), _spatial),
    **dict.fromkeys(_NEW.split(), _new),
    **dict.fromkeys(_NORMS.split(), _batch_norm),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv"), product),
    **dict.fromkeys(("convolution", "convolution_overrideable"), convolution),
    **dict.fromkeys(("scaled_dot_product_flash_attention_for_cpu", "scaled_dot_product_attention_math"), attention),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(_POINTWISE.split(), _pointwise),
    "glu": _glu,
    "embedding": _embedding,
    "copy": _copied,
}
"""The rule of each function, by its name without underscores around it; "pointwise" is that of all functions number by number."""
