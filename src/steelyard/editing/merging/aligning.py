"""`align`: one net in the names, the layout and the order of hidden units of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.core.selection import NAMED
from steelyard.dtypes import is_inexact
from steelyard.errors import ShapeError, printable
from steelyard.io import readable_weights
from steelyard.measures.diff.pairing import Couple, Coupling, couple

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


def align(b: Any, *, to: Any, permute: bool = True) -> Weights:
    """Return the weights of `b` under the names of `to`, in its layout, with the hidden units in the order that fits it best.

    Weights are paired as by `steelyard.diff`, across formats and frameworks. If units of a hidden layer and the inputs of the
    next are permuted alike, a net computes the same function, so the result is the same net as `b`; its units are permuted by
    coordinate ascent (Ainsworth, Hayase and Srinivasa, Git Re-Basin, 2023, section 3.2), which needs SciPy. With `permute` False
    they stay in their order. Permuted layers are in memory, others are read when needed. The graph of `to` decides which units
    are free; without one, layers are taken for a chain, which `meta["notes"]` says.

    Raises `ShapeError` for weights without a partner, and where no order of units is free.

    Examples:
        >>> import numpy as np
        >>> a = {"0.weight": np.array([[1.0, 0.0], [0.0, 2.0]]), "1.weight": np.array([[3.0, 4.0]])}
        >>> b = {"0.weight": np.array([[0.0, 2.0], [1.0, 0.0]]), "1.weight": np.array([[4.0, 3.0]])}
        >>> align(b, to=a)["0.weight"].numpy().tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    first, other = readable_weights(to), readable_weights(b)
    found = couple(other, first)
    partners = _partners(found, first)
    theirs = first.with_weights([_named(weight, partners) for weight in first.values()], detached=True, live=False, meta={})
    coupling = Coupling([Couple(first[name], theirs[name]) for name in theirs], found.notes)
    if permute:
        from steelyard.measures.diff.permutation import aligned

        coupling, _ = aligned(coupling, theirs)
    moved = {each.other.name: each.other for each in coupling.couples if each.other is not None}
    made = [moved[weight.tied or name].replace(name=name, tied=weight.tied) for name, weight in theirs.items()]
    return theirs.with_weights(made, meta={**other.meta, "notes": list(dict.fromkeys(coupling.notes))})


def _partners(found: Coupling, first: Weights) -> dict[str, Weight]:
    """Return the weight of the other net for each name; counters may have none, and are those of the first net."""
    partners = {each.other.name: each.one for each in found.couples if each.comparable and each.one and each.other}
    for name, weight in first.items():
        owner = partners.get(weight.tied or "")
        if name not in partners and owner is not None:
            partners[name] = owner
    absent = [name for name, weight in first.items() if name not in partners and is_inexact(weight.dtype)]
    added = [each.one.name for each in found.couples if not each.comparable and each.one and is_inexact(each.one.dtype)]
    if absent or added:
        sides = (("to", absent), ("the other net", added))
        what = " and ".join(f"{side} has {', '.join(map(printable, names[:NAMED]))}" for side, names in sides if names)
        raise ShapeError(f"these weights have no partner: {what}; steelyard.diff shows how weights were paired")
    return partners


def _named(weight: Weight, partners: dict[str, Weight]) -> Weight:
    """Return a weight of the first net with the numbers of its partner."""
    partner = partners.get(weight.name)
    if partner is None:
        return weight
    return weight.replace(read=partner.read, dtype=partner.dtype, encoding="", overlaps=None, derivation=None)
