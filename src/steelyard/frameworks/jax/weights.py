"""JAX: arrays, and trees of dicts, lists, tuples and registered classes that hold only arrays.

A tree is listed in JAX's own order, in which the keys of a dict are sorted, so that its vector is that of
`jax.flatten_util.ravel_pytree`; the names are JAX's own paths, joined by "/" (`params/Dense_0/kernel`). Trees
are never changed: `assign` returns a new one, of the same classes. Keys for random numbers are not weights, and are skipped.
An object of any class that is registered as a tree (`register_dataclass`, `flax.struct.dataclass`,
`register_pytree_node_class`) is such a tree, or a part of one; one that is registered without keys numbers its parts.

The variables of a Flax linen module are such a tree, with the collection "params" at its top. Linen names a
layer by its class and a number (`Conv_0`), which determines the axes; a layer with a name of its own has only the axes
that hold for every linen layer. The parameters of Haiku are a tree of two levels, whose modules are named by their classes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from steelyard.core.members import with_ties
from steelyard.core.readers import Placed, dtype_word, from_array
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.selection import STATE_ROLES
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import is_inexact
from steelyard.errors import LossyError, NotFittedError, ShapeError, UnknownModelError, printable
from steelyard.layers.flax.linen import with_linen_facts
from steelyard.layers.haiku.modules import is_haiku, is_pair, is_state, with_haiku_facts

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader


def claims(model: object) -> bool:
    """Return whether the class of an object is registered as a tree."""
    return not jax.tree_util.all_leaves([model])


def tree_framework(leaf: object) -> str | None:
    """Return "jax": plain containers of JAX arrays are one tree, which this framework lists and changes as a whole."""
    return "jax"


def is_immutable(model: object) -> bool:
    """Return True: a step of training makes a new tree."""
    return True


def parameters(model: object, listed: Sequence[Weight]) -> list[str]:
    """Return the names of the parameters: of linen's variables the collection "params", else what gradients can reach.

    These are real and complex numbers, without running statistics, the state of Haiku's modules and that of Optax's
    optimizers; JAX differentiates no integers.
    """
    if isinstance(model, Mapping) and "params" in model:
        return [weight.name for weight in listed if weight.name.partition("/")[0] == "params"]
    reached = [weight.name for weight in listed if is_inexact(weight.dtype) and weight.role not in STATE_ROLES]
    if is_haiku(model):
        return [name for name in reached if not is_state(name, paired=is_pair(model))]
    moments = _of_optimizers(model)
    return [name for name in reached if name not in moments]


def weights(model: object) -> Iterable[Weight]:
    """List the arrays of a tree; a bare array has no name.

    Raises `UnknownModelError` for an array that is being traced, and `NotFittedError` for a shape without numbers.
    """
    leaves, _ = _flatten(model)
    listed = with_ties(
        _with_roles([_weight(name, leaf) for name, leaf in leaves if not _is_skipped(leaf)], _of_optimizers(model))
    )
    if isinstance(model, Mapping) and "params" in model:
        return with_linen_facts(listed)
    return with_haiku_facts(listed, paired=is_pair(model)) if is_haiku(model) else listed


def _with_roles(listed: list[Weight], moments: Collection[str]) -> list[Weight]:
    """Return the weights with their roles; the moments of an optimizer have the names of its weights, but are none of them."""
    if not moments:
        return infer_roles(listed)
    known = {weight.name: weight for weight in infer_roles(weight for weight in listed if weight.name not in moments)}
    return [known.get(weight.name) or weight for weight in listed]


def _of_optimizers(model: object) -> Collection[str]:
    """Return the names of the arrays inside the states of Optax's optimizers; their counters are numbers."""
    if "optax" not in sys.modules:
        return ()
    return {
        _spelled(model, (*above, *path))
        for above, part in jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_optimizers)[0]
        if _is_optimizers(part)
        for path, leaf in jax.tree_util.tree_flatten_with_path(part)[0]
        if getattr(leaf, "shape", ())
    }


def _is_optimizers(part: object) -> bool:
    return isinstance(part, tuple) and type(part).__module__.partition(".")[0] == "optax"


def assign(model: Any, arrays: Mapping[str, Array]) -> Any:
    """Return a new tree with these arrays, on the devices of the old ones; all other leaves are the same objects."""
    if not arrays:
        return model
    leaves, structure = _flatten(model)
    made: dict[tuple[int, int], object] = {}  # an array that is in the tree twice is so in the new one
    for name, leaf in leaves:
        if name in arrays and (id(leaf), id(arrays[name])) not in made:
            made[id(leaf), id(arrays[name])] = _like(name, leaf, arrays[name])
    return jax.tree_util.tree_unflatten(
        structure, [made[id(leaf), id(arrays[name])] if name in arrays else leaf for name, leaf in leaves]
    )


