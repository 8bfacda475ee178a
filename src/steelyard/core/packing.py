"""Which stored weights are packed, by which scheme, and how many numbers of the net they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from steelyard.core.effective import derive
from steelyard.dtypes import UNKNOWN, may_be_packed
from steelyard.errors import SteelyardError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.core.effective import Derivation
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

COMPARED = "codes of packed weights are compared; --effective compares the numbers that the nets compute with"
"""What `diff` says where a side is packed."""


def packed(weights: Weights) -> list[Weight]:
    """Return the effective weights that are made of packed ones; of these, only what a listing needs is read.

    >>> import numpy as np, steelyard
    >>> int8 = {"fc.weight": np.ones((2, 3), "int8"), "fc.SCB": np.ones(2, "float32")}
    >>> [weight.derivation.scheme for weight in packed(steelyard.weights(int8))]
    ['bitsandbytes int8']
    """
    listed = weights.values()
    if not any(map(may_be_packed, {weight.dtype for weight in listed})) or not any(map(_is_code, listed)):
        return []
    try:
        made = [*derive(weights, listing=True)]
    except SteelyardError:  # a listing shows what there is, even where nothing can be made of it
        return []
    return [weight for weight in made if _is_code(weights[_facts(weight).parts[0]])]


def _is_code(weight: Weight) -> bool:
    return may_be_packed(weight.dtype) and len(weight.shape) > 0


def _facts(weight: Weight) -> Derivation:
    return cast("Derivation", weight.derivation)


def parts_of(made: Iterable[Weight]) -> frozenset[str]:
    """Return the names of the stored weights that effective ones are made of."""
    return frozenset(name for weight in made for name in _facts(weight).parts)


def packed_notes(weights: Weights) -> list[str]:
    """Return a sentence for each scheme with the numbers of the net and those stored, and for weights of unknown size."""
    schemes: dict[tuple[str, bool], list[Weight]] = {}
    for weight in packed(weights):
        schemes.setdefault((_facts(weight).scheme, weight.dtype == UNKNOWN), []).append(weight)
    return [*_sentences(schemes, weights)]


def _sentences(schemes: dict[tuple[str, bool], list[Weight]], weights: Weights) -> Iterator[str]:
    for (scheme, is_unknown), made in schemes.items():
        stored = sum(weights[_facts(weight).parts[0]].size for weight in made)
        what = f"{len(made):,} weight{'s are' if len(made) > 1 else ' is'} packed by {printable(scheme)}"
        if is_unknown:
            yield f"{what}, stored as {stored:,} numbers; the file does not show how many they are in the net"
        else:
            yield f"{what}: {sum(weight.size for weight in made):,} numbers of the net, stored as {stored:,}"
