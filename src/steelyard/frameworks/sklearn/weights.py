"""scikit-learn: multilayer perceptrons, linear models and RBMs, in searches, pipelines and ensembles of any depth.

The names are the estimators' own attributes: `coefs_.0`, `intercepts_.0`, `coefs_.1` of a multilayer perceptron,
`coef_` and `intercept_` of a linear model. A wrapper of one estimator (a search, a frozen estimator, a selector)
adds nothing to them; the names of a container's members have as a prefix the name that it gives them (a pipeline's steps)
or the attribute that holds them (`estimators_.0`, `calibrated_classifiers_.0`, `final_estimator_`).

Weights are the numbers that a fit adjusts and a prediction multiplies and adds; an intercept that is not fitted is listed
too, and is not trainable. The coefficients that a support vector machine with a linear kernel computes are read, and cannot be
assigned. The statistics of a scaler, an encoder, a decomposition or a calibrator, trees, neighbours and
support vectors are not weights: inside containers they are skipped. A member whose `predict` is not scikit-learn's
own is never skipped: if it is unknown, the whole model is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from steelyard.core.members import derive_members, dotted, meta_of, prefixed, while_held, with_ties
from steelyard.core.plugins import framework_of
from steelyard.core.readers import Live, Place, Placed, by_rows, dtype_word
from steelyard.core.weight import Weight
from steelyard.errors import ReadOnlyError, ShapeError, UnknownModelError, printable, quoted
from steelyard.frameworks.sklearn.attributes import AttributeSlot
from steelyard.frameworks.sklearn.members import kind_of, members_of, require_fitted
from steelyard.layers.sklearn.roles import role_and_axes

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Framework
    from steelyard.core.weight import Array, Reader

    Chain = tuple[tuple[BaseEstimator, str, object, BaseEstimator], ...]
    """The path to an estimator: each wrapper or container, the attribute that was followed, its value then, and the member."""


_MACHINES = (SVC, NuSVC, SVR, NuSVR, OneClassSVM)


def weights(model: BaseEstimator) -> Iterator[Weight]:
    """List the weights of an estimator, including wrapped estimators and members; an estimator listed twice is tied.

    Raises `NotFittedError` before `fit`, and `UnknownModelError` if no estimator has known weights.
    """
    ends = [(path, part, _weights_of(path, part, above)) for path, part, above in _ends("", model)]
    if all(listed is None for _, _, listed in ends):
        inside = ", ".join(sorted({kind_of(part) for _, part, _ in ends} - {kind_of(model)}))
        raise UnknownModelError(
            f"{kind_of(model)} {f'holds only {inside}, which have' if inside else 'has'} no known weights; supported are "
            "multilayer perceptrons (coefs_), linear models (coef_), BernoulliRBM, and searches, pipelines and ensembles of them"
        )
    return with_ties(_listed(ends))


def assign(model: BaseEstimator, arrays: Mapping[str, Array]) -> BaseEstimator:
    """Copy into the arrays that the estimators hold; numbers and sparse matrices are replaced by new ones of the same type."""
    if not arrays:
        return model
    jobs = [(part, _arrays_of(path, part, arrays)) for path, part, _ in _ends("", model)]
    for part, own in jobs:
        if own and _is_linear_machine(part):
            raise ReadOnlyError(
                f"the {kind_of(part)} computes coef_ of its support vectors, and cannot be written to; nothing was written, "
                "use a LinearSVC, a LinearSVR or an SGDClassifier"
            )
    if sum(len(own) for _, own in jobs) < len(arrays):
        raise ShapeError(f"{kind_of(model)} was fitted again after its weights were listed; call steelyard.weights(model) again")
    for part, own in jobs:
        framework = _elsewhere(part)
        if framework is not None and own:
            framework.assign(part, own)
            continue
        for name, array in own.items():
            AttributeSlot(part, name).put(array)
        if own and _averages(part):
            _go_on_from(part)
    return model


def _averages(part: BaseEstimator) -> bool:
    """Whether this is a stochastic gradient descent that keeps an average next to the numbers that it trains."""
    return bool(getattr(part, "average", False)) and vars(part).get("_average_coef") is not None


def _go_on_from(part: Any) -> None:
    """Let the next `partial_fit` continue from the present numbers: the trained ones and their average become these."""
    kernel = np.asarray(part.coef_)
    bias = 1 - part.offset_ if "offset_" in vars(part) else part.intercept_
    for kind in ("standard", "average"):
        for name, value in ((f"_{kind}_coef", kernel), (f"_{kind}_intercept", np.atleast_1d(bias))):
            old = getattr(part, name)
            setattr(part, name, np.array(value, dtype=old.dtype).reshape(old.shape))


def derive(model: BaseEstimator, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights that only the nets of other frameworks inside know."""
    yield from derive_members(((path, part) for path, part, _ in _ends("", model) if _elsewhere(part)), pieces)


