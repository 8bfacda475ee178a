"""PyTorch: modules and tensors, in the order and by the names of `state_dict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from steelyard.core.members import with_ties
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import UnknownModelError
from steelyard.frameworks.torch.constants import constants_of, packed_of
from steelyard.frameworks.torch.distributed import flat_parts_of, summoned
from steelyard.frameworks.torch.offloaded import offloaded_in
from steelyard.frameworks.torch.optimizers import optimizer_slots, optimizer_weights
from steelyard.frameworks.torch.state import (
    Copies,
    companion_weights,
    copied_weights,
    held_slots,
    parts_of,
    script_weight,
    state_of,
)
from steelyard.frameworks.torch.tensors import companions_of, fill, require_writable, weight_of
from steelyard.frameworks.torch.unregistered import unregistered_notes
from steelyard.layers.roles import axes_or_blank
from steelyard.layers.torch.roles import plain_name, role_and_axes, roles_of_class

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.core.weight import Array
    from steelyard.frameworks.torch.state import Part
    from steelyard.layers.roles import ParameterRoles

    Facts: TypeAlias = dict[str, tuple[Role, str, str]]
    """Role, axes and layer of each parameter and buffer, by its name."""
    Model: TypeAlias = "nn.Module | torch.Tensor | torch.optim.Optimizer | torch.export.ExportedProgram"


def weights(model: object) -> Iterator[Weight]:
    """List parameters and saved buffers; a parameter that two layers share is tied to its first name.

    State without numbers, such as packed, lazy and meta parameters, is listed as unreadable, with the reason.
    """
    if isinstance(model, torch.Tensor):
        return iter([weight_of("", {"": model}, ""), *companion_weights(model)])
    if isinstance(model, torch.ScriptObject):
        return iter([script_weight("", model)])
    if isinstance(model, torch.optim.Optimizer):
        return with_ties(optimizer_weights(model))
    if isinstance(model, torch.export.ExportedProgram):
        return with_ties(infer_roles(weight_of(name, model.state_dict, name, layer=layer_of(name)) for name in model.state_dict))
    if not isinstance(model, nn.Module):
        raise UnknownModelError(f"a torch {type(model).__name__} has no weights; pass a module, a tensor or a state_dict")
    parts = parts_of(model)
    facts = _facts_of(parts)
    return with_ties(_explained(parts, facts, list(_module_weights(model, parts, facts))))


def meta(model: object) -> dict[str, Any]:
    """Return notes of the modules that PyTorch does not register, because a plain list or dict holds them."""
    notes = unregistered_notes(parts_of(model)) if isinstance(model, nn.Module) else []
    return {"notes": notes} if notes else {}


def assign(model: Model, arrays: Mapping[str, Array]) -> Model:
    """Copy in place, so that an optimizer keeps its parameters; all is checked before the first number is written.

    Raises `ShapeError` for tensors that cannot be written to, and `ReadOnlyError` for those that `state_dict()` computes, unless
    the numbers reach the one tensor that the module holds under this name.
    """
    if not arrays:
        return model
    if isinstance(model, nn.Module):
        _assign_module(model, arrays)
        return model
    tensors = _tensors_of(model)
    _fill_all({name: (tensors[name], array) for name, array in arrays.items()})
    return model


def _tensors_of(model: torch.Tensor | torch.optim.Optimizer | torch.export.ExportedProgram) -> Mapping[str, torch.Tensor]:
    if isinstance(model, torch.Tensor):
        return {"": model}
    if isinstance(model, torch.export.ExportedProgram):
        return dict(model.state_dict)
    return {name: slots[key] for name, slots, key, _ in optimizer_slots(model)}


def _assign_module(module: nn.Module, arrays: Mapping[str, Array]) -> None:
    if flat_parts_of(module):
        with summoned(module) as held:
            _fill_all({name: (held[name], array) for name, array in arrays.items()})
        return
    held, copies = _held_and_copied(module)
    jobs = {name: (held[name], array) for name, array in arrays.items() if name in held}
    copied = {name: array for name, array in arrays.items() if name not in held}
    for name, (tensor, array) in jobs.items():
        require_writable(name, tensor, array)
    # copies first: their numbers may be refused by what `state_dict()` then returns, before a held tensor has changed
    copies.assign(copied)
    _fill_all(jobs)


def _fill_all(jobs: Mapping[str, tuple[torch.Tensor, Array]]) -> None:
    for name, (tensor, array) in jobs.items():
        require_writable(name, tensor, array)
    with torch.no_grad():
        for tensor, array in jobs.values():
            fill(tensor, array)


def _held_and_copied(module: nn.Module) -> tuple[dict[str, torch.Tensor], Copies]:
    """Return the tensors that the module holds, by the names in its state, and the rest of the state."""
    parts = parts_of(module)
    state, slots, offloaded = state_of(module), held_slots(parts), offloaded_in(parts)
    copies = Copies(module, state, slots)
    held = {name: own for name in state if (own := copies.held_name(name)) is not None}
    return {name: offloaded[own].writable() if own in offloaded else slots[own].tensor() for name, own in held.items()}, copies


def orders(model: object) -> dict[str, Callable[[], list[str]]]:
    """Return the orders of a module's parameters: those of `parameters()` and of R torch's `model$parameters`."""
    if isinstance(model, torch.export.ExportedProgram):
        return {"parameters": lambda: list(model.graph_signature.parameters)}
    if not isinstance(model, nn.Module):
        return {}
    return {"parameters": lambda: _parameter_order(model), "r-torch": lambda: _r_order(model)}


def _parameter_order(module: nn.Module) -> list[str]:
    """Return the names of the parameters as listed, in the order of `parameters()`; a hook may have renamed them."""
    listed = _listed_names(module)
    return [listed.get(name, name) for name, _ in _named_parameters(module)]


def _named_parameters(module: nn.Module, *, remove_duplicate: bool = True) -> list[tuple[str, torch.Tensor]]:
    """Return the parameters with their names, also of modules that cannot be hashed."""
    try:
        return list(module.named_parameters(remove_duplicate=remove_duplicate))
    except TypeError:
        held = [
            (f"{name}.{key}" if name else key, p) for name, part, _ in parts_of(module) for key, p in part._parameters.items()
        ]
    named = [(name, p) for name, p in held if p is not None]
    first = {id(p): name for name, p in reversed(named)}
    return [(name, p) for name, p in named if not remove_duplicate or first[id(p)] == name]


def _r_order(module: nn.Module) -> list[str]:
    """Return the names of the parameters, those of a module's children before its own, each once."""
    listed = _listed_names(module)
    names: dict[int, str] = {}
    # a tied parameter is listed under its first name, which need not be the first in this order
    for name, tensor in _named_parameters(module, remove_duplicate=False):
        names.setdefault(id(tensor), listed.get(name, name))
    return list(dict.fromkeys(names[id(p)] for p in _children_first(module) if id(p) in names))


