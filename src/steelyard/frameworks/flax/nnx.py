"""Flax NNX: a copy of a module is run, with the classes of its modules patched, since NNX has no interceptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from steelyard.core.graph import Layer, Run, argument_names
from steelyard.core.plugins import framework_of
from steelyard.frameworks.jax.graph import LayerRecorder, in_double, outputs_of, patched, traced
from steelyard.layers.flax.kinds import WHOLE, WRAPPERS, known_class, layer_for, settings_inside, settings_of_run
from steelyard.layers.jax.kinds import activation_layer
from steelyard.layers.jax.trees import defined_layers, with_settings

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.weight import Array
    from steelyard.frameworks.jax.graph import Doubling
    from steelyard.layers.jax.trees import DefinedLayers


def graph(model: nnx.Module, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of a module."""
    names = _names(model)
    defined = _defined(model, names)
    if inputs is None:
        return defined.graph()
    copy, calls = _copy(model), LayerRecorder(marking=True)

    def call(state: nnx.State, given: Sequence[jax.Array]) -> object:
        return jax.tree_util.tree_leaves(_call(nnx.merge(definition, state), given, calls, names))

    definition, state = nnx.split(copy)
    given = state, [jnp.asarray(x) for x in inputs]
    arguments = traced(call, given, calls, argument_names(model.__call__, len(inputs)))
    return defined.graph_of_run(calls.layers, arguments, inputs)


def run(model: nnx.Module, inputs: Sequence[Array]) -> Run:
    """Run a copy of a module."""
    names = _names(model)

    def attempt(doubled: Doubling) -> Run:
        calls, copy = LayerRecorder(), _copy(model)
        nnx.update(copy, doubled(nnx.state(copy)))
        _widen(copy)
        given = [doubled(jnp.asarray(x)) for x in inputs]
        return Run(outputs_of(_call(copy, given, calls, names)), calls.arrays())

    return in_double(attempt)


def _names(model: nnx.Module) -> list[str]:
    """Return the names of the layers that have weights, in the order of these."""
    return list(dict.fromkeys(weight.layer for weight in framework_of(model).weights(model)))


def _copy(model: nnx.Module) -> nnx.Module:
    copy = nnx.clone(model)
    copy.eval()
    return copy


def _widen(copy: nnx.Module) -> None:
    """Let modules with an explicit float32 compute in float64 if their numbers are widened."""
    for _, module in nnx.iter_graph(copy):
        for name in ("dtype", "param_dtype") if jax.config.jax_enable_x64 and isinstance(module, nnx.Module) else ():
            declared = vars(module).get(name)
            if declared is not None and jnp.dtype(declared) == jnp.float32:
                setattr(module, name, jnp.float64)


def _modules(model: nnx.Module) -> dict[int, tuple[str, nnx.Module]]:
    """Return the modules inside a module by identity, each with its name."""
    named = [("/".join(map(str, path)), module) for path, module in nnx.iter_graph(model) if isinstance(module, nnx.Module)]
    return {id(module): (name, module) for name, module in named}


def _call(model: nnx.Module, inputs: Sequence[jax.Array], calls: LayerRecorder, names: Sequence[str]) -> object:
    modules = _modules(model)

    def seen(module: nnx.Module, call: partial[object]) -> object:
        return _seen(module, call, calls, modules, names)

    # RNN too: one may be created during the call, around a cell of the model
    with patched({nnx.RNN, *(type(module) for _, module in modules.values())}, seen):
        return model(*inputs)


def _seen(
    module: nnx.Module,
    call: partial[object],
    calls: LayerRecorder,
    modules: Mapping[int, tuple[str, nnx.Module]],
    names: Sequence[str],
) -> object:
    """Record the call of one module; a recurrent layer, which may be created during a call, is recorded as its cell."""
    if isinstance(module, nnx.RNN) and id(module.cell) in modules:
        cell = with_settings(layer_for(modules[id(module.cell)][0], module.cell), **settings_of_run(module, call))
        return calls.record(cell, call, whole=True)
    if id(module) not in modules:
        return call()
    name, whole = modules[id(module)][0], known_class(module) in WHOLE
    layer = _layer(name, module) if whole or name in names else None
    return calls.record(layer, call, whole=whole, inside=settings_inside(module))


def _layer(name: str, module: nnx.Module | None) -> Layer:
    """Describe a module; a norm that wraps a layer is one layer with it."""
    if module is None or known_class(module) not in WRAPPERS:
        return layer_for(name, module)
    return with_settings(layer_for(name, module.layer_instance), **settings_inside(module))


def _defined(model: nnx.Module, names: Sequence[str]) -> DefinedLayers:
    return defined_layers(
        _sequence(model, ""),
        names,
        modules=lambda: dict(_modules(model).values()),
        describe=_layer,
        known_class=known_class,
        whole=WHOLE,
        channels="last",
    )


def _sequence(module: Any, name: str) -> Iterator[Layer | None]:
    """Yield the layers that certainly run one after another, and None for a module with a calling order of its own."""
    if known_class(module) in WHOLE:
        yield _layer(name, module)
    elif type(module) is nnx.RNN:
        yield with_settings(layer_for(_under(name, "cell"), module.cell), **settings_of_run(module, partial(module)))
    elif type(module) is nnx.Bidirectional:
        for part, direction in (("forward_rnn", "forward"), ("backward_rnn", "backward")):
            inner = _sequence(getattr(module, part), _under(name, part))
            yield from (layer and with_settings(layer, direction=direction) for layer in inner)
    elif type(module) is nnx.Sequential:
        for place, member in enumerate(module.layers):
            yield from _sequence(member, _under(name, f"layers/{place}"))
    else:
        yield None if isinstance(module, nnx.Module) else activation_layer(name, module)


def _under(name: str, part: str) -> str:
    return f"{name}/{part}" if name else part
