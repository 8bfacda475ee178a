"""`diff`: compare the weights of two sources one by one, and explain differences where there is evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import compress
from numbers import Real
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from steelyard.errors import ShapeError, quoted
from steelyard.io import readable_weights
from steelyard.measures.diff.difference import EQUAL, LONELY, MEASURED, Difference, Figures
from steelyard.paths import is_spread
from steelyard.text import tabular

if TYPE_CHECKING:
    import os

    from steelyard.core.loading import Loading
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.measures.diff.entries import Sums, Tolerance
    from steelyard.measures.diff.pairing import Couple, Coupling, Names
    from steelyard.measures.diff.verdicts import Verdict

_measured = attrgetter(*Figures._fields)
__all__ = ["Diff", "Difference", "diff", "differences"]


class Diff:
    """The differences between two sources: `rows` with the greatest change first, and `notes` on how they were paired.

    `same` is true if every weight has a partner of its shape, and no entry differs by more than the tolerance; without a
    tolerance, no bit and no dtype may differ. `permutations` are the permutations of hidden units that were undone, by layer
    of the second source. `prefixes` has what was left out of the names of either side, such as the "module." of a wrapper, None
    if nothing was. `loads` is the verdict on whether the other source loads into the model, where one source is a live model.
    `remote` tells whether a side is read over the network.
    """

    __slots__ = ("loads", "notes", "permutations", "prefixes", "remote", "rows", "tolerance")

    def __init__(
        self,
        rows: Iterable[Difference],
        tolerance: Tolerance,
        notes: Sequence[str] = (),
        permutations: Mapping[str, list[int]] | None = None,
        prefixes: Mapping[str, Any] | None = None,
        loads: Loading | None = None,
        *,
        remote: bool = False,
    ) -> None:
        self.remote = remote
        self.rows = _in_order(rows)
        self.tolerance = tolerance
        self.notes = list(notes)
        self.permutations = dict(permutations or {})
        self.prefixes = prefixes
        self.loads = loads

    @property
    def same(self) -> bool:
        """Whether no weight differs by more than the tolerance."""
        return not any(map(self.differs, self.rows))

    def differs(self, row: Difference) -> bool:
        """Whether one weight differs by more than the tolerance."""
        if row.kind in ("added", "removed", "shape", "renamed"):
            return True
        exact = not any(self.tolerance)
        return bool(row.changed or row.dtypes[0] != row.dtypes[1]) if exact else bool(row.over_tolerance)

    def __repr__(self) -> str:
        from steelyard.text.differences import diff_lines

        return "\n".join(diff_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import diff_html

        return diff_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""
        return [row.to_dict() for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {
            "same": self.same,
            "tolerance": {"atol": self.tolerance.absolute, "rtol": self.tolerance.relative},
            "notes": self.notes,
            "permutations": self.permutations,
            "prefixes": self.prefixes,
            "loads": None if self.loads is None else self.loads.to_dict(),
            "weights": self.to_records(),
        }

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the rows as columns; of a verdict the sentence, and a place is such as "0, 3"."""
        from steelyard.text.frames import columns_of

        return columns_of(map(_table_row, self.rows))

    to_frame = tabular.to_frame
    write = tabular.write


def _table_row(row: Difference) -> dict[str, Any]:
    """Return a row of the table, with all columns also where numbers were not compared."""
    shapes, dtypes = [None if shape is None else list(shape) for shape in row.shapes], row.dtypes
    sides = {"shape_before": shapes[0], "shape_after": shapes[1], "dtype_before": dtypes[0], "dtype_after": dtypes[1]}
    facts = {"name": row.name, "source": row.source, "kind": row.kind, "paired_by": row.paired_by, "layout": row.layout}
    record = row.to_dict()
    numbers = {word: record.get(word) for word in MEASURED}
    place = None if row.place is None else ", ".join(map(str, row.place))
    return {**facts, **sides, **numbers, "place": place, "verdict": row.verdict and row.verdict.what}


