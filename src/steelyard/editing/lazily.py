"""What all edits share: they take weights and return weights, and compute numbers block by block when they are read.

`core.arithmetic.edited` makes the weights of a result from those of the same name in several models: it checks names, refuses
packed weights, keeps ties and facts, and notes integers that differ. `core.computed.Computed` is the reader of such a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.arithmetic import edited
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError
from steelyard.io import weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Weight


def opened(sources: Any, what: str = "sources") -> list[Weights]:
    """Return the weights of several models or files. Raises `ShapeError` unless `sources` is a list of at least one."""
    single = isinstance(sources, (str, bytes, Mapping, Weights)) or not isinstance(sources, Iterable)
    models = [] if single else [weights(source) for source in sources]
    if not models:
        raise ShapeError(f"{what} must be a list of models, files or Weights with at least one of them")
    return models


def each_weight(source: Any, change: Callable[[Weight], Weight], notes: Sequence[str] = ()) -> Weights:
    """Return the weights of a model or a file, each changed; tied ones are changed once, and no number is read yet.

    >>> import numpy as np
    >>> zeros = lambda start, stop: np.zeros(stop - start)
    >>> each_weight({"w": np.ones(2)}, lambda weight: weight.replace(read=zeros))["w"].numpy()
    array([0., 0.])
    """
    return edited([weights(source)], lambda inputs: change(inputs[0]), notes=notes)
