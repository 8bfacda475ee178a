"""A copy of a perceptron whose hidden layers have other widths, as the removal of units leaves them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard.errors import ShapeError, printable
from steelyard.frameworks.sklearn.graph import _net

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def smaller(
    model: BaseEstimator, shapes: Mapping[str, tuple[int, ...]], counts: Sequence[tuple[int, int]]
) -> Iterator[BaseEstimator]:
    """Yield a copy in which the named weights have these shapes and arbitrary numbers.

    The state of its optimizer is left out, since it belongs to the old shapes. Raises `ShapeError` for any other model.
    """
    twin = copy.deepcopy(model)
    prefix, net = _net(twin)
    if shapes and not hasattr(net, "coefs_"):
        raise ShapeError(f"a {printable(type(net).__name__)} has no hidden units")
    start = f"{prefix}." if prefix else ""
    for attribute in ("coefs_", "intercepts_") if shapes else ():
        arrays = getattr(net, attribute)
        named = [shapes.get(f"{start}{attribute}.{nth}", array.shape) for nth, array in enumerate(arrays)]
        setattr(net, attribute, [np.zeros(shape, array.dtype) for shape, array in zip(named, arrays, strict=True)])
    if shapes:
        net.hidden_layer_sizes = tuple(kernel.shape[1] for kernel in net.coefs_[:-1])
        vars(net).pop("_optimizer", None)
    yield twin
