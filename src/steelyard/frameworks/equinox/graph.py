"""Equinox: a module is run in inference mode, with its classes patched during the run; a sequence or MLP needs no run.

Equinox's modules take one example, so the examples of a batch are passed one after another. A module that does not take
one example is given the whole batch. Further arguments of a module, such as the state of batch norms, are bound to it by
`eqx.Partial(model, state=state)`; a state that it returns does not count as an output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from steelyard.core.graph import Layer, Run, argument_names
from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, UnknownModelError, printable
from steelyard.frameworks.jax.graph import LayerRecorder, in_double, outputs_of, patched, traced
from steelyard.layers.equinox.kinds import WHOLE, known_class, layer_for
from steelyard.layers.jax.kinds import activation_layer
from steelyard.layers.jax.trees import defined_layers

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.weight import Array
    from steelyard.frameworks.jax.graph import Doubling
    from steelyard.layers.jax.trees import DefinedLayers

Found = TypeVar("Found")


def graph(model: eqx.Module | eqx.nn.State, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers; with inputs, in the order in which they run. The run is traced, so nothing is computed."""
    names = list(dict.fromkeys(weight.layer for weight in framework_of(model).weights(model)))
    defined = _defined(model, names)
    if inputs is None:
        return defined.graph()
    calls, arguments = _trace(model, inputs, names)
    return defined.graph_of_run(calls.layers, arguments, inputs)


def run(model: eqx.Module | eqx.nn.State, inputs: Sequence[Array]) -> Run:
    """Run the model in inference mode and in float64, one example at a time.

    Raises `ShapeError` if it takes neither one example nor a batch, and `UnknownModelError` for a state.
    """
    names = [weight.layer for weight in framework_of(model).weights(model)]
    return _either(model, lambda batched: _run(model, inputs, names, batched))


def _run(model: eqx.Module | eqx.nn.State, inputs: Sequence[Array], names: Sequence[str], batched: int) -> Run:
    def attempt(doubled: Doubling) -> Run:
        wide, given = doubled(model), [doubled(jnp.asarray(x)) for x in inputs]
        if batched:
            calls = LayerRecorder()
            return Run(outputs_of(_called(wide, given, names, calls)), calls.arrays())
        examples = [[x[place] for x in given] for place in range(min(map(len, given), default=0))]
        runs = [(calls := LayerRecorder(batched=0), _called(wide, example, names, calls)) for example in examples]
        return _stacked(runs)

    return in_double(attempt)


def _stacked(runs: Sequence[tuple[LayerRecorder, object]]) -> Run:
    """Put the outputs of single examples together."""
    outputs = [np.stack(each) for each in zip(*(outputs_of(given) for _, given in runs), strict=True)]
    layers = [calls.arrays() for calls, _ in runs]
    shared = [name for name in layers[0] if all(name in each for each in layers)] if layers else []
    return Run(outputs, {name: np.stack([each[name] for each in layers]) for name in shared})


def _trace(model: eqx.Module | eqx.nn.State, inputs: Sequence[Array], names: Sequence[str]) -> tuple[LayerRecorder, list[str]]:
    """Trace a run, and return the calls and the names of the inputs."""

    def attempt(batched: int) -> tuple[LayerRecorder, list[str]]:
        calls = LayerRecorder(batched=batched, marking=True)

        def call(*given: jax.Array) -> list[jax.Array]:
            outputs = _called(model, given, names, calls)
            return [leaf for leaf in jax.tree_util.tree_leaves(outputs) if isinstance(leaf, jax.Array)]

        given = [jnp.asarray(x if batched else x[0]) for x in inputs]
        return calls, traced(call, given, calls, argument_names(model.__call__, len(inputs)))

    return _either(model, attempt)


def _either(model: eqx.Module | eqx.nn.State, attempt: Callable[[int], Found]) -> Found:
    """Return the result of single examples or, if the model does not take them, of the whole batch."""
    if not callable(model):
        raise UnknownModelError(f"an equinox {type(model).__name__} is not callable; pass the module that is called")
    _check_arguments(model)
    try:
        return attempt(0)
    except (TypeError, ValueError, IndexError) as single:
        try:
            return attempt(1)
        except (TypeError, ValueError, IndexError) as all_at_once:
            raise ShapeError(
                f"this {type(model).__name__} takes neither one example ({_line(single)}) nor a batch ({_line(all_at_once)})"
            ) from single


