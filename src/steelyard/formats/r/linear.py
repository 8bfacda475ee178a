"""lm and glm: one vector of named coefficients, the intercept first if there is one.

R's model matrix has a column for each coefficient, also for the levels of a factor and for interactions. A coefficient that
could not be estimated is NA, which is a NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.r.layers import Network, doubles, present, texts
from steelyard.codecs.r.values import Vector, classes_of
from steelyard.core.weight import Role

if TYPE_CHECKING:
    from steelyard.codecs.r.values import Value

_KINDS = (("lm",), ("glm", "lm"))
_INTERCEPT = "(Intercept)"
_TRAINING = ("model", "x", "y", "data", "fitted.values", "residuals", "linear.predictors")
_DERIVED = ("fitted.values", "residuals", "effects", "linear.predictors", "deviance", "aic", "weights")


def is_linear(value: Value) -> bool:
    """Whether a value is a fit of `lm` with one response, or of `glm`; classes that extend these may predict in another way."""
    if not isinstance(value, Vector) or tuple(classes_of(value)) not in _KINDS:
        return False
    return value.get("coefficients") is not None


def linear(fit: Vector, file: str) -> Network:
    """Return the intercept and the other coefficients, in the order of `coef(fit)`."""
    network = Network(classes_of(fit)[0], fit)
    coefficients = doubles(fit.get("coefficients"), "coefficients of a linear model", file)
    names = list(coefficients.names or [])
    first = int(names[:1] == [_INTERCEPT])
    if first:
        network.add(_INTERCEPT, [(coefficients, 0, 1)], (1,), role=Role.BIAS, axes="out", layer="")
    others = coefficients.length - first
    if others:
        network.add("coefficients", [(coefficients, first, others)], (others,), axes="in", layer="")
    network.facts |= {"inputs": names[first:], "units": [others, 1]}
    family = fit.get("family")
    if isinstance(family, Vector):
        network.facts |= {"family": " ".join(texts(family.get("family"))), "link": " ".join(texts(family.get("link")))}
    network.training, network.derived = present(fit, _TRAINING), present(fit, _DERIVED)
    return network
