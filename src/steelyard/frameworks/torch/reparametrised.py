"""The weights that the layers of a live module multiply with, where hooks, parametrizations and tensor subclasses compute them.

They are computed anew for each pass over the numbers, from what the module holds: a plain attribute such as `weight` of a
pruned layer is old until the next batch. Nothing in the module changes. Other weights are made by the names of the state, such
as those of packed layers of `torch.ao`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import _Orthogonal, _SpectralNorm, _WeightNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from steelyard.core.effective import Derivation, Pieces, derived, joined, refused
from steelyard.core.plugins import load
from steelyard.errors import UnreadableError, printable
from steelyard.frameworks.torch.computed import Computed, computed, in_evaluation
from steelyard.frameworks.torch.fake_quantised import parts_of_rounded, rounded
from steelyard.frameworks.torch.state import held_slots, parts_of
from steelyard.layers.torch.roles import role_and_axes, roles_of_class

if TYPE_CHECKING:
    from steelyard.core.weight import Role, Weight
    from steelyard.frameworks.torch.computed import Make

    Hooks = Mapping[str, Any]
    """The hooks of a module by the names of the attributes that they set."""

_FUNCTIONS = {_WeightNorm: "weight norm", _SpectralNorm: "spectral norm", _Orthogonal: "orthogonal parametrization"}
_HOOKS = {WeightNorm: "weight norm", SpectralNorm: "spectral norm", prune.BasePruningMethod: "pruning"}
_ROUNDED = "fake quantisation of PyTorch"
_RECURRENT = "torch.ao.nn.quantized.dynamic"


class _Found(NamedTuple):
    """What computes a weight: its name and its scheme, the stored parts, and a tensor with its shape, if there is one.

    `copies` are names of further stored numbers that it replaces, if they are listed.
    """

    name: str
    scheme: str
    parts: tuple[str, ...]
    make: Make
    like: torch.Tensor | None = None
    part: nn.Module | None = None
    copies: tuple[str, ...] = ()


def made(model: nn.Module, pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights that a module computes; those of outer modules come before those of inner ones."""
    for found in _of_module(model):
        if found.parts and all(pieces.get(part) is not None for part in found.parts):
            yield _effective(pieces, found)


def _of_module(model: nn.Module) -> Iterator[_Found]:
    parts = parts_of(model)
    for prefix, part, _ in parts:
        if isinstance(part, torch.jit.ScriptModule):
            continue  # it has neither hooks nor parametrizations
        yield from _parametrized(prefix, part)
        yield from _hooked(prefix, part)
        yield from _recurrent(prefix, part)
        if own := parts_of_rounded(part):
            parts_in = tuple(joined(prefix, name) for name in own)
            yield _Found(parts_in[0], _ROUNDED, parts_in, partial(rounded, part), part._parameters["weight"], part)
    by_path = {prefix: part for prefix, part, _ in parts}
    for name, (slots, key, _) in held_slots(parts).items():
        yield from _subclass(name, slots[key], by_path[name.rpartition(".")[0]])


def _effective(pieces: Pieces, found: _Found) -> Weight:
    others = (each for each in (*found.copies, found.name) if each not in found.parts and pieces.get(each) is not None)
    facts = Derivation(found.scheme, (*found.parts, *others))
    if found.scheme == _ROUNDED:
        facts = facts._replace(activations=load("schemes", "fake_quantised").observers(pieces))
    try:
        like = computed(found.name, found.make) if found.like is None else found.like
    except UnreadableError as error:
        return refused(found.name, facts, str(error))
    shape, dtype = tuple(like.shape), str(like.dtype).removeprefix("torch.")
    read = Computed(found.name, found.make, shape, dtype)
    role, axes = _role(found.part, found.name.rpartition(".")[2], len(shape))
    if role is None:
        return derived(found.name, shape, read, facts, dtype=dtype)
    return derived(found.name, shape, read, facts, dtype=dtype, role=role, axes=axes)


def _role(part: nn.Module | None, word: str, ndim: int) -> tuple[Role | None, str]:
    """Return role and axes of a parameter of the nearest of PyTorch's own classes."""
    bases = type(part).__mro__ if part is not None else ()
    row = next((row for base in bases if (row := roles_of_class(base.__module__, base.__name__))), None)
    return role_and_axes(row, word, ndim) if row else (None, "")


def _parametrized(prefix: str, part: nn.Module) -> Iterator[_Found]:
    """Yield what `torch.nn.utils.parametrize` computes, on a copy in evaluation mode."""
    held = part._modules.get("parametrizations")
    for word, functions in held._modules.items() if isinstance(held, nn.ModuleDict) else ():
        if not isinstance(functions, nn.Module):
            continue
        kinds = [type(function) for function in functions._modules.values()]
        names = [_FUNCTIONS.get(kind) or f"parametrization {printable(kind.__name__)}" for kind in kinds]
        parts = tuple(f"{joined(prefix, 'parametrizations')}.{word}.{name}" for name in functions.state_dict())
        scheme = f"{', then '.join(names)} of PyTorch"
        yield _Found(joined(prefix, word), scheme, parts, partial(_evaluated, functions), _like(functions, kinds), part)


def _evaluated(functions: nn.Module) -> torch.Tensor:
    result: torch.Tensor = in_evaluation(functions)()
    return result