def _line(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0])


def _check_arguments(model: eqx.Module) -> None:
    parameters = inspect.signature(type(model).__call__).parameters.values()
    if any(each.name == "state" and each.default is each.empty for each in parameters):
        raise UnknownModelError(
            f"this {type(model).__name__} takes a state in addition to its inputs; pass eqx.Partial(model, state=state)"
        )


def _called(model: eqx.Module, inputs: Sequence[jax.Array], names: Sequence[str], calls: LayerRecorder) -> list[object]:
    """Call the model in inference mode, record the calls of its layers, and return its outputs without states."""
    model = eqx.nn.inference_mode(model)
    modules = {id(module): (name, module) for name, module in _modules(model, "")}

    def seen(module: eqx.Module, call: partial[object]) -> object:
        name, _ = modules.get(id(module), (None, None))
        known = known_class(module)
        if name is None or not (known or name in names):
            return call()
        return calls.record(layer_for(name, module), call, whole=bool(known))

    with patched({type(module) for _, module in modules.values()}, seen):
        given = model(*inputs, **_extras(model))
    leaves = jax.tree_util.tree_leaves(given, is_leaf=lambda leaf: isinstance(leaf, eqx.nn.State))
    return [leaf for leaf in leaves if not isinstance(leaf, eqx.nn.State)]


def _extras(model: eqx.Module) -> dict[str, jax.Array]:
    """Return a key for a model that requires one; inference mode does not draw from it."""
    key = inspect.signature(type(model).__call__).parameters.get("key")
    return {"key": jax.random.key(0)} if key is not None and key.default is key.empty else {}


def _modules(model: eqx.Module, name: str) -> Iterator[tuple[str, eqx.Module]]:
    """Yield a module and the modules inside it, each with its path."""
    yield name, model
    leaves, _ = tree_flatten_with_path(model, is_leaf=lambda leaf: leaf is not model and isinstance(leaf, eqx.Module))
    for path, member in leaves:
        if isinstance(member, eqx.Module):
            yield from _modules(member, f"{name}{keystr(path)}".removeprefix("."))


def _defined(model: eqx.Module | eqx.nn.State, names: Sequence[str]) -> DefinedLayers:
    is_module = isinstance(model, eqx.Module)
    return defined_layers(
        _sequence(model, "") if is_module else [None],
        names,
        modules=lambda: dict(_modules(model, "")) if is_module else {},
        describe=layer_for,
        known_class=known_class,
        whole=WHOLE,
        channels="first",
    )


def _sequence(module: Any, name: str) -> Iterator[Layer | None]:
    """Yield the layers that certainly run one after another, and None for a module with a calling order of its own."""
    if known_class(module):
        yield layer_for(name, module)
    elif type(module) is eqx.nn.Lambda:
        yield _activation(name, module.fn)
    elif type(module) is eqx.nn.Sequential:
        for place, member in enumerate(module.layers):
            yield from _sequence(member, _under(name, f"layers[{place}]"))
    elif type(module) is eqx.nn.MLP:
        yield from _perceptron(module, name)
    elif type(module) is not eqx.nn.Identity:
        yield None


def _perceptron(module: eqx.nn.MLP, name: str) -> Iterator[Layer | None]:
    """Yield the layers of an MLP; its activations have the names of their attributes, with an index."""
    last = len(module.layers) - 1
    for place, member in enumerate(module.layers):
        yield layer_for(_under(name, f"layers[{place}]"), member)
        if place < last:
            yield _activation(_under(name, f"activation[{place}]"), module.activation)
        elif getattr(module.final_activation, "__module__", None) != eqx.nn.MLP.__module__:
            # its default, no activation, is a lambda of that module
            yield _activation(_under(name, "final_activation"), module.final_activation)


def _activation(name: str, function: object) -> Layer | None:
    """Describe an activation; None, which makes the order uncertain, where `partition` or `filter` took the function out."""
    return None if function is None else activation_layer(name, function)


def _under(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
