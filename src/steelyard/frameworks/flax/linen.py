"""Flax linen, run under interceptors of its methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen
from flax.errors import FlaxError

from steelyard.core.graph import Layer, Run, argument_names
from steelyard.core.plugins import framework_of, load
from steelyard.errors import ShapeError, printable
from steelyard.frameworks.jax.graph import LayerRecorder, in_double, outputs_of, traced
from steelyard.layers.flax.kinds import KINDS, WHOLE, WRAPPERS, known_class, layer_for, settings_inside, settings_of_run
from steelyard.layers.flax.linen import layers_of_names, path_of
from steelyard.layers.jax.trees import DefinedLayers, with_settings

if TYPE_CHECKING:
    from flax.linen.module import InterceptorContext
    from flax.training.train_state import TrainState
    from flax.typing import VariableDict as Variables

    from steelyard.core.graph import Graph
    from steelyard.core.weight import Array
    from steelyard.frameworks.jax.graph import Doubling

AT_INFERENCE = {
    **dict.fromkeys(("deterministic", "use_running_average", "inference", "eval"), True),
    **dict.fromkeys(("train", "training", "is_training", "is_train", "update_stats"), False),
}
"""The flags that modules commonly take in a call, and their values at inference."""


def graph(model: linen.Module | TrainState, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of a bound module or a train state."""
    module, variables = _unbound(model)
    weights = list(framework_of(model).weights(model))
    names = {path_of(weight.layer) for weight in weights}
    if inputs is None:
        known = [layer_for("", module)] if known_class(module) in KINDS else layers_of_names(weights)
        return DefinedLayers(known, names, WHOLE, "last").graph()
    calls = LayerRecorder(marking=True)
    given = (variables, [jnp.asarray(x) for x in inputs])
    arguments = traced(
        lambda tree, given: jax.tree_util.tree_leaves(_call(module, tree, given, calls, names)),
        given,
        calls,
        argument_names(module.__call__, len(inputs)),
    )
    return DefinedLayers(layers_of_names(weights), names, WHOLE, "last").graph_of_run(calls.layers, arguments, inputs)


def run(model: linen.Module | TrainState, inputs: Sequence[Array]) -> Run:
    """Run a bound module or a train state."""
    module, variables = _unbound(model)
    names = {path_of(weight.layer) for weight in framework_of(model).weights(model)}

    def attempt(doubled: Doubling) -> Run:
        calls = LayerRecorder()
        given = [doubled(jnp.asarray(x)) for x in inputs]
        outputs = _call(module, doubled(variables), given, calls, names)
        return Run(outputs_of(outputs), calls.arrays())

    return in_double(attempt)


def _unbound(model: linen.Module | TrainState) -> tuple[linen.Module, Variables]:
    if isinstance(model, linen.Module):
        module, variables = model.unbind()
        return module, variables
    return model.apply_fn.__self__, load("frameworks", "flax").tree(model)


def _call(
    module: linen.Module, variables: Variables, inputs: Sequence[jax.Array], calls: LayerRecorder, names: set[str]
) -> object:
    """Apply the module to the inputs, with its flags set for inference."""
    # a flag that is set on the module may not be passed again: linen's own layers raise for both
    known = inspect.signature(type(module).__call__).parameters
    flags = {name: value for name, value in AT_INFERENCE.items() if name in known and getattr(module, name, None) is None}

    def seen(
        call: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], context: InterceptorContext
    ) -> object:
        own = partial(call, *args, **kwargs)
        with _double(context.module, own):
            return own() if _is_internal(context) else _seen(context.module, own, calls, names)

    try:
        with linen.intercept_methods(seen):
            return module.apply(variables, *inputs, **flags)
    except FlaxError as error:
        raise ShapeError(
            f"this {type(module).__name__} cannot be run in inference mode: {printable(str(error).splitlines()[0])}; "
            "pass a module that is configured for it (deterministic=True, use_running_average=True)"
        ) from error


def _is_internal(context: InterceptorContext) -> bool:
    """Whether a method does not apply the layer: a set-up method, or one that Flax's transformations call."""
    name: str = context.method_name
    if known_class(context.module) in KINDS:
        return name not in ("__call__", "attend")
    return name == "setup" or name.startswith("<") or (name != "__call__" and name.startswith("_"))


def _seen(module: linen.Module, call: partial[object], calls: LayerRecorder, names: set[str]) -> object:
    """Record the call of one module; a recurrent layer is recorded as its cell, which has the weights."""
    if isinstance(module, linen.RNN):
        cell = with_settings(layer_for("/".join(module.cell.path), module.cell), **settings_of_run(module, call))
        with _double(module.cell, call):
            return calls.record(cell, call, whole=True)
    kind, name = known_class(module), "/".join(module.path)
    layer = layer_for(name, module) if kind in KINDS or name in names else None
    if kind in WRAPPERS and name:  # its own variables have its name, not that of the layer inside
        layer = Layer(name, "other", kind, {"wraps": "/".join(module.layer_instance.path)})
    return calls.record(layer, call, whole=kind in KINDS, inside=settings_inside(module))


@contextmanager
def _double(module: linen.Module, call: partial[object]) -> Iterator[None]:
    """Let a module with an explicit float32 compute in float64 if its inputs are float64; a scan keeps the type of its carry."""
    given = next((leaf for leaf in jax.tree_util.tree_leaves(call.args) if hasattr(leaf, "dtype")), None)
    declared = {name: getattr(module, name, None) for name in ("dtype", "param_dtype")}
    single = [name for name, dtype in declared.items() if dtype is not None and jnp.dtype(dtype) == jnp.float32]
    # an input that is still float32 belongs to the carry of a scan, whose type must not change
    wide = given is not None and given.dtype == jnp.float64
    try:
        for name in single if wide else ():
            object.__setattr__(module, name, jnp.float64)  # linen's modules are frozen
        yield
    finally:
        for name in single:
            object.__setattr__(module, name, declared[name])
