"""Keras 3 on any backend: models, layers, optimizers and variables, by `variable.path` and in the order of `weights`.

Two layers in Keras may have the same path (a loaded base model and a new head may both hold a layer called `dense`).
Then the second layer is called `dense#2`, and so on. The value of a variable belongs to the backend, whose own
framework reads and writes it. The roles of variables come from a table shared with Keras files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import keras
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.saving.saving_lib import _walk_saveable
from keras.src.utils.naming import to_snake_case

from steelyard.core.held import Link, entry_of, require_held
from steelyard.core.members import while_held, with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.readers import Placed
from steelyard.core.roles import role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import NotFittedError, UnknownModelError, quoted
from steelyard.layers.keras.roles import ROLES, SUBLAYERS, VariableRole, VariableRoles, einsum_roles

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Reader

Trained = TypeVar("Trained", bound="keras.Layer | keras.Optimizer | keras.Variable")

_LORA: VariableRoles = (
    VariableRole("lora_kernel_a", Role.OTHER, "in rank"),
    VariableRole("lora_kernel_b", Role.OTHER, "rank out"),
)
_PACKED_BITS = ("int4", "gptq", "awq")
"""Quantisation modes that pack several numbers into one, so that the axes differ from those of the layer."""


def weights(model: keras.Layer | keras.Optimizer | keras.Variable) -> Iterator[Weight]:
    """List `model.weights`, which omits the state of random seeds and metrics; a bare variable has no name.

    Raises `NotFittedError` for a model or a layer that is not built.
    """
    if isinstance(model, keras.Variable):
        return iter([_weight("", "", model, None, trainable=model.trainable)])
    listed = list(_listed(model))
    links = _links_of(model)
    return with_ties(_weight(name, layer, variable, links.get(id(variable)), **facts) for name, layer, variable, facts in listed)


def assign(model: Trained, arrays: Mapping[str, Array]) -> Trained:
    """Write into the variables, which stay the same objects, so that an optimizer keeps them.

    An optimizer with `use_ema` averages them, and at the end of `fit` puts the averages into the model: they start again.
    """
    variables = {"": model} if isinstance(model, keras.Variable) else {name: v for name, _, v, _ in _listed(model)}
    averages = _averages(model)
    for name, array in arrays.items():
        variable = variables[name]
        _put(variable, array)
        if id(variable) in averages:
            _put(averages[id(variable)], array)
    if not arrays:  # the numbers went straight into PyTorch's memory
        for _, _, variable, _ in _listed(model) if averages else ():
            if id(variable) in averages:
                keras.Variable.assign(averages[id(variable)], variable.value)
    return model


def own_name(part: object) -> str:
    """Return the path of a variable; blank for a model or a layer, which has names for its own variables."""
    return str(part.path) if isinstance(part, keras.Variable) else ""


def _put(variable: keras.Variable, array: Array) -> None:
    value = variable.value
    new = framework_of(value).assign(value, {"": array})
    if new is not value:
        keras.Variable.assign(variable, new)  # not an override, which may change the numbers


def _averages(model: object) -> dict[int, keras.Variable]:
    """Return the averages that the optimizer of a compiled model keeps, by the identity of the variable."""
    optimizer: Any = getattr(model, "optimizer", None)
    # LossScaleOptimizer wraps the optimizer that keeps the averages
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", None) or []
    return dict(zip(map(id, optimizer._trainable_variables), averages, strict=False)) if averages else {}


def parameters(model: object, listed: Sequence[Weight]) -> list[str] | None:
    """Return the names of the variables that a layer made trainable, also those that are frozen now.

    Moving statistics, counters and the state of random seeds are not among them. None for an optimizer.
    """
    if isinstance(model, keras.Variable):
        return [weight.name for weight in listed if weight.trainable]
    if not isinstance(model, keras.layers.Layer) or len(model.weights) != len(listed):
        return None
    made = {id(variable) for layer in model._flatten_layers() for variable in layer._trainable_variables}
    return [weight.name for weight, variable in zip(listed, model.weights, strict=True) if id(variable) in made]


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights of the layers of a model that are quantised, or have LoRA."""
    from steelyard.frameworks.keras.effective import layer_weights

    if isinstance(model, keras.layers.Layer):
        named = ((id(variable), pieces.get(name)) for name, _, variable, _ in _listed(model))
        variables = {key: weight for key, weight in named if weight is not None}
        for layer in model._flatten_layers():
            yield from layer_weights(layer, variables)