def _listed_names(module: nn.Module) -> dict[str, str]:
    """Return the names in the state of the tensors that the module holds under another name."""
    state, slots = state_of(module), held_slots(parts_of(module))
    copies = Copies(module, state, slots)
    return {own: name for name in state if (own := copies.held_name(name)) is not None and own != name}


def _children_first(module: nn.Module) -> Iterator[nn.Parameter]:
    for child in module._modules.values():
        if child is not None:
            yield from _children_first(child)
    yield from (parameter for parameter in module._parameters.values() if parameter is not None)


def _module_weights(module: nn.Module, parts: Sequence[Part], facts: Facts) -> Iterator[Weight]:
    state, slots, offloaded = state_of(module), held_slots(parts), offloaded_in(parts)
    copies = Copies(module, state, slots)
    for name, value in state.items():
        slot = slots.get(name)
        # without hooks `keep_vars` returns the very tensors, and their memory need not be compared
        held_as = name if slot is not None and slot.slots[slot.key] is value else copies.held_name(name)
        known = facts.get(held_as or name)
        role, axes, layer = (
            known if known and held_as in (name, None) else (*(known or (Role.OTHER, ""))[:2], name.rpartition(".")[0])
        )
        if held_as is None:
            yield from copied_weights(copies, name, value, role=role, axes=axes, layer=layer)
        elif held_as in offloaded and isinstance(value, torch.Tensor):
            yield offloaded[held_as].weight(value, role, axes, layer).replace(name=name)
        else:
            yield weight_of(name, *slots[held_as], role=role, axes=axes, layer=layer)
            for key, part in companions_of(value).items() if isinstance(value, torch.Tensor) else ():
                yield from copied_weights(copies, name, {key: part}, role=Role.OTHER, axes="", layer=layer)
    yield from constants_of(module)
    yield from packed_of(module) if isinstance(module, torch.jit.ScriptModule) else ()