def meta(model: BaseEstimator) -> dict[str, Any]:
    """Return the layout of the only Keras model inside, by the names of its weights here; empty if there are several."""
    kept = [(path, meta_of(part).get("layout")) for path, part, _ in _ends("", model) if _elsewhere(part)]
    layouts = [(path, layout) for path, layout in kept if layout]
    if len(layouts) != 1:
        return {}
    ((path, layout),) = layouts
    named = {
        group: {**fact, "vars": {slot: dotted(path, name) for slot, name in fact["vars"].items()}}
        for group, fact in layout.items()
    }
    return {"layout": named}


def _listed(ends: Iterable[tuple[str, BaseEstimator, list[Weight] | None]]) -> Iterator[Weight]:
    first: dict[tuple[int, str], str] = {}
    for path, part, listed in ends:
        for weight in listed or ():
            full = prefixed(path, weight)
            owner = first.setdefault((id(part), weight.name), full.name)
            yield full if owner == full.name else full.replace(tied=owner)


def _arrays_of(path: str, part: BaseEstimator, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Select the arrays of one estimator, by its own names; their shapes must be those of its present arrays."""
    own = {}
    for weight in _weights_of(path, part) or ():
        full = prefixed(path, weight).name
        if full not in arrays:
            continue
        own[weight.name] = arrays[full]
        if arrays[full].shape != weight.shape:
            raise ShapeError(f"{printable(full)} now has shape {weight.shape}, the value has {arrays[full].shape}; list it again")
    return own


# The way down: wrappers of one estimator, containers of many.


def _ends(path: str, model: BaseEstimator | str | None, above: Chain = ()) -> Iterator[tuple[str, BaseEstimator, Chain]]:
    """Yield every estimator that wraps and contains no other, with its name and the path to it."""
    if model is None or isinstance(model, str):  # "passthrough", "drop"
        return
    if _elsewhere(model) is not None or _names(model):
        yield path, model, above
        return
    require_fitted(path, model)
    attribute, members = members_of(model)
    if not attribute:
        yield path, model, above
        return
    for name, member in members:
        step = (model, attribute, vars(model).get(attribute), member)
        yield from _ends(dotted(path, name), member, (*above, step))


def _elsewhere(model: object) -> Framework | None:
    """Return the framework of a member of another framework, such as a skorch net."""
    try:
        framework = framework_of(model)
    except UnknownModelError:  # a class that only looks like an estimator
        return None
    return None if framework.weights is weights else framework


def _check_held(above: Chain) -> None:
    """Raise `ShapeError` if another `fit` has replaced the listed estimators."""
    for holder, attribute, held, member in above:
        if vars(holder).get(attribute) is held:
            continue
        if all(now is not member for _, now in members_of(holder)[1]):  # a pipeline makes a new list of the same steps
            raise ShapeError(f"this {kind_of(holder)} was fitted again and holds other estimators now; list its weights again")


# The weights of one estimator.


def _weights_of(path: str, part: BaseEstimator, above: Chain = ()) -> list[Weight] | None:
    """List the weights of one estimator; None for a kind without weights. An estimator that may have some is refused."""
    framework = _elsewhere(part)
    listed = _weights_elsewhere(framework, part) if framework else [_weight(part, name) for name in _names(part)] or None
    if listed is None and _predicts_by_itself(part):
        place = f" at {quoted(path)}" if path else ""
        raise UnknownModelError(
            f"the weights of the {kind_of(part)}{place} are in an unknown place; pass its network or its arrays, "
            "or the other members one by one"
        )
    if listed and any(type(holder).__name__ == "FrozenEstimator" for holder, *_ in above):
        listed = [weight.replace(trainable=False) for weight in listed]
    return [while_held(weight, lambda: _check_held(above)) for weight in listed] if listed and above else listed


def _weights_elsewhere(framework: Framework, part: BaseEstimator) -> list[Weight] | None:
    try:
        return list(framework.weights(part))
    except UnknownModelError:
        if hasattr(part, "predict"):
            raise
        return None  # a helper that only prepares data, such as skorch's DataFrameTransformer


def _predicts_by_itself(model: object) -> bool:
    """Whether `predict` is not scikit-learn's own; the kinds with weights are known for its own estimators."""
    author = next((base.__module__ for base in type(model).__mro__ if "predict" in vars(base)), "sklearn")
    return author.partition(".")[0] != "sklearn"


def _names(model: object) -> list[str]:
    held = getattr(model, "__dict__", {})
    if "coefs_" in held:
        return [f"{attribute}.{layer}" for layer in range(len(held["coefs_"])) for attribute in ("coefs_", "intercepts_")]
    if "intercept_hidden_" in held:
        return ["components_", "intercept_hidden_", "intercept_visible_"]
    if held.get("coef_") is None:
        return ["coef_", "intercept_"] if _is_linear_machine(model) else []
    return [name for name in ("coef_", "intercept_", "offset_") if held.get(name) is not None]


def _is_linear_machine(model: Any) -> bool:
    """Whether this is a support vector machine with a linear kernel, whose `coef_` is a property."""
    held = getattr(model, "__dict__", {})
    return held.get("kernel") == "linear" and held.get("dual_coef_") is not None and isinstance(model, _MACHINES)


def _weight_of_machine(model: Any, name: str) -> Weight:
    """List the coefficients that a support vector machine computes, or its intercept, which it keeps twice."""

    def read(start: int, stop: int) -> Array:
        now = getattr(model, name)
        dense: Array = np.asarray(now.toarray() if hasattr(now, "toarray") else now).reshape(-1)
        return dense[start:stop]

    now = getattr(model, name)
    role, axes = role_and_axes(name, len(now.shape))
    return Weight(
        name=name,
        shape=tuple(now.shape),
        dtype=dtype_word(name, now.dtype),
        read=Placed(read, object()),
        role=role,
        axes=axes,
        trainable=True,
    )


def _weight(model: BaseEstimator, name: str) -> Weight:
    if name in ("coef_", "intercept_") and _is_linear_machine(model):
        return _weight_of_machine(model, name)
    slot = AttributeSlot(model, name)
    attribute, _, layer = name.partition(".")
    role, axes = role_and_axes(attribute, len(slot.shape))
    return Weight(
        name=name,
        shape=slot.shape,
        dtype=dtype_word(name, slot.dtype),
        read=_reader(model, slot),
        role=role,
        layer=layer,
        axes=axes,
        trainable=attribute != "intercept_" or bool(getattr(model, "fit_intercept", True)),
    )


def _reader(model: BaseEstimator, slot: AttributeSlot) -> Reader:
    """Return a reader of the memory itself, unless a fit continues from another copy, which `assign` must change too."""
    if slot.live and not _averages(model):
        return Live(slot)
    read = by_rows(slot.shape, slot.rows)
    seen = slot.seen
    return (
        Placed(read, Place("cpu", seen.ctypes.data, seen.strides))
        if isinstance(seen, np.ndarray) and seen.dtype.isnative
        else read
    )