def meta(model: object) -> dict[str, Plain]:
    """Return the layout of a `.weights.h5` file of the model: each group with the layer's name and the weight in each slot.

    Keras's own methods list the parts of a model and the variables of each, since a user's layer may override the methods
    that save them. A slot without a weight of the model is named by its path, which then matches no weight.
    """
    if not isinstance(model, keras.layers.Layer):
        return {}
    names = {id(variable): name for name, _, variable, _ in _listed(model)}
    layout: dict[str, Plain] = {}
    for group, label, kept in _groups(model, "", set()):
        slots: dict[str, Plain] = {slot: names.get(id(value), f"{group}/vars/{slot}") for slot, value in kept.items()}
        layout[group] = {"name": label, "vars": slots}
    return {"layout": layout}


def _groups(thing: KerasSaveable, path: str, seen: set[int]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield path, name and slots of each group in the order of writing; an optimizer does not belong to the model.

    Layers without variables have a group with their name, too.
    """
    if id(thing) in seen or isinstance(thing, keras.optimizers.Optimizer):
        return
    seen.add(id(thing))
    kept: dict[str, object] = {}
    # the slots of a group are the keys under which this method stores the variables
    if hasattr(thing, "save_own_variables"):
        thing.save_own_variables(kept)
        yield path, str(getattr(thing, "name", "")), kept
    # Keras has no public function for the order in which it visits the parts of a model
    for attribute, child in _walk_saveable(thing):
        yield from _below(child, f"{path}/{attribute}".strip("/"), seen, ())


def _below(child: object, path: str, seen: set[int], above: tuple[int, ...]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Descend into a layer or a container, whose members are named by class and number."""
    if isinstance(child, KerasSaveable):
        yield from _groups(child, path, seen)
    elif isinstance(child, (list, tuple, dict)) and id(child) not in above:
        counts: Counter[str] = Counter()
        for member in child.values() if isinstance(child, dict) else child:
            if isinstance(member, (KerasSaveable, list, tuple, dict)):
                word = to_snake_case(type(member).__name__) if isinstance(member, KerasSaveable) else "container"
                name = f"{word}_{counts[word]}" if counts[word] else word
                counts[word] += 1
                yield from _below(member, f"{path}/{name}", seen, (*above, id(child)))


def _listed(model: object) -> Iterator[tuple[str, str, keras.Variable, dict[str, Any]]]:
    """Yield name, layer, variable and facts of each weight."""
    if isinstance(model, keras.optimizers.Optimizer):
        variables, facts = model.variables, {}
    elif isinstance(model, keras.layers.Layer):
        _require_built(model)
        variables, facts = model.weights, _facts_of(model)
    else:
        raise UnknownModelError(f"a keras {type(model).__name__} has no weights; pass a model, a layer or a variable")
    owners = {key: layer for key, (layer, _, _) in facts.items()}
    for variable, (layer_name, leaf) in zip(variables, _names(variables, owners), strict=True):
        _, role, axes = facts.get(id(variable), (None, role_of(variable.path, len(variable.shape)), ""))
        yield (
            f"{layer_name}/{leaf}" if layer_name else leaf,
            layer_name,
            variable,
            {"role": role, "axes": axes, "trainable": variable.trainable},
        )


def _require_built(model: keras.layers.Layer) -> None:
    if not model.built:
        raise NotFittedError(
            f"the Keras {type(model).__name__} {quoted(model.name)} is not built, so some weights do not exist yet; "
            "call model.build(input_shape), or the model on one batch, first"
        )


def _names(variables: list[keras.Variable], owners: Mapping[int, keras.Layer]) -> Iterator[tuple[str, str]]:
    """Yield layer and last word of each path; the second layer of one path becomes `path#2`."""
    # Keras makes names unique among the layers of a model only, so layers of different models may share a path
    known: dict[str, list[keras.Layer | None]] = {}
    taken: Counter[tuple[str, str]] = Counter()
    for variable in variables:
        layer, _, leaf = variable.path.rpartition("/")
        holders = known.setdefault(layer, [])
        owner = owners.get(id(variable))
        if not any(owner is holder for holder in holders):
            holders.append(owner)
        place = next(n for n, holder in enumerate(holders, start=1) if holder is owner)
        layer = f"{layer}#{place}" if place > 1 else layer
        taken[layer, leaf] += 1
        count = taken[layer, leaf]
        yield layer, f"{leaf}#{count}" if count > 1 else leaf


def _weight(name: str, layer: str, variable: keras.Variable, link: Link | None, **facts: Any) -> Weight:
    (plain,) = framework_of(variable.value).weights(variable.value)
    found = plain.replace(name=name, layer=layer, read=_reader(variable, plain.read), **facts)
    value = Link(vars(variable), "_value", variable._value, link) if _keeps_value() else link
    return while_held(found, lambda: require_held(value, name))


def _reader(variable: keras.Variable, first: Reader) -> Reader:
    """Return a reader of the present value, which some backends replace when a variable changes."""

    def read(start: int, stop: int) -> Array:
        (now,) = framework_of(variable.value).weights(variable.value)
        return now.read(start, stop)

    return first if _keeps_value() else Placed(read, id(variable))


def _keeps_value() -> bool:
    """Whether a variable that changes keeps its value: PyTorch's memory, or TensorFlow's own variable, which two may share."""
    return str(keras.backend.backend()) in ("torch", "tensorflow")


def _links_of(model: object) -> dict[int, Link]:
    """Return the entry by which a layer or an optimizer holds each of its variables, by their identity."""
    if isinstance(model, keras.optimizers.Optimizer):
        return {id(variable): Link(model._variables, None, variable, None) for variable in model._variables}
    links: dict[int, Link] = {}
    _link_variables(model, None, links, set())
    return links


def _link_variables(layer: Any, above: Link | None, links: dict[int, Link], seen: set[int]) -> None:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    for held in (layer._trainable_variables, layer._non_trainable_variables):
        for variable in held:
            link = entry_of(layer, variable, held, above)
            if link is not None:
                links.setdefault(id(variable), link)
    for inner in layer._layers:
        _link_variables(inner, entry_of(layer, inner, layer._layers, above), links, seen)


def _facts_of(model: keras.layers.Layer) -> dict[int, tuple[keras.Layer, Role, str]]:
    """Return the layer, role and axes of each variable, by its identity."""
    layers = model._flatten_layers()
    projections = _projections(layers)
    facts: dict[int, tuple[keras.Layer, Role, str]] = {}
    for layer in layers:
        known = projections.get(id(layer)) or _known(layer)
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            path, _, leaf = variable.path.rpartition("/")
            if id(variable) in facts and layer.path != path:
                continue  # this layer only refers to the variable of another
            fact = next((each for each in known if each.leaf == leaf), None) or VariableRole(
                leaf, role_of(leaf, len(variable.shape))
            )
            axes = "" if _is_packed(layer, leaf) else fact.axes_for(len(variable.shape))
            facts[id(variable)] = layer, fact.role, axes
    return facts


def _known(layer: keras.layers.Layer) -> VariableRoles:
    """Return the variables of the nearest of Keras's own classes; the same name in a user's class may mean anything."""
    if isinstance(layer, keras.layers.EinsumDense):
        return einsum_roles(layer.equation, layer.bias_axes)
    for base in type(layer).__mro__:
        if base.__module__.startswith("keras."):
            # one class of cell serves all ranks, and only the layer around it has the rank in its name
            name = f"ConvLSTM{layer.rank}D" if base.__name__ == "ConvLSTMCell" else base.__name__
            if name in ROLES:
                return ROLES[name] + (_LORA if name == "Dense" else ())
    return ()


def _is_packed(layer: keras.layers.Layer, leaf: str) -> bool:
    return leaf in ("kernel", "embeddings", "quantized_kernel") and getattr(layer, "quantization_mode", None) in _PACKED_BITS


def _projections(layers: list[keras.Layer]) -> dict[int, VariableRoles]:
    """Return the variables of the projections inside attention layers, whose axes are heads."""
    return {
        id(getattr(layer, part.attribute, None)): ROLES[part.kind]
        for layer in layers
        if isinstance(layer, (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention))
        for part in SUBLAYERS["GroupQueryAttention"]
    }
