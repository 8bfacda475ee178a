"""JAX: trees of arrays, whose names are all that is known of them, and how nets of Flax and Equinox are run.

A net is traced, without computing anything, to record its layers in order. To record their outputs it is run in float64, on a
copy; a model that requires other types (a scan whose carry is float32) runs in its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from steelyard.core.graph import Graph, Layer, Run, Shape, names_of_inputs
from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, UnknownModelError
from steelyard.frameworks.jax.flow import AGAIN, IN, OUT, TraceWalk
from steelyard.layers.flax.linen import layers_of_names
from steelyard.layers.haiku.modules import is_haiku, layers_of_modules

if TYPE_CHECKING:
    from steelyard.core.graph import Setting, Settings
    from steelyard.core.weight import Array

    Doubling = Callable[[Any], Any]
    """Widens the real numbers of a tree of JAX, or leaves it unchanged."""


def graph(model: object, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers that linen's automatic names (`Dense_0`) reveal; a tree of arrays has no order."""
    return Graph(layers_of_names(framework_of(model).weights(model)), channels="last")


def tree_graph(model: object) -> Graph | None:
    """Return the layers that the names of Haiku's modules (`linear_1`) reveal; None for any other tree."""
    if not is_haiku(model):
        return None
    return Graph(layers_of_modules(framework_of(model).weights(model)), channels="last")


def run(model: object, inputs: Sequence[Array]) -> Run:
    """Raise `UnknownModelError`: arrays alone do not run."""
    raise UnknownModelError(f"a {type(model).__name__} of arrays cannot run; pass the module with them: module.bind(variables)")


class LayerRecorder:
    """Records the layers that are called in one run of a net, in order, and their outputs.

    `batched` is the number of axes of the batch. With `marking` the inputs and outputs of each layer are marked in the
    trace, so that `traced` can follow them.
    """

    __slots__ = ("_inside", "_settings", "batched", "layers", "marking", "outputs")

    def __init__(self, *, batched: int = 1, marking: bool = False) -> None:
        self.marking = marking
        self.layers: dict[str, Layer] = {}
        self.outputs: dict[str, object] = {}
        self.batched = batched
        self._inside = False
        self._settings: Settings = {}

    def record(
        self, layer: Layer | None, call: partial[object], *, whole: bool = False, inside: Mapping[str, Setting] | None = None
    ) -> object:
        """Call a layer, and record its first call; layers called during the call get the settings `inside` too.

        Calls inside a layer that is `whole` are not recorded.
        """
        if self._inside:
            return call()
        if layer is not None:
            layer.settings = {**self._settings, **layer.settings}
            again = layer.name in self.layers
            layer = self.layers.setdefault(layer.name, layer)
            layer.calls += again
            layer.input_shape = layer.input_shape or self._shape(call.args)
        before = self._settings
        self._inside, self._settings = whole, {**before, **(inside or {})}
        marking = self.marking and whole and layer is not None
        try:
            given = _marked_call(call, layer) if marking and layer is not None else call()
        finally:
            self._inside, self._settings = False, before
        if layer is not None:
            self._note(layer, given)
        return given

    def _note(self, layer: Layer, given: object) -> None:
        """Keep the output of a layer; a recurrent layer may return its last state before the output."""
        main = given[-1] if isinstance(given, tuple) and given and layer.kind in ("rnn", "lstm", "gru") else given
        self.outputs[layer.name] = main
        layer.output_shape = layer.output_shape or self._shape(main)

    def _shape(self, value: object) -> Shape | None:
        first = next((leaf for leaf in jax.tree_util.tree_leaves(value) if hasattr(leaf, "shape")), None)
        return None if first is None else tuple(unmapped(first).shape[self.batched :])

    def arrays(self) -> dict[str, Array]:
        """Return the output of each layer that returned one array whose numbers are known after the run."""
        known = {}
        for name, given in self.outputs.items():
            array = concrete(given)
            if array is not None:
                known[name] = array
        return known


def traced(function: Callable[..., object], given: Sequence[object], calls: LayerRecorder, arguments: Sequence[str]) -> list[str]:
    """Trace a function that makes these calls, set the inputs of each layer, and add the functions outside of layers to them.

    `arguments` are the names of the net's inputs, the last leaves of `given`. Returns the names by which the layers refer to
    them.
    """
    # `checkpoint_name` leaves a `name` operation in the trace, which computes nothing and keeps its text
    closed = jax.make_jaxpr(function)(*given)
    names = names_of_inputs(arguments, calls.layers)
    # the leaves of the parameters come before those of the inputs; they are sources of no layer
    held = len(closed.jaxpr.invars) - len(names)
    walk = TraceWalk(calls.layers, names, calls.batched)
    ends = walk.follow(closed.jaxpr, [*(() for _ in range(held)), *((name,) for name in names)])
    for name, layer in calls.layers.items():
        if name in walk.inputs:
            layer.inputs = tuple(walk.inputs[name])
    _put_functions(calls, walk, [name for each in ends for name in each])
    return list(names)


