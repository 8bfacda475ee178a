"""The weights to draw: all weights of a source, or a single one by its name or because only one fits."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError, first_of, printable
from steelyard.io import weights
from steelyard.text.order import in_natural_order
from steelyard.text.units import counted

NAMED = 4  # names that an error lists


def weights_of(source: Any) -> Weights:
    """Return the weights of any source; a single weight keeps its name."""
    return Weights([source.replace(tied=None)]) if isinstance(source, Weight) else weights(source)


def drawable(source: Any) -> list[Weight]:
    """Return the weights with at least one number in natural order, tied ones once; raises `ShapeError` if there are none."""
    filled = in_natural_order((weight for weight in weights_of(source).distinct().values() if weight.size), attrgetter("name"))
    if not filled:
        raise ShapeError("there is nothing to draw: the source has no weight with numbers")
    return filled


def one_weight(source: Any, name: str | None, fits: Callable[[Weight], object], what: str, *, first: bool = False) -> Weight:
    """Return the weight of this name, or the only one that `fits`; with `first`, the first of several.

    Raises `WeightNotFoundError` for an unknown name, `ShapeError` if no weight fits, and `AmbiguityError` if several do.
    """
    listed = weights_of(source)
    if name is not None:
        weight = listed[name]
        if not fits(weight):
            raise ShapeError(f"{printable(name)} of shape {list(weight.shape)} and role {weight.role} is not {what}")
        return weight
    fitting = [weight for weight in listed.distinct().values() if fits(weight)]
    if not fitting:
        held = f"{counted(len(listed), 'weight')}, and none is" if listed else "no weights, so none is"
        raise ShapeError(f"there is nothing to draw: the source has {held} {what}")
    if len(fitting) > 1 and not first:
        names = first_of(fitting, NAMED, lambda weight: printable(weight.name))
        raise AmbiguityError(
            f"the choice is ambiguous, since each of {len(fitting):,} weights is {what}: {names}; name one of them"
        )
    return fitting[0]
