"""The float64 twin of a Keras model, for proofs of equal outputs beyond the rounding of float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
from keras.src.backend.common.global_state import get_global_attribute

from steelyard.layers.keras.kinds import in_float64

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def can_double() -> bool:
    """Whether the backend computes in float64; JAX does only on request, and OpenVINO does not run single layers."""
    return keras.config.backend() in ("tensorflow", "torch", "numpy")


def doubled(model: keras.Model) -> keras.Model:
    """Build a copy in float64 from the model's config, with the model's own classes and numbers."""
    twin = type(model).from_config(in_float64(model.get_config()), custom_objects=classes_of(model))
    for ours, theirs in zip(twin.variables, model.variables, strict=True):
        value = keras.ops.convert_to_numpy(theirs.value)
        ours.assign(widened(value) if str(ours.dtype) == "float64" else value)
    return twin


def classes_of(model: keras.Model) -> dict[str, type]:
    """Return the classes of the layers of a model: a user's that are not registered would be unknown to `from_config`."""
    own = {type(layer).__name__: type(layer) for layer in model._flatten_layers()}
    return own | {type(layer).__name__: type(layer) for layer in getattr(model, "operations", ())}


def widened(array: Array) -> Array:
    """Return an array of floats in float64; integers and booleans as they are."""
    import numpy as np

    array = np.asarray(array)
    return array if np.issubdtype(array.dtype, np.integer) or array.dtype == bool else array.astype("float64")


@contextmanager
def naming_restored() -> Iterator[None]:
    """Work in float64, and restore the counters of names and the source of seeds on exit."""
    before = keras.config.floatx()
    with names_restored():
        try:
            keras.config.set_floatx("float64")
            yield
        finally:
            keras.config.set_floatx(before)


@contextmanager
def names_restored() -> Iterator[None]:
    """Restore the counters of names and the source of seeds on exit."""
    import random

    # building layers counts names up, and draws seeds from Python's generator, which users seed for reproducible runs
    counts, drawn = dict(_name_counts()), random.getstate()
    try:
        yield
    finally:
        random.setstate(drawn)
        _name_counts().clear()
        _name_counts().update(counts)


def _name_counts() -> Any:
    return get_global_attribute("object_name_uids", Counter(), set_to_default=True)


def agree(single: list[Array], wide: list[Array]) -> bool:
    """Whether two runs agree up to the rounding of float32."""
    import numpy as np

    fit = len(single) == len(wide) and all(a.shape == b.shape for a, b in zip(single, wide, strict=True))
    return fit and all(
        np.abs(a - b).max(initial=0) <= 1e-3 * max(np.abs(b).max(initial=0), 1e-30) for a, b in zip(single, wide, strict=True)
    )
