"""Whether `load_state_dict` takes a checkpoint: asked of a twin of the module without memory, so that the module does not change.

The twin has the module's classes, attributes and hooks, and parameters and buffers on the meta device, which copy no numbers.
"""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from steelyard.core.loading import Mismatch, Names
from steelyard.errors import printable
from steelyard.frameworks.torch.state import state_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.core.weight import Weight

    Twins: TypeAlias = dict[int, nn.Module]
    """The twin of each module by its id."""

_HOOKS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_hooks", "_state_dict_pre_hooks")
_LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)
_EXTRA = "_extra_state"
"""The last word of the name of state that a module saves besides tensors; it is not listed as a weight."""


def loading(model: object, checkpoint: Mapping[str, Weight], versions: Mapping[str, int]) -> Names | None:
    """Return what `load_state_dict` finds in a checkpoint; None for anything but a module, and for one of several processes.

    `versions` are those of the modules in the checkpoint, as its `_metadata` has them.
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule) or _is_distributed():
        return None
    twin = _twin_of(model)
    tensors = {name: weight for name, weight in checkpoint.items() if _EXTRA not in name.split(".")}
    state = OrderedDict((name, _empty(weight.shape, weight.dtype)) for name, weight in tensors.items())
    metadata = OrderedDict((name, {"version": version}) for name, version in versions.items())
    state._metadata = metadata  # type: ignore[attr-defined] # load_state_dict looks for this attribute
    own = {name: _shape(value) for name, value in twin.state_dict().items() if isinstance(value, torch.Tensor)}
    _whole(model, state)
    missing, unexpected, errors = _found(twin, state)
    if any("meta tensor" in error for error in errors):
        return None  # a module reads numbers while it loads, as those of bitsandbytes do
    sizes = {name for error in errors for name in re.findall(r"size mismatch for (.+?): ", error)}
    shapes = [Mismatch(name, checkpoint[name].shape, own.get(name, ())) for name in tensors if name in sizes]
    rest = [error for error in errors if "size mismatch for " not in error]
    lacking = [name for name in missing if name.rpartition(".")[2] != _EXTRA or len(tensors) == len(checkpoint)]
    loaded = sum(name in own for name in tensors) - len(shapes)
    return Names(lacking, unexpected, shapes, rest, loaded)


def _whole(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put one tensor in place of the parts of each that a subclass packs, if a checkpoint has the same parts."""
    packed: dict[str, Any] = {name: each for name, each in state_of(model).items() if hasattr(each, "__tensor_flatten__")}
    for name, tensor in packed.items():
        parts = {f"{name}.{part}" for part in _parts(tensor)}
        if name not in state and parts and parts == {each for each in state if each.startswith(f"{name}.")}:
            for part in parts:
                del state[part]
            state[name] = _empty(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _parts(tensor: Any) -> Iterator[str]:
    """Yield the names of the tensors inside one of a subclass, as files of it have them."""
    for word in tensor.__tensor_flatten__()[0]:
        inner = getattr(tensor, word)
        nested = [*_parts(inner)] if hasattr(inner, "__tensor_flatten__") else []
        yield from (f"{word}.{each}" for each in nested) if nested else (word,)


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return () if isinstance(tensor, _LAZY) else tuple(tensor.shape)


def _found(twin: nn.Module, state: Mapping[str, torch.Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Return the keys that are missing and unexpected, and the messages of errors."""
    found: list[tuple[list[str], list[str]]] = []
    # a size mismatch raises even without `strict`; the hook of the module itself sees the keys before that
    twin.register_load_state_dict_post_hook(lambda _, keys: found.append((keys.missing_keys, keys.unexpected_keys)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied to the meta device
            twin.load_state_dict(state, strict=False)
    except Exception as error:  # noqa: BLE001 - a hook of the user's may raise anything
        lines = str(error).splitlines()
        errors = lines[1:] if isinstance(error, RuntimeError) and len(lines) > 1 else [f"{type(error).__name__}: {error}"]
    else:
        errors = []
    missing, unexpected = found[-1] if found else ([], [])
    return missing, unexpected, [printable(error.strip(), 1000) for error in errors]


def _is_distributed() -> bool:
    """Whether this is one of several processes, which may share the module's tensors and wait for each other."""
    distributed = torch.distributed
    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def _twin_of(root: nn.Module) -> nn.Module:
    modules = list(root.modules())
    twins: Twins = {id(module): object.__new__(type(module)) for module in modules}
    for module in modules:
        held = dict(module.__dict__)
        for key in ("_parameters", "_buffers"):
            held[key] = {name: tensor if tensor is None else _meta(tensor) for name, tensor in held[key].items()}
        held["_modules"] = {name: twins.get(id(part)) for name, part in held["_modules"].items()}
        held["_non_persistent_buffers_set"] = set(held["_non_persistent_buffers_set"])
        for key in _HOOKS:
            held[key] = OrderedDict((number, _rebound(hook, twins)) for number, hook in held.get(key, {}).items())
        twins[id(module)].__dict__.update(held)
    return twins[id(root)]


def _rebound(hook: Any, twins: Twins) -> Any:
    """Return a hook that changes the twin instead of the module, where it is a method or was registered with the module."""
    inner = getattr(hook, "hook", hook)
    owner = twins.get(id(getattr(inner, "__self__", None)))
    bound = inner if owner is None else MethodType(inner.__func__, owner)
    if inner is hook:
        return bound
    module = getattr(hook, "module", None)  # a weak reference, where the hook is called with its module
    return type(hook)(bound, twins.get(id(module())) if module is not None else None)


def _meta(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor or parameter of the same shape and type without memory; a lazy one stays lazy."""
    if isinstance(tensor, _LAZY):
        kind: Any = type(tensor)
        made: torch.Tensor = kind(device="meta", dtype=tensor.dtype)
        return made
    empty = torch.empty(tuple(tensor.shape), dtype=_plain(tensor.dtype), device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _empty(shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    known = getattr(torch, dtype, None)
    return torch.empty(shape, dtype=_plain(known if isinstance(known, torch.dtype) else torch.float32), device="meta")


def _plain(dtype: torch.dtype) -> torch.dtype:
    return torch.uint8 if str(dtype).startswith(("torch.q", "torch.bits")) else dtype
