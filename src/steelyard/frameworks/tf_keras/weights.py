"""Keras 2: models, layers, optimizers and variables, by the variables' names and in the order of `weights`.

The package need not be imported here: an object of it has its classes. Those that Keras 2 made are recognised by the name of
their module, since `tf_keras` and `tensorflow.python.keras` have the same ones. TensorFlow reads and writes the variables.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from steelyard.codecs.keras.legacy import distinct_name
from steelyard.core.held import replaced
from steelyard.core.members import while_held, with_ties
from steelyard.core.plugins import load
from steelyard.core.roles import role_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import NotFittedError, UnknownModelError, UnreadableError, printable, quoted
from steelyard.layers.keras.roles import ROLES, SUBLAYERS, VariableRole, VariableRoles, einsum_roles

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.weight import Array

HOMES = ("tf_keras.", "tensorflow.python.keras.", "keras.")
"""The prefixes of the modules of Keras 2's own classes."""
_OPTIMIZERS = ("Optimizer", "_BaseOptimizer", "OptimizerV2")


class _Listed(NamedTuple):
    """A variable or a vocabulary with its name, its layer, its role and axes."""

    name: str
    layer: str
    variable: Any
    role: Role
    axes: str = ""


def weights(model: object) -> Iterator[Weight]:
    """List `model.weights`, which omits metrics and the state of random seeds; a bare variable has no name.

    Raises `NotFittedError` for a model or a layer that is not built.
    """
    if isinstance(model, tf.Variable):
        return iter(load("frameworks", "tensorflow").weights(_plain(model)))
    trained = {id(variable) for variable in _trained(model)}
    holders = _holders(model)
    listed = ((each, _weight(each, is_trained=id(each.variable) in trained)) for each in _listed(model))
    return with_ties(_held(model, holders.get(id(each.variable)), each.variable, weight) for each, weight in listed)


def _holders(model: Any) -> dict[int, Any]:
    """Return the layer that holds each variable, by the variable's identity; empty for an optimizer."""
    layers = list(model._flatten_layers()) if is_layer(model) else []
    return {id(variable): layer for layer in layers for variable in _own_variables(layer)}


def _own_variables(layer: Any) -> list[Any]:
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _held(model: Any, holder: Any, variable: Any, weight: Weight) -> Weight:
    """Return a weight that is refused when the layer holds other variables, or the model other layers."""

    def check() -> None:
        is_held = any(each is variable for each in _own_variables(holder))
        if not is_held or not any(layer is holder for layer in model._flatten_layers()):
            raise replaced(weight.name)

    return weight if holder is None else while_held(weight, check)


def assign(model: Any, arrays: Mapping[str, Array]) -> Any:
    """Write into the variables, which stay the same objects, so that an optimizer keeps them.

    An optimizer with `use_ema` averages them, and at the end of `fit` puts the averages into the model: they start again.
    """
    variables = {"": model} if isinstance(model, tf.Variable) else {each.name: each.variable for each in _listed(model)}
    for name, array in arrays.items():
        for variable in (variables[name], *_average_of(model, variables[name])):
            _plain(variable).assign(array.copy())  # TensorFlow may keep the memory that is passed to it
    return model


def _average_of(model: object, variable: Any) -> list[tf.Variable]:
    """Return the average of a variable that the optimizer of a compiled model keeps, if there is one."""
    optimizer: Any = getattr(model, "optimizer", None)
    # LossScaleOptimizer wraps the optimizer that keeps the averages
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", None) or []
    place = optimizer._index_dict.get(optimizer._var_key(variable)) if averages else None
    return [] if place is None else [averages[place]]


def parameters(model: Any, listed: Sequence[Weight]) -> list[str] | None:
    """Return the names of the variables that a layer made trainable, also those that are frozen now.

    Moving statistics and counters are not among them. None for an optimizer.
    """
    if isinstance(model, tf.Variable):
        return [weight.name for weight in listed if weight.trainable]
    if not is_layer(model):
        return None
    made = {id(variable) for layer in model._flatten_layers() for variable in layer._trainable_weights}
    return [each.name for each in _listed(model) if id(each.variable) in made]


def meta(model: Any) -> dict[str, Plain]:
    """Return the layout of a `.weights.h5` file of the model: each group with the layer's name and the weight in each slot.

    TensorFlow's own copy of Keras 2 has no such files, nor do releases before 2.12.
    """
    saving = _saving_of(model) if is_layer(model) else None
    if saving is None:
        return {}
    names = {id(each.variable): each.name for each in _listed(model)}
    layout: dict[str, Plain] = {}
    for group, layer in _groups(saving, model, "", set()):
        kept = [*layer._trainable_weights, *layer._non_trainable_weights]
        slots: dict[str, Plain] = {str(n): names.get(id(v), f"{group}/vars/{n}") for n, v in enumerate(kept)}
        layout[group] = {"name": layer.name, "vars": slots}
    return {"layout": layout}


def is_layer(model: object) -> bool:
    """Whether an object is a model or a layer of Keras 2."""
    return "Layer" in own_classes(model)


def own_classes(thing: object) -> list[str]:
    """Return the names of the classes of Keras 2 that an object has, the nearest first."""
    return [base.__name__ for base in type(thing).__mro__ if base.__module__.startswith(HOMES)]