def _explained(parts: Iterable[Part], known: Facts, listed: list[Weight]) -> Iterable[Weight]:
    """Infer the roles of the weights of classes that are not PyTorch's own, such as `LlamaRMSNorm` and `Conv1D`."""
    if all(weight.name in known for weight in listed):
        return listed
    inferred = infer_roles(listed, {name: type(part).__name__ for name, part, _ in parts})
    return (old if old.name in known else new for old, new in zip(listed, inferred, strict=True))


def _facts_of(parts: Iterable[Part]) -> Facts:
    """Return role, axes and layer of each parameter and buffer of these modules, by its state_dict name."""
    facts: Facts = {}
    rows: dict[type, ParameterRoles] = {}
    for layer, part, _ in parts:
        known = rows.get(type(part))
        if known is None:
            known = rows[type(part)] = _row_of(type(part))
        for key, fact in _layer_facts(part, known):
            facts.setdefault(f"{layer}.{key}" if layer else key, (*fact, layer))  # a layer takes precedence over its parts
    return facts


def _row_of(kind: type) -> ParameterRoles:
    """Return the parameters of the nearest of PyTorch's own classes; empty if there is none."""
    # a subclass has the parameters of PyTorch's own class; the name alone may be that of a user's class
    return next((row for base in kind.__mro__ if (row := roles_of_class(base.__module__, base.__name__))), {})


def _layer_facts(part: nn.Module, known: ParameterRoles) -> Iterator[tuple[str, tuple[Role, str]]]:
    for held in (part._parameters, part._buffers) if known else ():
        for key, tensor in held.items():
            if tensor is not None:
                yield key, role_and_axes(known, key, tensor.ndim)
    for key, held in part.parametrizations.items() if "parametrizations" in part._modules else ():
        yield from _parametrized(key, held, known)


def _parametrized(key: str, held: nn.Module, known: ParameterRoles) -> Iterator[tuple[str, tuple[Role, str]]]:
    """Return the facts of `parametrizations.weight.original`; in weight norm, original0 holds norms, original1 directions."""
    role, axes = known.get(key) or known.get(plain_name(key)) or (Role.OTHER, "")
    # parametrizations.weight is a list of functions: right_inverse of weight norm returns two tensors, others one
    split = type(held[0]).__name__ == "_WeightNorm"
    for name, tensor in (*held.named_parameters(), *held.named_buffers()):
        if split and name == "original0":
            meaning = (Role.SCALE, "")
        else:
            meaning = (role, axes_or_blank(axes, tensor.ndim)) if name.startswith("original") else (Role.OTHER, "")
        yield f"parametrizations.{key}.{name}", meaning


def named_tensors(module: nn.Module) -> dict[torch.Tensor, str]:
    """Return the tensors that a module holds, each once, with the first of their names among its weights."""
    named: dict[torch.Tensor, str] = {}
    for name, tensor in _held_and_copied(module)[0].items():
        named.setdefault(tensor, name)
    return named