def _put_functions(calls: LayerRecorder, walk: TraceWalk, ends: Sequence[str]) -> None:
    """Put the functions that are needed for an output or a layer among the layers, each before those that ran after it."""
    needed = walk.needed(ends)
    order = [name for name in walk.order if name in calls.layers or name in needed]
    layers: dict[str, Layer] = {}
    for name, layer in calls.layers.items():
        while name in order and name not in layers:
            first = order.pop(0)
            layers[first] = walk.functions.get(first) or calls.layers[first]
        layers.setdefault(name, layer)
    layers |= {name: walk.functions[name] for name in order}
    calls.layers = layers


_WEIGHTLESS = frozenset({"activation", "dropout", "softmax", "flatten", "reshape", "pool", "global pool", "pad", "upsample"})
"""Kinds of layers whose later calls are not followed: one dropout used throughout a net must not connect all its layers."""


def _marked_call(call: partial[object], layer: Layer) -> object:
    """Mark the inputs and the outputs of a call of a layer."""
    mark = (IN if layer.calls == 1 else AGAIN) + layer.name
    if layer.calls == 1 or layer.kind not in _WEIGHTLESS:
        keywords = {word: _marked(value, mark) for word, value in call.keywords.items()}
        call = partial(call.func, *_marked(call.args, mark), **keywords)
    return _marked(call(), OUT + layer.name)


def _marked(value: Any, mark: str) -> Any:
    """Give arrays names that are kept in the trace."""
    if isinstance(value, jax.Array):
        return checkpoint_name(value, mark)
    return type(value)(_marked(each, mark) for each in value) if type(value) in (tuple, list) else value


def unmapped(array: jax.Array) -> jax.Array:
    """Return the whole array that `vmap` maps, with the mapped axes first."""
    while hasattr(array, "batch_dim") and hasattr(array, "val"):
        value, axis = array.val, array.batch_dim
        if not isinstance(axis, int):
            return value
        array = value if axis == 0 else _moved(value, axis)
    return array


def _moved(value: jax.Array, axis: int) -> jax.Array:
    if hasattr(value, "batch_dim"):
        return value
    return jnp.moveaxis(value, axis, 0)


def concrete(given: object) -> Array | None:
    """Return a copy of the only array of an output; None if there are several, or if it is traced."""
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(given) if hasattr(leaf, "shape")]
    if len(leaves) != 1:
        return None
    array = unmapped(leaves[0])
    return None if isinstance(array, jax.core.Tracer) else np.array(array)


def outputs_of(given: object) -> list[Array]:
    """Return all arrays of a net's output.

    Raises `ShapeError` when there is none.
    """
    arrays = [np.array(leaf) for leaf in jax.tree_util.tree_leaves(given) if isinstance(leaf, (jax.Array, np.ndarray))]
    if not arrays:
        raise ShapeError(f"the model returned a {type(given).__name__} without arrays; there is nothing to compare")
    return arrays


def doubled(tree: Any) -> Any:
    """Return a tree with its real numbers in float64; needs `jax.enable_x64`."""
    return jax.tree_util.tree_map(_double, tree)


def _double(leaf: object) -> object:
    real = isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(leaf, jnp.float64) if real else leaf


def in_double(attempt: Callable[[Doubling], Run]) -> Run:
    """Return `attempt(doubled)` with float64 enabled or, if types clash, the attempt with the numbers unchanged."""
    try:
        with jax.enable_x64(True):
            return attempt(doubled)
    except TypeError:
        return attempt(lambda tree: tree)


@contextmanager
def patched(classes: Iterable[type], seen: Callable[[Any, partial[object]], object]) -> Iterator[None]:
    """Pass each call of an object of these classes to `seen(object, call)`; restore the classes on exit."""
    originals = {each: each.__call__ for each in classes if callable(getattr(each, "__call__", None))}  # noqa: B004 - a class is callable itself
    before = {each: vars(each).get("__call__") for each in originals}
    try:
        for each, original in originals.items():
            setattr(each, "__call__", _wrapped(original, seen))  # noqa: B010 - mypy considers methods constant
        yield
    finally:
        for each, own in before.items():
            if own is None:
                del each.__call__
            else:
                setattr(each, "__call__", own)  # noqa: B010 - as above


def _wrapped(original: Callable[..., object], seen: Callable[[Any, partial[object]], object]) -> Callable[..., object]:
    def call(self: object, *args: object, **kwargs: object) -> object:
        return seen(self, partial(MethodType(original, self), *args, **kwargs))

    return call
