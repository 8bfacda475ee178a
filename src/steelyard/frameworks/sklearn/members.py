"""The members of scikit-learn's containers, and the estimator inside its wrappers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError as Unfitted
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from steelyard.errors import NotFittedError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Members = Iterable[tuple[str, BaseEstimator]]

_WRAPPED = ("FrozenEstimator", "_CalibratedClassifier")  # these keep a fitted estimator under `estimator`


def members_of(model: BaseEstimator) -> tuple[str, Members]:
    """Return the attribute that holds the estimator of a wrapper, or the members of a container, and those by name."""
    held = vars(model)
    if "cv_results_" in held and not held.get("refit", True):
        raise NotFittedError(
            f"this {kind_of(model)} was fitted with refit=False and kept no estimator; "
            "use refit=True, or fit its estimator with best_params_ yourself"
        )
    if isinstance(model, Bunch):  # a pipeline's `named_steps`, an ensemble's `named_estimators_`
        return "keys", [(name, member) for name, member in model.items() if isinstance(member, BaseEstimator)]
    for attribute, named in _CONTAINERS.items():
        if attribute in held:
            return attribute, named(held[attribute], held)
    if type(model).__name__ in _WRAPPED:
        return "estimator", [("", held["estimator"])]
    return "", []


def _one(estimator: BaseEstimator, held: Mapping[str, BaseEstimator]) -> Members:
    return [("", estimator)]


def _named(members: Iterable[tuple[str, BaseEstimator]], held: Mapping[str, BaseEstimator]) -> Members:
    return [(name, member) for name, member, *_ in members]


def _columns(members: Iterable[tuple[str, BaseEstimator, object]], held: Mapping[str, BaseEstimator]) -> Members:
    """Return the members of a `ColumnTransformer` except those without columns, which are not fitted."""
    return [(name, member) for name, member, *_ in members if _is_fitted(member)]


def _voting(members: Bunch, held: Mapping[str, BaseEstimator]) -> Members:
    return [*members.items(), ("final_estimator_", held.get("final_estimator_"))]


def _numbered(attribute: str) -> Callable[[Any, Mapping[str, BaseEstimator]], Members]:
    def members(estimators: Iterable[BaseEstimator] | Array, held: Mapping[str, BaseEstimator]) -> Members:
        flat = estimators.flat if isinstance(estimators, np.ndarray) else estimators
        return [(f"{attribute}.{place}", member) for place, member in enumerate(flat)]

    return members


def _target(regressor: BaseEstimator, held: Mapping[str, BaseEstimator]) -> Members:
    """Return the regressor of a transformed target, whose transformer is hardly ever a net."""
    return [("", regressor), ("transformer_", held.get("transformer_"))]


_CONTAINERS: dict[str, Callable[[Any, Mapping[str, BaseEstimator]], Members]] = {  # attribute -> its members by name
    "best_estimator_": _one,
    "steps": _named,  # Pipeline
    "transformer_list": _named,  # FeatureUnion
    "transformers_": _columns,
    "named_estimators_": _voting,  # also stacking
    "estimators_": _numbered("estimators_"),  # bagging, boosting, one against the rest, several outputs
    "calibrated_classifiers_": _numbered("calibrated_classifiers_"),
    "regressor_": _target,
    "estimator_": _one,  # selectors, thresholds, RANSAC, self-training
}


def _is_fitted(model: object) -> bool:
    if not isinstance(model, BaseEstimator):
        return True
    try:
        check_is_fitted(model)
    except Unfitted:
        return False
    except AttributeError:  # an estimator without the tags that this release requires
        return any(name.endswith("_") for name in vars(model))
    return True


def require_fitted(path: str, model: object) -> None:
    """Raise `NotFittedError` for an estimator before `fit`; `path` is its name in the message."""
    if not _is_fitted(model):
        place = f" at {quoted(path)}" if path else ""
        raise NotFittedError(f"this {kind_of(model)}{place} is not fitted; call .fit() first")


def kind_of(model: object) -> str:
    """Return the name of an estimator's class, for messages."""
    return printable(type(model).__name__)
