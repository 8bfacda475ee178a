"""JAX: trees of arrays, which tell no more than their names, and what Flax and Equinox share when they run.

A net is run once by tracing, which computes nothing, to see its layers in order. To see what they give it is run
in float64, on a copy; where a model insists on other types (a scan whose carry is float32), it runs as it is.
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

from steelyard.core.graph import Graph, Layer, Run, Shape
from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, UnknownModelError
from steelyard.layers.flax.linen import layers_of_names

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def graph(model: Any, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers that linen's automatic names tell (`Dense_0`): a tree of arrays has no order and no more to say."""
    return Graph(layers_of_names(framework_of(model).weights(model)), channels="last")


def run(model: Any, inputs: Sequence[Array]) -> Run:
    """Refuse: arrays alone do not run.

    Raises `UnknownModelError`.
    """
    raise UnknownModelError(f"a {type(model).__name__} of arrays does not run; give the module with them: module.bind(variables)")


class LayerRecorder:
    """The layers that were called in one run of a net, in order, and what they gave.

    `batched` is the number of axes of the batch. With `marking` what goes into and comes out of each layer is marked
    in a trace, so that `flow` can follow it.
    """

    __slots__ = ("_inside", "_settings", "batched", "layers", "marking", "outputs")

    def __init__(self, *, batched: int = 1, marking: bool = False) -> None:
        self.marking = marking
        self.layers: dict[str, Layer] = {}
        self.outputs: dict[str, Any] = {}
        self.batched = batched
        self._inside = False
        self._settings: dict[str, Any] = {}

    def record(
        self, layer: Layer | None, call: partial[Any], *, whole: bool = False, inside: Mapping[str, Any] | None = None
    ) -> Any:
        """Call, and put the layer down where it runs first; layers called meanwhile get the settings `inside` too.

        LayerRecorder inside of a layer that is `whole` are its own business.
        """
        if self._inside:
            return call()
        fresh = layer is not None and layer.name not in self.layers
        if layer is not None:
            layer.settings = {**self._settings, **layer.settings}
            layer = self.layers.setdefault(layer.name, layer)
            layer.input_shape = layer.input_shape or self._shape(call.args)
        before = self._settings
        self._inside, self._settings = whole, {**before, **(inside or {})}
        marking = self.marking and whole and layer is not None
        try:
            given = _marked_call(call, layer.name, fresh=fresh) if marking and layer is not None else call()
        finally:
            self._inside, self._settings = False, before
        if layer is not None:
            self._note(layer, given)
        return given

    def _note(self, layer: Layer, given: Any) -> None:
        """Keep what a layer gave; a recurrent one may give its last state first."""
        main = given[-1] if isinstance(given, tuple) and given and layer.kind in ("rnn", "lstm", "gru") else given
        self.outputs[layer.name] = main
        layer.output_shape = layer.output_shape or self._shape(main)

    def _shape(self, value: Any) -> Shape | None:
        first = next((leaf for leaf in jax.tree_util.tree_leaves(value) if hasattr(leaf, "shape")), None)
        return None if first is None else tuple(unmapped(first).shape[self.batched :])

    def arrays(self) -> dict[str, Array]:
        """Return what each layer gave, where that is one array that is known outside of the run."""
        found = {}
        for name, given in self.outputs.items():
            array = concrete(given)
            if array is not None:
                found[name] = array
        return found


def traced(function: Callable[..., Any], given: Sequence[Any], calls: LayerRecorder) -> None:
    """Trace a function that makes these calls, and say of each layer which others flow into it."""
    closed = jax.make_jaxpr(function)(*given)
    before: dict[str, dict[str, None]] = {}
    _follow(closed.jaxpr, [{} for _ in closed.jaxpr.invars], before)
    for name, layer in calls.layers.items():
        if name in before:
            layer.inputs = tuple(before[name])


def with_shapes(layer: Layer, calls: LayerRecorder) -> Layer:
    """Return a layer with the shapes that were seen when it was called."""
    seen = calls.layers.get(layer.name)
    if seen is not None:
        layer.input_shape, layer.output_shape = seen.input_shape, seen.output_shape
    return layer


_IN, _OUT = "steelyard in ", "steelyard out "


def _marked_call(call: partial[Any], name: str, *, fresh: bool) -> Any:
    """Mark what comes out, and what goes in where the layer runs first."""
    if fresh:
        keywords = {word: _marked(value, _IN + name) for word, value in call.keywords.items()}
        call = partial(call.func, *_marked(call.args, _IN + name), **keywords)
    return _marked(call(), _OUT + name)


