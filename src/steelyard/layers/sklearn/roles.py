"""The roles and axes of the attributes of scikit-learn's estimators, live or pickled."""

from __future__ import annotations

from steelyard.core.weight import Role

ROLES: dict[str, tuple[Role, tuple[str, ...]]] = {  # attribute -> role, axes for each number of them
    "coefs_": (Role.KERNEL, ("in out",)),
    "intercepts_": (Role.BIAS, ("out",)),
    "coef_": (Role.KERNEL, ("in", "out in")),
    "intercept_": (Role.BIAS, ("out",)),
    "offset_": (Role.OFFSET, ("out",)),  # SGDOneClassSVM subtracts it, so it is not a bias
    "components_": (Role.KERNEL, ("out in",)),
    "intercept_hidden_": (Role.BIAS, ("out",)),
    "intercept_visible_": (Role.BIAS, ("in",)),
}


def role_and_axes(attribute: str, ndim: int) -> tuple[Role, str]:
    """Return the role and the axes of an attribute with this number of axes.

    >>> role_and_axes("coef_", 2)
    (<Role.KERNEL: 'kernel'>, 'out in')
    """
    role, alternatives = ROLES[attribute]
    return role, next((axes for axes in alternatives if len(axes.split()) == ndim), "")
