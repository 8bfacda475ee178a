"""What objects around a tensor in a pickle say about its numbers, kept as the encoding of the tensor.

| object | encoding of the tensor |
|---|---|
| a hook of weight norm | "weight norm" of the direction |
| a hook of spectral norm | "spectral norm along axis 1" of the left vector |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Record, class_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.walk import Path

    Notes = dict[Path, str]
    """The encoding of the tensors at or below a path."""

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


def note(tensors: Iterable[PickledTensor], notes: Notes) -> None:
    """Set the encoding of the tensors that notes are about."""
    for tensor in tensors:
        for length in range(1, len(tensor.path) + 1) if not tensor.encoding else ():
            word = notes.get(tensor.path[:length])
            if word is not None:
                tensor.encoding = word
