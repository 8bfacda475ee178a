"""Flax: NNX modules, states and variables, and linen's variables, frozen or in a train state.

Names are the paths joined by "/" (`layers/0/kernel`), as in Flax itself, and as in the listing of the pure dict of the
same module. Modules of NNX are changed in place; all other objects are trees, and `assign` returns a
new one. A linen module has no numbers: they are in the variables that its `init` returns. The state of
random numbers and the values that `sow` collected are not weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from flax import linen, nnx, struct
from flax.core import FrozenDict
from flax.training.train_state import TrainState

from steelyard.core.held import require_at
from steelyard.core.members import while_held
from steelyard.core.plugins import framework_of, load
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import NotFittedError, UnknownModelError
from steelyard.layers.flax.nnx import with_nnx_facts
from steelyard.layers.flax.roles import ROLES, SUBLAYER_ROLES, conv_roles, conv_transpose_roles, general_roles, own_shape
from steelyard.layers.roles import stack_of, stacked_axes

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.layers.roles import ParameterRoles

_NO_WEIGHTS = (nnx.RngState, nnx.Intermediate, nnx.Perturbation)


def tree_framework(leaf: object) -> str | None:
    """Return "jax" for frozen dicts, boxes with partition names and Flax's dataclasses, which are parts of a larger tree."""
    return "jax" if isinstance(leaf, (FrozenDict, struct.PyTreeNode)) and not isinstance(leaf, TrainState) else None


def is_immutable(model: object) -> bool:
    """Return whether a step of training makes a new object, as all of linen's are; a module of NNX is changed in place."""
    return not isinstance(model, nnx.Pytree)


def parameters(model: object, listed: Sequence[Weight]) -> list[str] | None:
    """Return the names of what Flax calls parameters: each `nnx.Param`, and linen's collection "params"."""
    if isinstance(model, (nnx.Variable, nnx.Pytree, nnx.State)):
        return [weight.name for weight in listed if weight.trainable]
    named: list[str] = load("frameworks", "jax").parameters(tree(model), listed)
    return named


def weights(model: object) -> Iterable[Weight]:
    """List the weights of a module, a state or a tree; those of a train state are its parameters and other collections.

    Raises `NotFittedError` for a linen module without variables.
    """
    if isinstance(model, nnx.Variable):
        return [weight.replace(trainable=isinstance(model, nnx.Param)) for weight in _parts("", model)]
    if isinstance(model, (nnx.Pytree, nnx.State)):
        return _nnx_weights(model)
    listed: Iterable[Weight] = load("frameworks", "jax").weights(tree(model))
    return listed


def assign(model: Any, arrays: Mapping[str, Array]) -> Any:
    """Write into a module of NNX and return it; return a new object in place of any other."""
    if not arrays:
        return model
    if isinstance(model, nnx.Variable):
        model.set_value(_replaced("", model, arrays))
        return model
    if isinstance(model, nnx.State):
        return _new_state(model, arrays)
    if isinstance(model, nnx.Pytree):
        _write(model, arrays)
        return model
    return _rebuilt(model, load("frameworks", "jax").assign(tree(model), arrays))


def tree(model: object) -> Any:
    """Return the tree of arrays that a linen object holds or is."""
    if isinstance(model, TrainState):
        # flax.struct marks the fields of a train state that are not arrays, such as apply_fn and tx
        nodes = [field.name for field in fields(model) if field.metadata.get("pytree_node", True)]
        return {name: getattr(model, name) for name in nodes if name not in ("step", "opt_state")}
    if isinstance(model, linen.Module):
        if model.scope is None:
            raise NotFittedError(
                f"a linen {type(model).__name__} has no numbers; pass the variables that model.init(key, x) returns"
            )
        return model.variables
    if isinstance(model, (FrozenDict, struct.PyTreeNode)):
        return model
    raise UnknownModelError(f"a flax {type(model).__name__} has no weights; pass a module of NNX, a state or the variables")


def _rebuilt(model: object, tree: Any) -> Any:
    if isinstance(model, TrainState):
        return model.replace(**tree)
    return model.unbind()[0].bind(tree) if isinstance(model, linen.Module) else tree


def _leaves(model: nnx.Pytree | nnx.State) -> Iterator[tuple[str, nnx.graph.PathParts, object]]:
    """Yield name, path and leaf: a variable, or an array outside of variables."""
    state = model if isinstance(model, nnx.State) else nnx.state(model)
    for path, leaf in nnx.to_flat_state(state):
        if not isinstance(leaf, _NO_WEIGHTS):
            yield "/".join(map(str, path)), path, leaf