def _saving_of(model: object) -> Any:
    """Return the module that saves a model, which lists its parts; None in a release without one."""
    home = next(base.__module__ for base in type(model).__mro__ if base.__module__.startswith(HOMES)).partition(".")[0]
    try:
        module = importlib.import_module(f"{home}.src.saving.saving_lib")
    except ImportError:
        return None
    return module if hasattr(module, "_walk_trackable") else None


def _groups(saving: Any, thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield path and layer of each group in the order of writing; optimizers and metrics do not belong to the model."""
    if id(thing) in seen or not is_layer(thing) or "Metric" in own_classes(thing):
        return
    seen.add(id(thing))
    yield path, thing
    for attribute, child in saving._walk_trackable(thing):
        below = f"{path}/{attribute}".strip("/")
        if isinstance(child, (list, dict, tuple, set)):
            counts: dict[str, int] = {}
            for member in child.values() if isinstance(child, dict) else child:
                if saving._is_keras_trackable(member) and id(member) not in seen:
                    word = saving.generic_utils.to_snake_case(type(member).__name__)
                    count = counts[word] = counts.get(word, -1) + 1
                    yield from _groups(saving, member, f"{below}/{word}_{count}" if count else f"{below}/{word}", seen)
        elif saving._is_keras_trackable(child):
            yield from _groups(saving, child, below, seen)


def _listed(model: Any) -> Iterator[_Listed]:
    """Yield each variable of `weights` once; the top-level layer precedes a name that is taken, as in a file."""
    variables, facts, tops = _variables(model), {}, {}
    if is_layer(model):
        facts = _facts_of(model)
        tops = {id(v): layer.name for layer in getattr(model, "layers", [model]) for v in layer.weights}
    taken: set[str] = set()
    for place, variable in enumerate(variables):
        top = tops.get(id(variable), "")
        own = str(getattr(variable, "name", f"{top}/vocabulary:{place}" if top else f"vocabulary:{place}"))
        name = distinct_name(own.rpartition(":")[0] or own, top, taken)
        taken.add(name)
        role, axes = facts.get(id(variable), (role_of(name.rpartition("/")[2], len(getattr(variable, "shape", ()))), ""))
        yield _Listed(name, name.rpartition("/")[0] or top, variable, role, axes)


def _variables(model: Any) -> list[Any]:
    if not is_layer(model):
        if not {*_OPTIMIZERS} & {*own_classes(model)}:
            kind = printable(type(model).__name__)
            raise UnknownModelError(f"a Keras 2 {kind} has no weights; pass a model, a layer or a variable")
        held = model.variables
        return list(held() if callable(held) else held)
    if not model.built:
        raise NotFittedError(
            f"the Keras {printable(type(model).__name__)} {quoted(model.name)} is not built, so some weights do not "
            "exist yet; call model.build(input_shape), or the model on one batch, first"
        )
    return list(model.weights)


def _trained(model: Any) -> list[Any]:
    """Return the variables that training changes now: freezing a layer takes its variables off the model's list."""
    return list(model.trainable_weights) if is_layer(model) and model.built else []


def _weight(each: _Listed, *, is_trained: bool) -> Weight:
    if not isinstance(each.variable, tf.Variable):
        why = f"{printable(each.name)} is a {printable(type(each.variable).__name__)} of text, not of numbers"
        refused = Refused(UnreadableError(why))
        return Weight(name=each.name, shape=(), dtype=UNKNOWN, read=refused, layer=each.layer, trainable=False, encoding="text")
    (plain,) = load("frameworks", "tensorflow").weights(_plain(each.variable))
    made: Weight = plain.replace(name=each.name, layer=each.layer, role=each.role, axes=each.axes, trainable=is_trained)
    return made


def _plain(variable: Any) -> tf.Variable:
    """Return the variable that holds the numbers, which mixed precision wraps to cast them as they are read."""
    return variable._variable if "AutoCastVariable" in own_classes(variable) else variable


def _facts_of(model: Any) -> dict[int, tuple[Role, str]]:
    """Return the role and axes of each variable, by its identity."""
    layers = list(model._flatten_layers())
    projections = {
        id(getattr(layer, part.attribute, None)): ROLES[part.kind]
        for layer in layers
        if "MultiHeadAttention" in own_classes(layer)
        for part in SUBLAYERS["GroupQueryAttention"]
    }
    facts: dict[int, tuple[Role, str]] = {}
    for layer in layers:
        known = projections.get(id(layer)) or _known(layer)
        for variable in (*layer._trainable_weights, *layer._non_trainable_weights):
            rank = len(getattr(variable, "shape", ()))
            leaf = str(getattr(variable, "name", "")).partition(":")[0].rpartition("/")[2]
            fact = next((each for each in known if each.leaf == leaf), None) or VariableRole(leaf, role_of(leaf, rank))
            facts.setdefault(id(variable), (fact.role, fact.axes_for(rank)))
    return facts


def _known(layer: Any) -> VariableRoles:
    """Return the variables of the nearest of Keras's own classes; the same name in a user's class may mean anything."""
    for name in own_classes(layer):
        if name == "EinsumDense":
            return einsum_roles(layer.equation, layer.bias_axes)
        known = ROLES.get(f"ConvLSTM{layer.rank}D" if name == "ConvLSTMCell" else name)
        if known is not None:
            return known
    return ()