def _like(functions: nn.Module, kinds: list[type]) -> torch.Tensor | None:
    """Return an original with the shape and type of the result; None where a function may change these."""
    if getattr(functions, "unsafe", True):
        return None
    held = {**functions._parameters, **functions._buffers}
    return held.get("original") if "original" in held else held.get("original1") if kinds[:1] == [_WeightNorm] else None


def _hooked(prefix: str, part: nn.Module) -> Iterator[_Found]:
    """Yield what hooks before `forward` compute, from what the module holds."""
    hooks: dict[str, Any] = {}
    for hook in part._forward_pre_hooks.values():
        word = getattr(hook, "_tensor_name" if isinstance(hook, prune.BasePruningMethod) else "name", None)
        if isinstance(hook, (*_HOOKS,)) and isinstance(word, str):
            hooks[word] = hook
    inner = {each for word, hook in hooks.items() for each in _operands(word, hook)}
    for word, hook in hooks.items():
        if word not in inner:
            stored = [*_stored(hooks, word)]
            steps = dict.fromkeys(reversed([*_steps(hooks, word)]))
            parts = tuple(joined(prefix, each) for each in stored)
            like = _held(part, stored[-1]) if isinstance(hook, WeightNorm) else _held(part, stored[0])
            scheme = f"{', then '.join(steps)} of PyTorch"
            yield _Found(joined(prefix, word), scheme, parts, partial(_applied, part, hooks, word), like, part)


def _operands(word: str, hook: Any) -> tuple[str, ...]:
    """Return the attributes of which a hook makes another; the last one of weight norm has the shape, else the first."""
    if isinstance(hook, prune.BasePruningMethod):
        return f"{word}_orig", f"{word}_mask"
    return (f"{word}_orig", f"{word}_u", f"{word}_v") if isinstance(hook, SpectralNorm) else (f"{word}_g", f"{word}_v")


def _stored(hooks: Hooks, word: str) -> Iterator[str]:
    if word not in hooks:
        yield word
        return
    for operand in _operands(word, hooks[word]):
        yield from _stored(hooks, operand)


def _steps(hooks: Hooks, word: str) -> Iterator[str]:
    if word in hooks:
        yield next(name for kind, name in _HOOKS.items() if isinstance(hooks[word], kind))
        for operand in _operands(word, hooks[word]):
            yield from _steps(hooks, operand)


def _held(part: nn.Module, word: str) -> torch.Tensor:
    held = part._parameters.get(word)
    return part._buffers[word] if held is None else held


def _applied(part: nn.Module, hooks: Hooks, word: str) -> torch.Tensor:
    """Compute the weight of a hook; an attribute that another hook sets is computed too, since it may be old."""
    hook = hooks.get(word)
    if hook is None:
        return _held(part, word)
    first, second, *third = (_applied(part, hooks, operand) for operand in _operands(word, hook))
    if isinstance(hook, WeightNorm):
        return torch._weight_norm(second, first, hook.dim)
    if isinstance(hook, SpectralNorm):
        matrix = hook.reshape_weight_to_matrix(first)
        return first / torch.dot(second, torch.mv(matrix, third[0]))
    return second.to(dtype=first.dtype) * first


def _recurrent(prefix: str, part: nn.Module) -> Iterator[_Found]:
    """Yield packed recurrent weights whose shapes do not show whether they are of a second layer or another direction."""
    if not type(part).__module__.startswith(_RECURRENT) or len(getattr(part, "_all_weight_values", ())) != 2:
        return
    kept: dict[str, dict[str, torch.Tensor]] = {"weight": part.get_weight(), "bias": part.get_bias()}
    for at, (kind, held) in enumerate(kept.items()):
        for word, tensor in held.items():
            number = int(word.endswith("_reverse") or "_l1" in word)
            side = int("_hh_" in word)
            stored = joined(prefix, f"_all_weight_values.{number}.param")
            names = [f"{stored}.4.{side}.{at}"]
            if tensor.is_quantized:
                names += [f"{names[0]}.scale", f"{names[0]}.zero_point"]
            make = partial(_unpacked, part, kind, word)
            copies = (f"{stored}.1.{side}",) if at else ()
            yield _Found(joined(prefix, word), "packed parameters of torch.ao", tuple(names), make, None, part, copies)


def _unpacked(part: nn.Module, kind: str, word: str) -> torch.Tensor:
    held: dict[str, torch.Tensor] = getattr(part, f"get_{kind}")()
    return held[word].dequantize() if held[word].is_quantized else held[word]


def _subclass(name: str, tensor: torch.Tensor, part: nn.Module) -> Iterator[_Found]:
    """Yield the numbers of a tensor of a subclass that knows how to dequantise itself, such as those of torchao."""
    kind = type(tensor)
    if hasattr(tensor, "full_tensor"):
        return
    known = hasattr(tensor, "original_weight_tensor") or hasattr(kind, "get_original_weight")
    if not known and kind.dequantize is torch.Tensor.dequantize:
        return
    library = kind.__module__.partition(".")[0]
    yield _Found(name, f"{library} {printable(kind.__name__)}", (name,), partial(_dequantised, tensor), tensor, part)


def _dequantised(tensor: torch.Tensor) -> torch.Tensor:
    inner = getattr(tensor, "original_weight_tensor", None)
    if inner is not None:
        return _dequantised(inner)
    real = tensor.get_original_weight() if hasattr(tensor, "get_original_weight") else tensor.dequantize()
    converted: torch.Tensor = real.to(tensor.dtype)
    return converted
