"""Pipelines that scale the inputs of a net."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from steelyard.core.plugins import framework_of
from steelyard.core.scaling import Scaled, Scaler
from steelyard.errors import UnknownModelError, printable, quoted

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

    from steelyard.core.protocols import Runner
    from steelyard.core.weight import Array


def scaled(model: BaseEstimator) -> Scaled | None:
    """Return the scalers of a pipeline and its net, also of the best one of a search; None for a model that scales nothing.

    A net of another framework in a search or a pipeline is returned without scalers too. Raises `UnknownModelError` for a step
    that is not linear, by its name.
    """
    outer = framework_of(model)
    while "best_estimator_" in vars(model):
        model = model.best_estimator_
    listed = model.steps if isinstance(model, Pipeline) else [("", model)]
    steps = [(name, step) for name, step in listed[:-1] if step not in (None, "passthrough")]
    net = listed[-1][1]
    own = framework_of(net)
    if not steps and own is outer:
        return None

    def answer(x: Array) -> Array:
        for _, step in steps:
            x = step.transform(x)
        made: Array = cast("Runner", own).run(net, [x]).outputs[0]
        return made

    return Scaled(tuple(_scaler(name, step) for name, step in steps), net, answer)


def _scaler(name: str, step: BaseEstimator) -> Scaler:
    count = getattr(step, "n_features_in_", 0)
    nothing, one = np.zeros(count), np.ones(count)
    if isinstance(step, StandardScaler):
        return Scaler(name, _or(step.mean_ if step.with_mean else None, nothing), 1 / _or(step.scale_, one))
    if isinstance(step, RobustScaler):
        return Scaler(name, _or(step.center_, nothing), 1 / _or(step.scale_, one))
    if isinstance(step, MinMaxScaler) and not step.clip:
        return Scaler(name, -step.min_ / step.scale_, np.asarray(step.scale_))
    if isinstance(step, MaxAbsScaler):
        return Scaler(name, nothing, 1 / step.scale_)
    if isinstance(step, PCA):
        spread = np.sqrt(step.explained_variance_) if step.whiten else np.ones(len(step.components_))
        return Scaler(name, np.asarray(step.mean_), step.components_ / spread[:, None])
    if isinstance(step, TruncatedSVD):
        return Scaler(name, nothing, step.components_)
    word = printable(type(step).__name__)
    raise UnknownModelError(
        f"this Pipeline changes its inputs by {quoted(name)} ({word}), which is not a known linear scaler; "
        "pass its last step, pipeline[-1], and the inputs of that step"
    )


def _or(values: Array | None, usual: Array) -> Array:
    return usual if values is None else np.asarray(values)
