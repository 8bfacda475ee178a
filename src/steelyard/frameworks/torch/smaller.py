"""A copy of a module whose parameters have other shapes, as the removal of units leaves them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from steelyard.frameworks.torch.state import held_slots, parts_of
from steelyard.frameworks.torch.weights import named_tensors

_MODULES = ("torch.nn.", "torch.ao.")


def smaller(model: nn.Module, shapes: Mapping[str, tuple[int, ...]], counts: Sequence[tuple[int, int]]) -> Iterator[nn.Module]:
    """Yield a copy in which the named weights have these shapes and arbitrary numbers, and the modules know their new sizes.

    A module's own attributes, such as the number of heads, may have to change with them: if the first copy does not run, the
    next ones have attributes changed from an old number to a new one of `counts`. They are one module, changed in place.
    """
    twin = copy.deepcopy(model)
    before = {tensor: tuple(tensor.shape) for tensor in named_tensors(twin)}
    changed = {tensor: shapes[name] for tensor, name in named_tensors(twin).items() if name in shapes}
    made = {tensor: _resized(tensor, shape) for tensor, shape in changed.items()}
    slots = held_slots(parts_of(twin))
    owners = {prefix: part for prefix, part, _ in parts_of(twin)}
    resized: dict[str, dict[str, int]] = {}
    for name, slot in slots.items():
        tensor = slot.tensor()
        if tensor in made:
            prefix, _, key = name.rpartition(".")
            resized.setdefault(prefix, {})[key] = before[tensor][0] if before[tensor] else 1
            setattr(owners[prefix], key, made[tensor])  # recurrent layers notice it, unlike a change of the dict
    for prefix, old in resized.items():
        _set_sizes(owners[prefix], old)
    yield twin
    yield from _with_attributes(twin, counts)


def _resized(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    made = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
    return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _set_sizes(module: nn.Module, old: Mapping[str, int]) -> None:
    """Set the attributes of a module of PyTorch that depend on the shapes of its tensors; `old` has their former lengths."""
    held = {**module._parameters, **module._buffers}
    weight = held.get("weight")
    if isinstance(module, nn.Linear) and weight is not None:
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        _set_channels(module, weight, old.get("weight", len(weight)))
    elif isinstance(module, (nn.modules.batchnorm._NormBase, nn.modules.batchnorm._BatchNorm)):
        module.num_features = next(len(held[key]) for key in old if held[key] is not None)
    elif isinstance(module, nn.GroupNorm) and weight is not None:
        module.num_groups = module.num_groups * len(weight) // module.num_channels
        module.num_channels = len(weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        ending = "_l0" if isinstance(module, nn.RNNBase) else ""
        module.hidden_size = getattr(module, f"weight_hh{ending}").shape[1]
        module.input_size = getattr(module, f"weight_ih{ending}").shape[1]


def _set_channels(module: nn.modules.conv._ConvNd, weight: torch.Tensor, outputs: int) -> None:
    if module.transposed:
        if module.groups == module.in_channels > 1:
            module.groups = len(weight)
        module.in_channels, module.out_channels = len(weight), weight.shape[1] * module.groups
        return
    if module.groups == module.in_channels > 1:  # depthwise
        module.groups = len(weight) * module.groups // outputs
    module.in_channels, module.out_channels = weight.shape[1] * module.groups, len(weight)


def _with_attributes(module: nn.Module, counts: Sequence[tuple[int, int]]) -> Iterator[nn.Module]:
    """Yield the module with attributes of the user's classes changed: those of heads, then each alone, then all together."""
    found = [
        (part, key, value, new)
        for part in module.modules()
        if not type(part).__module__.startswith(_MODULES)
        for key, value in vars(part).items()
        for old, new in dict(counts).items()
        if type(value) is int and value == old
    ]
    named = [each for each in found if "head" in each[1] or each[1] in ("h", "n_h")]
    for group in (named, *([each] for each in found), found):
        for part, key, _, new in group:
            setattr(part, key, new)
        if group:
            yield module
        for part, key, value, _ in group:
            setattr(part, key, value)