def _marked(value: Any, mark: str) -> Any:
    """Give the arrays a name that a trace keeps."""
    if isinstance(value, jax.Array):
        return checkpoint_name(value, mark)
    return type(value)(_marked(each, mark) for each in value) if type(value) in (tuple, list) else value


def _follow(jaxpr: Any, given: Sequence[dict[str, None]], before: dict[str, dict[str, None]]) -> list[dict[str, None]]:
    """Walk the operations of a trace, and return the layers that each of its outputs comes from.

    `given` are those that its inputs come from; what flows into each layer is added to `before`.
    """
    sources: dict[Any, dict[str, None]] = dict(zip(jaxpr.invars, given, strict=True))

    def of(variable: Any) -> dict[str, None]:
        return {} if hasattr(variable, "val") else sources.get(variable, {})

    for equation in jaxpr.eqns:
        found = [of(variable) for variable in equation.invars]
        merged = {name: None for each in found for name in each}
        mark = str(equation.params.get("name", "")) if equation.primitive.name == "name" else ""
        outputs = _inner(equation, found, before)
        if mark.startswith(_IN):
            before.setdefault(mark.removeprefix(_IN), {}).update(merged)
        elif mark.startswith(_OUT):
            outputs = [{mark.removeprefix(_OUT): None}]
        for place, variable in enumerate(equation.outvars):
            sources[variable] = merged if outputs is None else outputs[place]
    return [of(variable) for variable in jaxpr.outvars]


def _inner(equation: Any, found: Sequence[dict[str, None]], before: dict[str, dict[str, None]]) -> list[dict[str, None]] | None:
    """Follow a function that an operation calls, where its inputs and outputs are those of the operation."""
    for held in equation.params.values():
        jaxpr = getattr(held, "jaxpr", held)
        if hasattr(jaxpr, "eqns") and len(jaxpr.invars) == len(found) and len(jaxpr.outvars) == len(equation.outvars):
            return _follow(jaxpr, found, before)
    return None


def unmapped(array: Any) -> Any:
    """Return an array that is mapped by `vmap` as the whole that it is a part of, with the mapped axes in front."""
    while hasattr(array, "batch_dim") and hasattr(array, "val"):
        value, axis = array.val, array.batch_dim
        if not isinstance(axis, int):
            return value
        array = value if axis == 0 else _moved(value, axis)
    return array


def _moved(value: Any, axis: int) -> Any:
    if hasattr(value, "batch_dim"):
        return value
    return jnp.moveaxis(value, axis, 0)


def concrete(given: Any) -> Array | None:
    """Return the one array of an output in memory of its own, or None where it is several, or is being traced."""
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(given) if hasattr(leaf, "shape")]
    if len(leaves) != 1:
        return None
    array = unmapped(leaves[0])
    return None if isinstance(array, jax.core.Tracer) else np.array(array)


def outputs_of(given: Any) -> list[Array]:
    """Return all arrays of what a net gave.

    Raises `ShapeError` when there is none.
    """
    found = [np.array(leaf) for leaf in jax.tree_util.tree_leaves(given) if isinstance(leaf, (jax.Array, np.ndarray))]
    if not found:
        raise ShapeError(f"the model gave a {type(given).__name__} without arrays; there is nothing to compare")
    return found


def doubled(tree: Any) -> Any:
    """Return a tree with its real numbers in float64; needs `jax.enable_x64`."""
    return jax.tree_util.tree_map(_double, tree)


def _double(leaf: Any) -> Any:
    real = isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.asarray(leaf, jnp.float64) if real else leaf


def in_double(attempt: Callable[[Callable[[Any], Any]], Any]) -> Any:
    """Return what `attempt(doubled)` gives with float64 turned on, or, where types clash, `attempt` as things are."""
    try:
        with jax.enable_x64(True):
            return attempt(doubled)
    except TypeError:
        return attempt(lambda tree: tree)


@contextmanager
def patched(classes: Iterable[type], seen: Callable[[Any, partial[Any]], Any]) -> Iterator[None]:
    """Hand each call of an object of these classes to `seen(object, call)`; the classes are restored."""
    originals = {each: each.__call__ for each in classes if callable(getattr(each, "__call__", None))}  # noqa: B004 - a class is callable itself
    before = {each: vars(each).get("__call__") for each in originals}
    try:
        for each, original in originals.items():
            setattr(each, "__call__", _wrapped(original, seen))  # noqa: B010 - mypy takes methods for constants
        yield
    finally:
        for each, own in before.items():
            if own is None:
                del each.__call__
            else:
                setattr(each, "__call__", own)  # noqa: B010 - as above


def _wrapped(original: Callable[..., Any], seen: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return seen(self, partial(MethodType(original, self), *args, **kwargs))

    return call
