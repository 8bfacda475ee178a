"""What objects around a tensor in a pickle say about its numbers, kept as the encoding of the tensor.

| object | encoding of the tensor |
|---|---|
| a hook of weight norm | "weight norm" of the direction |
| a hook of spectral norm | "spectral norm along axis 1" of the left vector |
| a tensor of torchao | "Int8Tensor float32 32x64 by 1x64": class, type, shape and block; those of tensors inside follow |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Global, Record, class_of, is_args, shape_of
from steelyard.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.codecs.pickle.walk import Path

    Notes = dict[Path, str]
    """The encoding of the tensors at or below a path."""

_SUBCLASS = "torch._tensor._rebuild_from_type_v2"
_NUMBERS = {"scaler_block_size": "of", "bit_width": "bits", "pack_dim": "along"}
_DOMAINS = {1: "integer", 2: "float", 3: "none"}
_AXES, _WORD, _DEPTH = 8, 60, 64
_WEIGHT_NORM = "torch.nn.utils.weight_norm.WeightNorm"
_SPECTRAL_NORM = "torch.nn.utils.spectral_norm.SpectralNorm"


def hook_notes(module: Record) -> Iterator[tuple[str, str]]:
    """Yield name and encoding of the tensors of which a hook of a pickled module makes the weight."""
    hooks = module.attributes.get("_forward_pre_hooks")
    for hook in hooks.values() if isinstance(hooks, dict) else ():
        kind = class_of(hook) if isinstance(hook, Record) else None
        name, axis = (hook.attributes.get(key) for key in ("name", "dim")) if isinstance(hook, Record) else (None, None)
        if kind is None or type(name) is not str:
            continue
        if kind.text == _WEIGHT_NORM:
            yield f"{name}_v", "weight norm"
        elif kind.text == _SPECTRAL_NORM and type(axis) is int and axis >= 0:
            yield f"{name}_u", f"spectral norm along axis {axis}"


# The call of a tensor subclass, torch._tensor._rebuild_from_type_v2:
#   0  torch._utils._rebuild_wrapper_subclass
#   1  the class
#   2  its arguments: the class, the type, shape, strides, offset, layout, device, requires_grad
#   3  a dict of attributes, with the tensors inside
def subclass_note(record: Record) -> str:
    """Return what a tensor subclass of torchao says about the tensors inside; blank for any other record."""
    if record.text != _SUBCLASS or not is_args(record.args, 4):
        return ""
    _, kind, made, held = record.args[:4]
    if not isinstance(kind, Global) or kind.module.partition(".")[0] not in ("torchao", "torchtune") or not is_args(made, 3):
        return ""
    dtype = made[1].name if isinstance(made[1], Global) else "?"
    words = [printable(kind.name.rpartition(".")[2], _WORD), printable(dtype, _WORD), _lengths(made[2]) or "?"]
    return " ".join([*words, *(_settings(held) if isinstance(held, dict) else ())])


def _settings(held: dict[Key, Pickled]) -> Iterator[str]:
    block = held.get("block_size")
    length = _lengths([block] if type(block) is int else block)
    if length:
        yield f"by {length}"
    for key, word in _NUMBERS.items():
        if type(value := held.get(key)) is int and value is not True:
            yield f"{word} {value}"
    domain = held.get("zero_point_domain")
    if isinstance(domain, Record) and is_args(domain.args) and domain.args[0] in _DOMAINS:
        yield f"zero {_DOMAINS[domain.args[0]]}"  # type: ignore[index]
    if held.get("is_swizzled_scales") is True:
        yield "swizzled"


def _lengths(value: Pickled) -> str:
    """Return axes as "32x64"; blank for anything but a few integers."""
    sizes = shape_of(value)
    known = [size for size in sizes if type(size) is int] if isinstance(sizes, tuple) and len(sizes) <= _AXES else []
    return "x".join(map(str, known)) if isinstance(sizes, tuple) and len(known) == len(sizes) else ""


def note(tensors: Iterable[PickledTensor], notes: Notes) -> None:
    """Set the encoding of the tensors that notes are about: those of all objects around them, the outermost first."""
    for tensor in tensors:
        if not tensor.encoding:
            words = (notes.get(tensor.path[:length], "") for length in range(1, min(len(tensor.path), _DEPTH) + 1))
            tensor.encoding = ", ".join(filter(None, words))
