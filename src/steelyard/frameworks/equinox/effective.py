"""What `eqx.nn.WeightNorm` and `SpectralNorm` of live modules multiply with.

The vectors of a spectral norm are in the state of the net: that which is bound to a module by `eqx.Partial(model, state=state)`,
or the initial one, which a module holds until `make_with_state` takes it out. In inference mode they do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jax.tree_util import tree_flatten_with_path, tree_leaves

from steelyard.core.effective import Derivation, derived, refused
from steelyard.core.readers import from_array
from steelyard.frameworks.equinox.paths import spelled
from steelyard.numerics.reparametrised import fits, spectrally_normed, weight_normed

if TYPE_CHECKING:
    from jax.tree_util import KeyPath

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Weight

_WRAPPERS = (eqx.nn.WeightNorm, eqx.nn.SpectralNorm)


def wrapped(model: Any, pieces: Pieces) -> Iterator[Weight]:
    """Yield the normed weights of a module."""
    states = [leaf for leaf in tree_leaves(model, is_leaf=_is_state) if _is_state(leaf)]
    for path, module in _modules(model):
        stored = pieces.get(_under(path, f"layer.{module.weight_name}"))
        if stored is None:
            continue
        yield (
            _normed(module, path, stored, pieces) if isinstance(module, eqx.nn.WeightNorm) else _spectral(module, stored, states)
        )


def _is_state(leaf: object) -> bool:
    return isinstance(leaf, eqx.nn.State)


def _modules(model: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the wrappers of norms with their paths."""
    for path, leaf in tree_flatten_with_path(model, is_leaf=lambda leaf: isinstance(leaf, _WRAPPERS))[0]:
        if isinstance(leaf, _WRAPPERS):
            yield path, leaf


def _under(path: KeyPath, leaf: str) -> str:
    return f"{spelled(path)}.{leaf}" if path else leaf


def _normed(module: Any, path: KeyPath, stored: Weight, pieces: Pieces) -> Weight:
    length = pieces.get(_under(path, "g"))
    facts = Derivation("weight norm of Equinox", (stored.name, *([length.name] if length is not None else [])))
    if length is None or not fits(length.shape, stored.shape):
        return refused(stored.name, facts, "its g does not fit the weight", stored.shape)
    read = weight_normed(length, stored, keep=False)
    return derived(stored.name, stored.shape, read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)


def _spectral(module: Any, stored: Weight, states: list[Any]) -> Weight:
    facts = Derivation("spectral norm of Equinox", (stored.name,))
    vectors = _vectors(module, states)
    if vectors is None:
        reason = "its vectors are in the state of the net: pass eqx.Partial(model, state=state)"
        return refused(stored.name, facts, reason, stored.shape)
    left, right = (from_array("", np.asarray(vector)) for vector in vectors)
    if left.size * right.size != stored.size or left.size != stored.shape[0]:
        return refused(stored.name, facts, f"its vectors have {left.size} and {right.size} numbers", stored.shape)
    read = spectrally_normed(stored, left, right, 0, keep=False)
    return derived(stored.name, stored.shape, read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)


def _vectors(module: Any, states: list[Any]) -> tuple[Any, Any] | None:
    """Return the two vectors: of the state that has them, or the initial ones that the module still holds."""
    for state in states:
        try:
            left, right = state.get(module.uv_index)
        except (KeyError, ValueError, TypeError):
            continue
        return left, right
    initial = getattr(module.uv_index, "init", None)
    return (
        initial if isinstance(initial, tuple) and len(initial) == 2 and all(hasattr(each, "shape") for each in initial) else None
    )
