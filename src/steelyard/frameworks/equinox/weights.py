"""Equinox: modules and their states, by Python's attribute paths and in the order of their fields.

A name is the path from the module in code, `layers[0].weight`, as in `eqx.tree_at(lambda m:
m.layers[0].weight, ...)`. Arrays are weights; numbers, functions and static fields are settings. The class of a
module determines the roles of its arrays; an `eqx.nn.State` holds arrays under bare numbers, which have roles only where the
module is listed too: `(model, state)`.
Modules are immutable: `assign` returns a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from steelyard.core.members import dotted, with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.roles import role_of
from steelyard.core.selection import STATE_ROLES
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import is_inexact
from steelyard.errors import UnknownModelError
from steelyard.frameworks.equinox.paths import spelled
from steelyard.layers.equinox.roles import ROLES, conv_roles, conv_transpose_roles, own_shape
from steelyard.layers.roles import axes_or_blank, stack_of, stacked_axes

if TYPE_CHECKING:
    from jax.tree_util import KeyPath, PyTreeDef

    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import NamesInOrder
    from steelyard.core.weight import Array
    from steelyard.layers.roles import ParameterRoles


def is_immutable(model: object) -> bool:
    """Return True: a step of training makes a new module."""
    return True


def parameters(model: eqx.Module | eqx.nn.State, listed: Sequence[Weight]) -> list[str]:
    """Return the names of the arrays of a module that `eqx.filter_grad` reaches, without running statistics; a state has none."""
    if isinstance(model, eqx.nn.State):
        return []
    return [weight.name for weight in listed if is_inexact(weight.dtype) and weight.role not in STATE_ROLES]


def orders(model: eqx.Module | eqx.nn.State) -> dict[str, NamesInOrder]:
    """Return the order "leaves", that of a file of `eqx.tree_serialise_leaves`; blank for a number, which is saved too."""
    leaves, _ = _flatten(model)
    saved = [spelled(path) if _is_array(leaf) else "" for path, leaf in leaves if eqx.is_array_like(leaf)]
    return {"leaves": lambda: saved}


def weights(model: eqx.Module | eqx.nn.State) -> Iterator[Weight]:
    """List the arrays of a module or a state; `trainable` is None, since the caller's own filter decides that.

    An array that is in the module twice is tied to its first name.
    """
    return with_ties(_arrays_in(model))


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of a module that norms are applied to in each call."""
    from steelyard.frameworks.equinox.effective import wrapped

    if isinstance(model, eqx.Module):
        yield from wrapped(model, pieces)


def _arrays_in(model: eqx.Module | eqx.nn.State) -> Iterator[Weight]:
    for path, leaf in _flatten(model)[0]:
        if not _is_array(leaf):
            continue
        owner = _owner(model, path[:-1])
        for plain in framework_of(leaf).weights(leaf):
            role, axes = _fact(owner, keystr(path[-1:]).strip(".[]'"), plain.shape)
            yield plain.replace(name=spelled(path), layer=spelled(path[:-1]), role=role, axes=axes)


def assign(model: eqx.Module | eqx.nn.State, arrays: Mapping[str, Array]) -> eqx.Module | eqx.nn.State:
    """Return a new module with these arrays; it shares all others with the old one."""
    leaves, structure = _flatten(model)
    made: dict[tuple[int, int], object] = {}  # an array that is in the module twice is so in the new one
    new = []
    for path, leaf in leaves:
        array = arrays.get(spelled(path))
        key = id(leaf), id(array)
        if key not in made:
            made[key] = _changed(leaf, array)
        new.append(made[key])
    return tree_unflatten(structure, new)


def _flatten(model: object) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    if not isinstance(model, (eqx.Module, eqx.nn.State)):
        raise UnknownModelError(f"an equinox {type(model).__name__} has no weights; pass a module or a state")
    leaves, structure = tree_flatten_with_path(model)
    return leaves, structure


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _changed(leaf: object, array: Array | None) -> object:
    if array is None:
        return leaf
    return framework_of(leaf).assign(leaf, {"": array}) if isinstance(leaf, jax.Array) else array.copy()[()]