def _nnx_weights(model: nnx.Pytree | nnx.State) -> list[Weight]:
    modules = dict(nnx.iter_graph(model)) if isinstance(model, nnx.Pytree) else {}
    listed: list[Weight] = []
    moments: dict[str, Weight] = {}  # of an optimizer: they have the names of its weights, but are none of them
    for name, path, leaf in _leaves(model):
        known = _known(modules, path)
        for weight in _parts(name, leaf):
            held = _held(model, path, leaf, weight)
            if isinstance(leaf, nnx.OptState) and weight.shape:
                listed.append(held)
                moments[weight.name] = held
                continue
            role, axes = known.get(str(path[-1]), (Role.OTHER, ""))
            axes = _axes_of(axes, weight.shape, modules.get(path[:-1]), str(path[-1]))
            listed.append(held.replace(role=role, axes=axes, trainable=isinstance(leaf, nnx.Param)))
    inferred = infer_roles(weight for weight in listed if weight.name not in moments)
    inferred = inferred if modules else with_nnx_facts(inferred)
    if not moments:
        return inferred
    found = moments | {weight.name: weight for weight in inferred}
    return [found[weight.name] for weight in listed]


def _axes_of(axes: str, shape: tuple[int, ...], owner: object, leaf: str) -> str:
    """Return the axes of a variable of a known class, whose layers may be stacked; blank if they do not fit."""
    if not axes or len(axes.split()) == len(shape):
        return axes
    kind = next((name for name in _bases(owner) if name in (*ROLES, "Conv", "ConvTranspose")), "")
    stack = stack_of(shape, own_shape(kind, owner, leaf))
    return stacked_axes(axes, shape, stack) if stack else ""


def _held(model: nnx.Pytree | nnx.State, path: nnx.graph.PathParts, leaf: object, weight: Weight) -> Weight:
    """Return a weight that is refused when the module holds another variable in the place of its own."""
    if not isinstance(model, nnx.Pytree) or not isinstance(leaf, nnx.Variable):
        return weight
    return while_held(weight, lambda: require_at(model, path, leaf, weight.name))


def _parts(name: str, leaf: object) -> Iterator[Weight]:
    """List the array of a variable, or the arrays where its value is a tree."""
    value = _value(leaf)
    for part in framework_of(value).weights(value):
        full = f"{name}/{part.name}" if name and part.name else name or part.name
        read = _reader(leaf, part.name) if isinstance(leaf, nnx.Variable) else part.read
        yield part.replace(name=full, layer=layer_of(full), read=read)


def _value(leaf: object) -> object:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _reader(variable: nnx.Variable, part: str) -> Reader:
    """Return a reader of the present value of a variable, which gets a new array when it changes."""

    def read(start: int, stop: int) -> Array:
        value = variable.get_value()
        (now,) = (weight for weight in framework_of(value).weights(value) if weight.name == part)
        return now.read(start, stop)

    return read


def _replaced(name: str, leaf: object, arrays: Mapping[str, Array]) -> object:
    """Return the value of a leaf with its new arrays."""
    value = _value(leaf)
    parts = {weight.name: weight for weight in framework_of(value).weights(value)}
    own = {}
    for part in parts:
        full = f"{name}/{part}" if name and part else name or part
        if full in arrays:
            own[part] = arrays[full].copy()
    if isinstance(value, (np.ndarray, np.generic)):
        return own.get("", value)
    return framework_of(value).assign(value, own)


def _write(module: nnx.Pytree, arrays: Mapping[str, Array]) -> None:
    for name, path, leaf in _leaves(module):
        new = _replaced(name, leaf, arrays)
        if isinstance(leaf, nnx.Variable):
            leaf.set_value(new)
        else:  # an array that is directly an attribute
            nnx.update(module, nnx.from_flat_state([(path, new)]))


def _new_state(state: nnx.State, arrays: Mapping[str, Array]) -> nnx.State:
    flat = []
    named = {path: name for name, path, _ in _leaves(state)}
    for path, leaf in nnx.to_flat_state(state):
        new = _replaced(named[path], leaf, arrays) if path in named else None
        flat.append((path, leaf if new is None else leaf.replace(new) if isinstance(leaf, nnx.Variable) else new))
    return nnx.from_flat_state(flat)


def _known(modules: Mapping[nnx.graph.PathParts, object], path: nnx.graph.PathParts) -> ParameterRoles:
    """Return the roles by the class that holds a variable, or by the class around that one."""
    # the variables of an attention are in LinearGeneral modules, whose axes only the attention around them knows
    for name in _bases(modules.get(path[:-2])) if len(path) > 1 else ():
        if path[-2] in SUBLAYER_ROLES.get(name, {}):
            return SUBLAYER_ROLES[name][path[-2]]
    if path[-2:-1] == ("scales",) and "WeightNorm" in _bases(modules.get(path[:-2])):
        return {str(path[-1]): (Role.SCALE, "out")}
    owner = modules.get(path[:-1])
    if isinstance(owner, nnx.Conv):
        return conv_roles(len(owner.kernel_shape) - 2)
    if isinstance(owner, nnx.ConvTranspose):
        return conv_transpose_roles(len(owner.kernel_shape) - 2, transpose_kernel=owner.transpose_kernel)
    if isinstance(owner, nnx.LinearGeneral):
        inputs, outputs = (1 if isinstance(width, int) else len(width) for width in (owner.in_features, owner.out_features))
        return general_roles(inputs, outputs)
    return next((ROLES[name] for name in _bases(owner) if name in ROLES), {})


def _bases(module: object) -> list[str]:
    """Return the names of Flax's own classes; the same name in a user's class may mean anything."""
    return [base.__name__ for base in type(module).__mro__ if base.__module__.startswith("flax.")]
