"""`lineage`: compare several nets pair by pair: distances, shared weights, and common origins.

Nets that were trained independently have no common order of hidden units. The null hypothesis therefore shuffles the units
of one net: the mean correlation of a layer's units, each with the unit at the same index of the other net, is compared with
that after shuffling. A net that was trained from the same initial weights, or from another net, still has its units at the
same indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from math import hypot, inf, isfinite
from typing import TYPE_CHECKING, Any

from steelyard.core.threads import in_turn
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.errors import ShapeError, printable
from steelyard.io import readable_weights
from steelyard.paths import is_spread
from steelyard.storage.opening import public
from steelyard.text import tabular

if TYPE_CHECKING:
    import os

    from steelyard.core.weight import Array

SHUFFLES = 9999
"""Number of random orders that are drawn for each layer."""
BATCH = 1000
LAYERS = 8
"""Number of layers that are tested, those with the most units; the p-value is multiplied by it (Bonferroni)."""
UNITS = 512
"""Maximum units of a layer, and maximum inputs of each unit, that are compared, evenly spaced."""
INPUTS = 4096
FEWEST = 5
"""A layer with fewer units has too few orders for a test."""
SIGNIFICANT = 1e-3
"""Two nets have the same origin if the p-value is at most this."""
CLEAR = 5.0
"""Minimum standard deviations above the mean of shuffled units, since the draws alone cannot show p-values below 1e-4."""


class Kinship:
    """The relation of two nets.

    `distance` is |a - b| / sqrt(|a|^2 + |b|^2) over the corresponding floating-point weights: 0 if they are equal, 1 if they are
    unrelated, None if there are none. Weights correspond by name and shape, also by names without the words of wrappers, which
    `prefixes` then has and `note` reports; if no names match, as in `diff`, provided that all weights of both nets have a
    partner. `shared` of `common` weights have the same bits. `likeness` is the mean
    correlation of the hidden units of `layer` at equal indices, and `p` the probability of one as large between independent
    nets, corrected for the number of tested layers; both are None if no layer can be tested. `verdict` is "same weights",
    "same origin" or blank.
    """

    __slots__ = ("a", "b", "common", "distance", "layer", "likeness", "note", "p", "prefixes", "shared", "verdict", "z")

    def __init__(self, a: str, b: str) -> None:
        self.a = a
        self.b = b
        self.common = self.shared = 0
        self.distance: float | None = None
        self.layer = ""
        self.likeness: float | None = None
        self.z: float | None = None
        self.p: float | None = None
        self.verdict = ""
        self.note = ""
        self.prefixes: dict[str, Any] | None = None

    def __repr__(self) -> str:
        from steelyard.text.lineage import kinship_line

        return kinship_line(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {word: getattr(self, word) for word in self.__slots__}


class Lineage:
    """The relations of several nets: `names`, `pairs` of them, and groups of `duplicates`, whose weights are identical.

    `tree` is the tree of average linkage: nested tuples (one, other, distance), in which an unknown distance is None. Nets
    that have no corresponding weights with any other net are `apart` and not in it; it is None if all are.
    """

    __slots__ = ("apart", "names", "pairs", "tree")

    def __init__(self, names: Sequence[str], pairs: Iterable[Kinship]) -> None:
        self.names = list(names)
        self.pairs = list(pairs)
        distances = {(pair.a, pair.b): pair.distance for pair in self.pairs}
        related = {name for pair, distance in distances.items() if distance is not None for name in pair}
        self.apart = [name for name in self.names if name not in related]
        self.tree = linked([name for name in self.names if name in related], distances)

    @property
    def duplicates(self) -> list[list[str]]:
        """The names of nets with identical weights, in groups."""
        groups: list[list[str]] = []
        same = {(pair.a, pair.b) for pair in self.pairs if pair.verdict == "same weights"}
        for name in self.names:
            group = next((group for group in groups if (group[0], name) in same), None)
            if group is None:
                groups.append([name])
            else:
                group.append(name)
        return [group for group in groups if len(group) > 1]

    def __repr__(self) -> str:
        from steelyard.text.lineage import lineage_lines

        return "\n".join(lineage_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import lineage_html

        return lineage_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the pairs as plain Python."""
        return [pair.to_dict() for pair in self.pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {
            "names": self.names,
            "pairs": self.to_records(),
            "duplicates": self.duplicates,
            "apart": self.apart,
            "tree": self.tree,
        }

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the pairs as columns, with one string or number for each."""
        from steelyard.text.frames import columns_of

        return columns_of({name: value for name, value in pair.items() if name != "prefixes"} for pair in self.to_records())

    to_frame = tabular.to_frame
    write = tabular.write


def lineage(
    sources: Mapping[str, object] | Iterable[object],
    *,
    skip_unreadable: bool = False,
    effective: bool = False,
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Lineage:
    """Compare several models, files or `Weights` pair by pair: distances, shared weights, a tree, and common origins.

    `sources` are named by a mapping, by their paths, or by numbers. The verdict is "same origin" if the hidden units of a
    layer are more alike at equal indices than in 9,999 random orders (p <= 0.001 after correction, and five standard
    deviations above the mean), since independently trained nets, the null hypothesis, have no common order of units. Nets
    without such layers get no verdict. The test is not valid for layers whose initial weights prefer an order, such as
    identity matrices. Raises `ShapeError` for two sources of one name, and `UnreadableError` for weights that cannot be read,
    unless `skip_unreadable` leaves them out with a warning. With `effective` the weights are those of `Weights.effective`.
    With an `engine`, `workers` or `resume`, pairs of files are compared by several workers, as in `stats`.

    Examples:
        >>> import numpy as np
        >>> found = lineage({"a": {"w": np.eye(2)}, "b": {"w": np.eye(2)}, "c": {"w": np.ones((2, 2))}})
        >>> found.duplicates
        [['a', 'b']]
    """
    if is_spread(None, engine, workers, resume):
        from steelyard.engines.calls import Asked, together

        named = _named(sources)
        asked = Asked(engine, workers, resume)
        found: Lineage = together(
            partial(_lineage, list(named), skip_unreadable=skip_unreadable), named.values(), asked, effective=effective
        )
        return found
    options = {"skip_unreadable": skip_unreadable, "effective": effective}
    return lineage_of({name: readable_weights(net, **options) for name, net in _named(sources).items()})


def _lineage(names: Sequence[str], *nets: object, skip_unreadable: bool) -> Lineage:
    return lineage_of(
        {name: readable_weights(net, skip_unreadable=skip_unreadable) for name, net in zip(names, nets, strict=True)}
    )


def lineage_of(nets: Mapping[str, Weights]) -> Lineage:
    """Compare nets, whose weights are all readable, pair by pair; each pair is a job, which one worker of an engine does."""
    jobs = ((*one, *other) for one, other in combinations(nets.items(), 2))
    return Lineage(list(nets), in_turn(jobs, kinship_of, lambda *_: False))


def _named(sources: Mapping[str, object] | Iterable[object]) -> dict[str, object]:
    import os

    if isinstance(sources, Mapping):
        return {str(name): source for name, source in sources.items()}
    listed = [
        (public(os.fspath(each)) if isinstance(each, (str, os.PathLike)) else str(nth), each) for nth, each in enumerate(sources)
    ]
    names = [str(name) for name, _ in listed]
    twice = next((name for nth, name in enumerate(names) if name in names[:nth]), None)
    if twice is not None:
        raise ShapeError(f"{printable(twice)} is passed twice; pass each source once, or a mapping that names them")
    return {name: source for name, (_, source) in zip(names, listed, strict=True)}


def kinship_of(name: str, net: Weights, other_name: str, other_net: Weights) -> Kinship:
    """Compare two nets."""
    one, other = (name, net), (other_name, other_net)
    from steelyard.measures.diff.entries import Tolerance, side_by_side

    kinship = Kinship(one[0], other[0])
    wrapped = wrapping(shapes_of(one[1]), shapes_of(other[1]))
    kinship.note, kinship.prefixes = wrapped.note, wrapped.to_dict()
    pairs, are_all = _corresponding(one[1], other[1], wrapped.names)
    couples = [(mine, theirs) for mine, theirs in pairs if _alike(mine, theirs)]
    found = [(sums.changed > 0, sums.apart, sums.one, sums.other) for sums in side_by_side(couples, Tolerance())]
    # equal sides are compared by their bytes, without computing norms
    lengths = _lengths([mine for (mine, _), (changed, *_) in zip(couples, found, strict=True) if not changed])
    apart = length = 0.0
    for (mine, _), (changed, difference, *norms) in zip(couples, found, strict=True):
        kinship.common += 1
        kinship.shared += not changed
        if mine.role is not Role.COUNT:
            apart = hypot(apart, difference)
            length = hypot(length, *(norms if changed else [lengths[mine.name]] * 2))
    if couples:
        kinship.distance = apart / length if length else 0.0 if not apart else None
    if are_all and kinship.common == kinship.shared == len(pairs):
        kinship.verdict = "same weights"
    else:
        _test(kinship, couples)
    return kinship


def _corresponding(one: Weights, other: Weights, names: Mapping[str, str]) -> tuple[list[tuple[Weight, Weight]], bool]:
    """Return the corresponding weights of two nets, and whether these are all weights of both.

    If no names match, `diff` pairs them. A pair found by its numbers alone would always be equal, so pairs count only if they
    are all.
    """
    from steelyard.measures.diff.pairing import couple

    distinct = one.distinct().values()
    named = [(weight, other[names[weight.name]]) for weight in distinct if weight.name in names]
    if named:
        return named, [names.get(name) for name in one] == list(other) and len(named) == len(distinct)
    couples = couple(one, other).couples
    paired = [(each.one, each.other) for each in couples if each.one is not None and each.other is not None]
    are_all = bool(paired) and len(paired) == len(couples)
    return paired if are_all else [], are_all


def _alike(one: Weight, other: Weight) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.dtype.startswith(("float", "bfloat", "complex"))


def _lengths(weights: Sequence[Weight]) -> dict[str, float]:
    """Return the l2 norm of the finite numbers of each weight by its name: many small ones are computed together."""
    import numpy as np

    from steelyard.measures.diff.arithmetic import norms, real
    from steelyard.measures.diff.entries import norm_of
    from steelyard.numerics.small import groups_of_small

    found: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for some, rows in groups_of_small(weights, lambda _: None):
            numbers = real(rows)
            lengths = np.where(np.isfinite(numbers).all(axis=1), norms(numbers), np.nan).tolist()
            found |= {weight.name: length for weight, length in zip(some, lengths, strict=True) if isfinite(length)}
    return {w.name: found[w.name] if w.name in found else norm_of(w, 0, w.size) for w in weights}


def _test(kinship: Kinship, couples: Sequence[tuple[Weight, Weight]]) -> None:
    """Test, layer by layer, the likeness of hidden units at equal indices against that in random orders."""
    from steelyard.numerics.matrices import one_blas_thread

    layers = list(_hidden(couples))
    if not layers:
        return
    with one_blas_thread():
        tested = [(*_likeness(_units(one, out), _units(other, out)), one.name) for one, other, out in layers]
    known = [each for each in tested if each[1] is not None]
    if not known:
        return
    # the draws limit p from below, so many layers may have the least one; then z decides
    likeness, p, z, name = min(known, key=lambda each: (each[1], -each[2]))
    kinship.likeness, kinship.z, kinship.layer = likeness, z, name
    kinship.p = min(float(p or 0.0) * len(layers), 1.0)
    if kinship.p <= SIGNIFICANT and z >= CLEAR:
        kinship.verdict = "same origin"


def _hidden(couples: Sequence[tuple[Weight, Weight]]) -> Iterator[tuple[Weight, Weight, str]]:
    """Yield the kernels of the hidden layers with the most units, and the axis of the units: "first" or "last".

    The last kernel is left out: its units are the net's outputs, whose order is fixed.
    """
    kernels = [(one, other, _axis(one)) for one, other in couples if one.role is Role.KERNEL and len(one.shape) >= 2][:-1]
    units = [(one.shape[0 if axis == "first" else -1], one, other, axis) for one, other, axis in kernels]
    units.sort(key=lambda each: -each[0])
    yield from ((one, other, axis) for count, one, other, axis in units[:LAYERS] if count >= FEWEST)


def _axis(weight: Weight) -> str:
    words = weight.axes.split()
    if words:
        return "last" if words[-1].endswith("out") else "first"
    return "last" if weight.name.endswith("kernel") or "coefs_" in weight.name else "first"


def _units(weight: Weight, axis: str) -> Array:
    """Return a row of zero mean and unit norm for each unit; of large layers, some units and inputs, evenly spaced."""
    import numpy as np

    from steelyard.numerics.matrices import as_float64

    array = weight.numpy()
    rows = array.reshape(array.shape[0], -1) if axis == "first" else array.reshape(-1, array.shape[-1]).T
    # evenly spaced rather than the first ones: the same units and inputs of both nets, from the whole layer
    rows = rows[:: max(-(-rows.shape[0] // UNITS), 1), :: max(-(-rows.shape[1] // INPUTS), 1)]
    finite = np.nan_to_num(as_float64(np.abs(rows) if rows.dtype.kind == "c" else rows), posinf=0.0, neginf=0.0)
    finite = finite - finite.mean(axis=0)  # the mean of all units is not evidence of their order
    lengths = np.sqrt((finite * finite).sum(axis=1, keepdims=True))
    units: Array = finite / np.where(lengths > 0, lengths, 1.0)
    return units


def _likeness(one: Array, other: Array) -> tuple[float, float | None, float]:
    """Return the mean correlation of rows of equal index, its p-value among random orders, and its z-score."""
    import numpy as np

    products = one @ other.T
    count = len(products)
    seen = float(np.trace(products)) / count
    drawn = np.concatenate([_drawn(products, min(BATCH, SHUFFLES - done), done) for done in range(0, SHUFFLES, BATCH)])
    spread = float(drawn.std())
    # all orders are equally alike, as of equal rows: there is nothing to test
    if spread < 1e-12:
        return seen, None, 0.0
    # the observed order counts as one of the draws (Phipson and Smyth, 2010), so p is never zero
    p = (1 + int((drawn >= seen - 1e-12).sum())) / (1 + SHUFFLES)
    return seen, p, (seen - float(drawn.mean())) / spread


def _drawn(products: Array, draws: int, seed: int) -> Array:
    """Return the mean likeness of the units for each of some random orders of one side."""
    import numpy as np

    places = np.arange(len(products))
    orders = np.random.default_rng([seed, len(products)]).permuted(np.tile(places, (draws, 1)), axis=1)
    means: Array = products[places, orders].mean(axis=1)
    return means


def linked(names: Sequence[str], distances: Mapping[tuple[str, str], float | None]) -> object:
    """Return the tree of average linkage: a name, or the (one, other, distance) of the last merge.

    Unknown distances are left out of the averages; where all are unknown, the distance of the merge is None, and it comes last.

    >>> linked(["a", "b", "c"], {("a", "b"): 0.1, ("a", "c"): 1.0, ("b", "c"): 0.8})
    ('c', ('a', 'b', 0.1), 0.9)
    """
    clusters: list[tuple[object, list[str]]] = [(name, [name]) for name in names]
    known = {frozenset(pair): distance for pair, distance in distances.items() if distance is not None}

    def between(one: int, other: int) -> float:
        pairs = (frozenset((a, b)) for a in clusters[one][1] for b in clusters[other][1])
        known_distances = [known[pair] for pair in pairs if pair in known]
        return sum(known_distances) / len(known_distances) if known_distances else inf

    while len(clusters) > 1:
        one, other = min(combinations(range(len(clusters)), 2), key=lambda pair: between(*pair))
        distance = between(one, other)
        (tree, members), (second, others) = sorted((clusters[one], clusters[other]), key=lambda each: len(each[1]))
        clusters = [each for nth, each in enumerate(clusters) if nth not in (one, other)]
        clusters.append(((tree, second, None if distance == inf else distance), members + others))
    return clusters[0][0] if clusters else None
