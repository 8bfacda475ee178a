"""The coefficients of support vector machines with a linear kernel, which their files have as support vectors and their factors.

support_vectors_    (vectors, features), those of each class together
dual_coef_          (classes - 1, vectors), or (1, vectors) for two classes and for regression
_n_support          the vectors of each class

coef_ is their product; of several classes it has a row for each pair of them, in which a vector has the factor against the other
class. Source: `_one_vs_one_coef` in sklearn/svm/_base.py.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.arrays import PickledTensor, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.codecs.pickle.values import Pickled, Record
    from steelyard.core.weight import Array
    from steelyard.storage.source import Source

    Numbers = Callable[[Pickled], PickledTensor | None]
    """Decodes an array, or a sparse matrix as a dense one."""


def is_linear_machine(model: Record) -> bool:
    """Whether an estimator computes its `coef_` of support vectors."""
    held = model.attributes
    return held.get("kernel") == "linear" and held.get("dual_coef_") is not None and held.get("coef_") is None


def coefficients(model: Record, numbers: Numbers, source: Source) -> PickledTensor:
    """Return the `coef_` of a machine; one whose parts do not belong together is refused when it is read."""
    held = model.attributes
    dual, vectors = numbers(held.get("dual_coef_")), numbers(held.get("support_vectors_"))
    counts = numbers(held.get("_n_support", held.get("n_support_")))
    if dual is None or vectors is None or len(dual.shape) != 2 or dual.shape[1:] != vectors.shape[:1] or len(vectors.shape) != 2:
        return refused(source, "its support vectors and their factors do not belong together")
    classes = dual.shape[0] + 1
    if classes > 2 and (counts is None or counts.shape != (classes,)):
        return refused(source, f"it does not have the number of vectors of each of {classes} classes")
    shape = classes * (classes - 1) // 2, vectors.shape[1]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        factors, points = _whole(dual), _whole(vectors)
        if classes == 2:
            return (factors @ points).reshape(-1)[start:stop]
        ends = np.cumsum([0, *_whole(counts)]) if counts else np.zeros(1)
        places = [slice(int(first), int(last)) for first, last in pairwise(ends)]
        rows = [
            factors[other - 1, places[one]] @ points[places[one]] + factors[one, places[other]] @ points[places[other]]
            for one, other in combinations(range(classes), 2)
        ]
        return np.concatenate(rows)[start:stop]

    return PickledTensor(shape, dual.dtype, read)


def _whole(part: PickledTensor) -> Array:
    return part.read(0, prod(part.shape)).reshape(part.shape)