def _owner(model: Any, path: KeyPath) -> object:
    """Follow a path to the object that holds the array."""
    for key in path:
        if hasattr(key, "name"):
            model = getattr(model, key.name)
        elif isinstance(model, (dict, list, tuple)):
            model = model[key.idx if hasattr(key, "idx") else key.key]
        else:
            return None
    return model


def _fact(owner: Any, leaf: str, shape: tuple[int, ...]) -> tuple[Role, str]:
    """Return role and axes; a slope and the norms of a kernel may have further axes of length one."""
    known, kind = _known(owner)
    role, axes = known.get(leaf) or (role_of(leaf, len(shape)), "")
    if leaf in ("negative_slope", "g") and all(length == 1 for length in shape[1:]):
        axes += " 1" * (len(shape) - 1)
    if leaf in known and len(axes.split()) < len(shape):
        stack = stack_of(shape, own_shape(kind, owner, leaf))
        return role, stacked_axes(axes, shape, stack) if stack else ""
    return role, axes_or_blank(axes, len(shape))


def _known(owner: object) -> tuple[ParameterRoles, str]:
    """Return the facts of the nearest of Equinox's own classes, and its name; a user's class may have the same name."""
    if isinstance(owner, eqx.nn.Conv):
        return conv_roles(owner.num_spatial_dims), "Conv"
    if isinstance(owner, eqx.nn.ConvTranspose):
        return conv_transpose_roles(owner.num_spatial_dims, owner.groups), "ConvTranspose"
    bases = (base.__name__ for base in type(owner).__mro__ if base.__module__.startswith("equinox."))
    return next(((ROLES[name], name) for name in bases if name in ROLES), ({}, ""))


def joined(members: Iterable[tuple[str, object]], listed: Sequence[Weight]) -> Iterator[Weight]:
    """Return the weights of a container of modules and their state, whose running statistics belong to the layers of norms.

    Only the modules know which arrays of the state these are. The numbers that a norm of mode "batch" keeps are
    running statistics before the first step of training and after many steps, not in between.
    """
    named = list(members)
    modules = [(name, member) for name, member in named if isinstance(member, eqx.Module)]
    facts: dict[str, tuple[str, Role]] = {}
    for place, state in named:
        if isinstance(state, eqx.nn.State):
            names = {id(leaf): dotted(place, spelled(path)) for path, leaf in _flatten(state)[0]}
            for layer, norm in (found for name, module in modules for found in _batch_norms(name, module)):
                for role, array in zip((Role.MEAN, Role.VARIANCE), _statistics(norm, state), strict=False):
                    facts.setdefault(names[id(array)], (layer, role))
    for weight in listed:
        layer, role = facts.get(weight.name, (weight.layer, weight.role))
        axes = "channel" if weight.name in facts and len(weight.shape) == 1 else weight.axes
        yield weight.replace(layer=layer, role=role, axes=axes)


def _batch_norms(name: str, module: eqx.Module) -> Iterator[tuple[str, eqx.nn.BatchNorm]]:
    leaves, _ = tree_flatten_with_path(module, is_leaf=lambda part: isinstance(part, eqx.nn.BatchNorm))
    return ((dotted(name, spelled(path)), part) for path, part in leaves if isinstance(part, eqx.nn.BatchNorm))


def _statistics(norm: eqx.nn.BatchNorm, state: eqx.nn.State) -> Sequence[jax.Array]:
    """Return mean and variance of a norm; none where its state is elsewhere, or needs a correction by the number of steps."""
    index = norm.ema_state_index if norm.mode == "ema" else norm.batch_state_index
    try:
        found: Sequence[jax.Array] = state.get(index)
        steps = 0 if norm.mode == "ema" else int(np.max(state.get(norm.batch_counter)))
    except KeyError:
        return ()
    return found if steps == 0 or norm.momentum**steps < np.finfo(found[0].dtype).eps / 4 else ()
