"""SciKeras: the weights of the Keras model that a `KerasClassifier` or `KerasRegressor` has built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scikeras.wrappers import BaseWrapper

from steelyard.core.members import derive_members, meta_of, while_held
from steelyard.core.plugins import framework_of
from steelyard.core.weight import Weight
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, printable

if TYPE_CHECKING:
    from keras import Model

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array


def weights(model: object) -> Iterable[Weight]:
    """List the weights of the Keras model inside; raises `NotFittedError` before it is built.

    A wrapper that is fitted again builds a new model: then its weights must be listed again, and reading or
    writing the old ones raises `ShapeError`.
    """
    inner = inner_model(model)

    def check() -> None:
        if inner_model(model) is not inner:
            raise ShapeError(f"this {printable(type(model).__name__)} was fitted again and has another model now; list it again")

    return (while_held(weight, check) for weight in framework_of(inner).weights(inner))


def assign(model: BaseWrapper, arrays: Mapping[str, Array]) -> BaseWrapper:
    """Assign to the Keras model inside, and return the wrapper."""
    inner = inner_model(model)
    framework_of(inner).assign(inner, arrays)
    return model


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights of the Keras model inside."""
    yield from derive_members([("", inner_model(model))], pieces)


def meta(model: object) -> dict[str, Any]:
    """Return the layout of the Keras model inside."""
    return meta_of(inner_model(model))


def inner_model(model: object, lacking: str = "weights") -> Model:
    """Return the Keras model that an estimator has built.

    Raises `UnknownModelError` for any other object, whose message names the `lacking` part, and `NotFittedError` before a fit.
    """
    kind = printable(type(model).__name__)
    if not isinstance(model, BaseWrapper):
        raise UnknownModelError(f"a SciKeras {kind} has no {lacking}; pass the KerasClassifier or KerasRegressor itself")
    inner = vars(model).get("model_")
    if inner is None:
        raise NotFittedError(f"this {kind} has not built its model yet; call .fit(), or .initialize(X, y) for untrained weights")
    return inner