def _flatten(model: object) -> tuple[list[tuple[str, object]], jax.tree_util.PyTreeDef]:
    try:
        leaves, structure = jax.tree_util.tree_flatten_with_path(model)
    except ValueError as error:  # keys that cannot be sorted
        raise ShapeError(f"JAX cannot flatten this {type(model).__name__}: {printable(error)}; use keys of one type") from None
    except Exception as error:  # from the function by which a class is registered
        raise UnknownModelError(
            f"JAX cannot flatten this {type(model).__name__} ({type(error).__name__}: {printable(error)}); pass its parts instead"
        ) from error
    return [(_spelled(model, path), leaf) for path, leaf in leaves], structure


def _spelled(model: object, path: jax.tree_util.KeyPath) -> str:
    """Join a path by "/"; the `.value` of a box of Flax around one array (partition names, a variable) adds nothing."""
    last = path[-1] if path else None
    if isinstance(last, jax.tree_util.GetAttrKey) and last.name == "value" and _is_box(_held_at(model, path[:-1])):
        path = path[:-1]
    name: str = jax.tree_util.keystr(path, simple=True, separator="/")
    return name


def _is_box(holder: object) -> bool:
    return any(base.__module__.partition(".")[0] == "flax" for base in type(holder).__mro__)


def _held_at(model: Any, path: jax.tree_util.KeyPath) -> object:
    """Follow a path to the object there; None where the class of an object on it is registered without keys."""
    for key in path:
        if isinstance(key, jax.tree_util.GetAttrKey):
            model = getattr(model, key.name, None)
        elif isinstance(key, (jax.tree_util.DictKey, jax.tree_util.SequenceKey)):
            model = model[key.key if isinstance(key, jax.tree_util.DictKey) else key.idx]
        else:
            return None
    return model


def _is_skipped(leaf: object) -> bool:
    return isinstance(leaf, (str, bytes)) or _is_key(leaf)


def _is_key(leaf: object) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _weight(name: str, leaf: object) -> Weight:
    if isinstance(leaf, jax.core.Tracer):
        raise UnknownModelError(
            f"{printable(name) or 'the array'} is traced and has no numbers yet; call steelyard outside of jit, grad and vmap"
        )
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise NotFittedError(f"{printable(name) or 'it'} is a shape without numbers; initialise the model first")
    if isinstance(leaf, jax.Array):
        dtype = dtype_word(name, np.dtype(leaf.dtype))
        return Weight(name=name, shape=leaf.shape, dtype=dtype, read=_reader(name, leaf), layer=layer_of(name))
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)):
        array = np.asarray(leaf).view()
        array.flags.writeable = False  # a tree is never changed, even where its leaves are NumPy's
        return from_array(name, array, layer=layer_of(name))
    raise UnknownModelError(f"{printable(name) or 'it'} is a {type(leaf).__name__}, not an array; take it out of the tree first")


def _reader(name: str, array: jax.Array) -> Reader:
    """Read the memory itself on a CPU; else a copy that JAX keeps, so that the next block costs nothing."""
    if not array.is_fully_addressable:
        return Refused(
            UnknownModelError(f"{printable(name)} is spread over several processes; gather it with process_allgather first"),
            id(array),
        )

    def read(start: int, stop: int) -> Array:
        if array.is_deleted():
            raise ShapeError(f"{printable(name)} was deleted or donated to a function since it was listed; list the new tree")
        return np.asarray(array).reshape(-1)[start:stop]

    return Placed(read, id(array))


def _like(name: str, old: object, array: Array) -> jax.Array | Array | np.generic | complex:
    """Return `array` as the kind of leaf that `old` is, with memory of its own."""
    if isinstance(old, (bool, int, float, complex)):
        return array.item()
    if not isinstance(old, jax.Array):
        return array.copy() if isinstance(old, np.ndarray) else array[()]
    new = jax.device_put(array.copy(), old.sharding) if old.committed else jax.device_put(array.copy())
    if new.dtype != old.dtype:
        raise LossyError(f"{printable(name)} is {old.dtype}, which JAX makes only with jax_enable_x64; turn it on first")
    return old.at[...].set(new) if old.weak_type else new  # a weakly typed array takes the type of the others in a computation
