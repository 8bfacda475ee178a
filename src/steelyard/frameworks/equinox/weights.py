"""Equinox: modules and their states, by Python's attribute paths and in the order of their fields.

A name is the path from the module in code, `layers[0].weight`, as in `eqx.tree_at(lambda m:
m.layers[0].weight, ...)`. Arrays are weights; numbers, functions and static fields are settings. The class of a
module determines the roles of its arrays; an `eqx.nn.State` holds arrays under bare numbers, which have no roles.
Modules are immutable: `assign` returns a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jax.tree_util import FlattenedIndexKey, keystr, tree_flatten_with_path, tree_unflatten

from steelyard.core.members import with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.roles import role_of
from steelyard.core.selection import STATE_ROLES
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import is_inexact
from steelyard.errors import UnknownModelError
from steelyard.layers.equinox.roles import ROLES, conv_roles, conv_transpose_roles
from steelyard.layers.roles import axes_or_blank

if TYPE_CHECKING:
    from jax.tree_util import KeyPath, PyTreeDef

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
    saved = [_spelled(path) if _is_array(leaf) else "" for path, leaf in leaves if eqx.is_array_like(leaf)]
    return {"leaves": lambda: saved}


def weights(model: eqx.Module | eqx.nn.State) -> Iterator[Weight]:
    """List the arrays of a module or a state; `trainable` is None, since the caller's own filter decides that.

    An array that is in the module twice is tied to its first name.
    """
    return with_ties(_arrays_in(model))


def _arrays_in(model: eqx.Module | eqx.nn.State) -> Iterator[Weight]:
    for path, leaf in _flatten(model)[0]:
        if not _is_array(leaf):
            continue
        owner = _owner(model, path[:-1])
        for plain in framework_of(leaf).weights(leaf):
            role, axes = _fact(owner, keystr(path[-1:]).strip(".[]'"), plain.shape)
            yield plain.replace(name=_spelled(path), layer=_spelled(path[:-1]), role=role, axes=axes)


def assign(model: eqx.Module | eqx.nn.State, arrays: Mapping[str, Array]) -> eqx.Module | eqx.nn.State:
    """Return a new module with these arrays; it shares all others with the old one."""
    leaves, structure = _flatten(model)
    made: dict[tuple[int, int], object] = {}  # an array that is in the module twice is so in the new one
    new = []
    for path, leaf in leaves:
        array = arrays.get(_spelled(path))
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


def _spelled(path: KeyPath) -> str:
    """Return a path as Python source without the leading dot; the arrays of a state are named by numbers."""
    if path and isinstance(path[0], FlattenedIndexKey):
        return f"{path[0].key}{keystr(path[1:])}"
    return f"{keystr(path)}".removeprefix(".")


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


def _fact(owner: object, leaf: str, shape: tuple[int, ...]) -> tuple[Role, str]:
    """Return role and axes; a slope and the norms of a kernel may have further axes of length one."""
    role, axes = _known(owner).get(leaf) or (role_of(leaf, len(shape)), "")
    if leaf in ("negative_slope", "g") and all(length == 1 for length in shape[1:]):
        axes += " 1" * (len(shape) - 1)
    return role, axes_or_blank(axes, len(shape))


def _known(owner: object) -> ParameterRoles:
    """Return the facts of the nearest of Equinox's own classes; the same name in a user's class may mean anything."""
    if isinstance(owner, eqx.nn.Conv):
        return conv_roles(owner.num_spatial_dims)
    if isinstance(owner, eqx.nn.ConvTranspose):
        return conv_transpose_roles(owner.num_spatial_dims, owner.groups)
    bases = (base for base in type(owner).__mro__ if base.__module__.startswith("equinox."))
    return next((ROLES[base.__name__] for base in bases if base.__name__ in ROLES), {})