def diff(  # noqa: PLR0913 - each is an option, by name
    before: object,
    after: object,
    *,
    align: Literal["permutation"] | None = None,
    atol: float = 0.0,
    rtol: float = 0.0,
    rules: Names = None,
    pairs: Names = None,
    verdicts: bool = True,
    skip_unreadable: bool = False,
    effective: bool = False,
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Diff:
    """Compare the weights of two models, files or `Weights`, of any two frameworks.

    Weights are paired by name; where names differ, by `rules` and `pairs`, as in `transfer`. Names may also agree without the
    words of wrappers, such as a prefix "module." on one side, which `notes` then report. If no names match, layers are
    paired as in `transfer`, and `before` is converted to the layout of `after`. Weights that remain are paired by their numbers,
    layer by layer; constant arrays prove nothing, and `notes` name the weights for which it is open which is which.

    If one side is a live model and the other is not, `loads` says first whether the other loads into it: for PyTorch as
    `load_state_dict` would find it, for nets on several processes as `set_model_state_dict`, for other frameworks as `assign`.
    Missing names that are tied to a weight that loads are named, since `from_pretrained` ties them again.

    An entry is beyond the tolerance if |after - before| > atol + rtol * |before|. `align="permutation"` first reorders the
    hidden units of dense and convolutional layers for the best match. `verdicts` explains differences where there is evidence:
    a cast, a scalar multiple, sparse edits, a low rank, noise.

    With `effective` the weights of both sides are those of `Weights.effective`, so that a packed net is compared with a plain
    one. Numbers are read in blocks, from files by two threads, and summed in float64. Raises the errors of `weights`,
    `ShapeError` or `AmbiguityError` if the rules or the permutation do not fit, and `UnreadableError` for weights that cannot
    be read, unless `skip_unreadable` leaves them out with a warning. With an `engine`, `workers` or `resume`, the numbers of two
    files are compared by several workers, as in `stats`; verdicts are found here.

    Examples:
        >>> import numpy as np
        >>> found = diff({"w": np.zeros((2, 2))}, {"w": np.array([[0.0, 0.0], [0.0, 0.5]])}, atol=0.1)
        >>> found.same, found.rows[0].max_abs, found.rows[0].place
        (False, 0.5, (1, 1))
    """
    from steelyard.measures.diff.loads import loading

    tolerance = _tolerance(atol, rtol)
    if align not in (None, "permutation"):
        raise ShapeError(f'align is {align!r}; it must be "permutation" or None')
    if is_spread(None, engine, workers, resume):
        how: dict[str, Any] = {"align": align, "atol": atol, "rtol": rtol, "rules": rules, "pairs": pairs, "verdicts": verdicts}
        return _by_engine(
            partial(diff, **how, skip_unreadable=skip_unreadable), before, after, (engine, workers, resume), effective=effective
        )
    one, other = (readable_weights(e, skip_unreadable=skip_unreadable, effective=effective) for e in (before, after))
    coupling, permutations = _coupled(one, other, rules, pairs, align)
    notes = [*coupling.notes, *([] if effective else _packing(one, other))]
    loads = None if any((rules, pairs, effective)) else loading(before, after, one, other)
    rows = differences(coupling.couples, tolerance, verdicts=verdicts)
    return Diff(rows, tolerance, notes, permutations, coupling.prefixes, loads, remote=one.remote or other.remote)


def _tolerance(atol: float, rtol: float) -> Tolerance:
    from steelyard.measures.diff.entries import Tolerance

    given: tuple[tuple[str, object], ...] = (("atol", atol), ("rtol", rtol))
    for word, number in given:
        if not isinstance(number, Real):
            raise ShapeError(f"{word} is {quoted(number)}; it must be a number")
    if not (atol >= 0 and rtol >= 0):
        raise ShapeError(f"atol is {atol} and rtol {rtol}; neither may be negative")
    return Tolerance(float(atol), float(rtol))


def _by_engine(here: Any, before: object, after: object, asked: tuple[Any, ...], *, effective: bool) -> Diff:
    from steelyard.engines.calls import Asked, together

    found: Diff = together(here, (before, after), Asked(*asked), effective=effective)
    return found


def _coupled(
    one: Weights, other: Weights, rules: Names, pairs: Names, align: str | None
) -> tuple[Coupling, dict[str, list[int]]]:
    """Return the couples of two nets, and the permutations that were undone."""
    from steelyard.measures.diff.pairing import couple

    coupling = couple(one, other, rules, pairs)
    if not align:
        return coupling, {}
    from steelyard.measures.diff.permutation import aligned

    return aligned(coupling, other)


def _packing(one: Weights, other: Weights) -> list[str]:
    """Return a note where a side is packed, since its codes are compared."""
    from steelyard.core.packing import COMPARED, packed

    return [COMPARED] if packed(one) or packed(other) else []


def differences(couples: Sequence[Couple], tolerance: Tolerance | None = None, *, verdicts: bool = True) -> list[Difference]:
    """Return a row for each couple, in order."""
    from steelyard.measures.diff.entries import Tolerance, side_by_side
    from steelyard.measures.diff.verdicts import verdict

    explain = verdict if verdicts else None
    limit, are_comparable = tolerance or Tolerance(), [each.comparable for each in couples]
    compared = [(each.one, each.other) for each in compress(couples, are_comparable) if each.one and each.other]
    sums = side_by_side(compared, limit)
    marked = zip(couples, are_comparable, strict=True)
    return [_row(each, next(sums), explain) if is_comparable else _lonely(each) for each, is_comparable in marked]


def _lonely(each: Couple) -> Difference:
    """Return the row of a weight without a partner, or with one of another shape."""
    kind = "removed" if each.other is None else "added" if each.one is None else "shape"
    return Difference(kind, each.one, each.other, each.why if kind == "shape" else "", figures=LONELY)


def _row(each: Couple, sums: Sums, explain: Callable[[Weight, Weight, Sums], Verdict | None] | None) -> Difference:
    """Return the row of two weights of one shape."""
    one, other, why, layout = each
    if not sums.changed and (one is None or other is None or one.dtype == other.dtype):
        return Difference("renamed" if each.is_renamed else "equal", one, other, why, layout)
    row = Difference("changed", one, other, why, layout, Figures(*_measured(sums)) if sums.changed else EQUAL)
    if explain and one and other:
        row.verdict = explain(one, other, sums)
    return row


def _in_order(rows: Iterable[Difference]) -> list[Difference]:
    """Return rows by kind, those without a partner first, and those of a kind with the greatest change first."""
    kinds: dict[str, list[Difference]] = {kind: [] for kind in ("shape", "removed", "added", "changed", "renamed", "equal")}
    for row in rows:
        kinds[row.kind].append(row)
    return [row for some in kinds.values() for row in sorted(some, key=attrgetter("greatness"), reverse=True)]
