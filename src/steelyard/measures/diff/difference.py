"""The difference of one weight: what two sources have of it, how it was paired, and what was measured."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.weight import Role, Weight

if TYPE_CHECKING:
    from steelyard.measures.diff.verdicts import Verdict
    from steelyard.numerics.summary import Summary

    Shape = tuple[int, ...]

MEASURED = ("count", "changed", "over_tolerance", "nonfinite", "max_abs", "signed_max", "mean_abs", "relative", "cosine")
"""The statistics of two weights that were compared."""


class Figures(NamedTuple):
    """What was measured of two weights, each by its name in `Sums`; the offset `place` is -1 if no number changed."""

    changed: int = 0
    over_tolerance: int = 0
    nonfinite: int = 0
    max_abs: float = 0.0
    falls: bool = False
    total: float = 0.0
    relative: float | None = 0.0
    cosine: float | None = 1.0
    place: int = -1


EQUAL, LONELY = Figures(), Figures(relative=None, cosine=None)
"""The figures of equal weights, and of a weight that was not compared."""


class _Facts(NamedTuple):
    """What a row says of a weight on one side."""

    name: str
    shape: Shape
    dtype: str
    role: Role
    size: int


class Difference:
    """The difference of one weight: `name` is its name in the second source, `source` in the first; one of them may be blank.

    `kind` is "equal" (every bit), "changed", "renamed" (the same numbers under another name), "shape" (not compared), "added"
    or "removed". `paired_by` is the evidence for the pair: "name", "name without a prefix", "rule", "layer" (as in `transfer`),
    "same numbers" or, for a weight that follows its layer, "numbers of its layer". `shapes` and `dtypes`
    are those of both sides. `changed` counts the entries whose bits differ, `over_tolerance` those that differ by more than the
    tolerance. `max_abs`, at the index `place`, and `mean_abs` are the
    maximum and the mean of |after - before|; `signed_max` is after - before at `place` (its magnitude for complex numbers).
    `relative` is ||after - before|| / ||before||, and `cosine` is the cosine similarity of both sides; both are None where an
    l2 norm is zero or overflows. `nonfinite` counts the entries that are NaN or infinite on one side and different on the
    other; all other statistics exclude entries that are not finite. `layout` is the layout change that was applied to the
    first source, and `verdict` the kind of difference, if there is evidence of one.
    """

    # a file may have a hundred thousand weights, and a table shows forty, so a row has no more than what it is made of
    __slots__ = ("_figures", "_sides", "kind", "layout", "paired_by", "verdict")

    def __init__(
        self, kind: str, one: Weight | None, other: Weight | None, paired_by: str = "", layout: str = "", figures: Figures = EQUAL
    ) -> None:
        self.kind = kind
        self.paired_by = paired_by
        self.layout = layout
        self.verdict: Verdict | None = None
        self._sides: tuple[Weight | _Facts | None, Weight | _Facts | None] = (one, other)
        self._figures = figures

    @property
    def name(self) -> str:
        """The name in the second source, blank without a partner."""
        other = self._sides[1]
        return other.name if other else ""

    @property
    def source(self) -> str:
        """The name in the first source, blank without a partner."""
        one = self._sides[0]
        return one.name if one else ""

    @property
    def label(self) -> str:
        """The name, after that in the first source and an arrow where it is another."""
        one, other = self._sides
        name, source = other.name if other else "", one.name if one else ""
        return f"{source} -> {name}" if name and source and source != name else name or source

    @property
    def look(self) -> object:
        """What weights have in common that share a row of a table; one that is not finite is never hidden in another's row."""
        one, other = self._sides
        before, after = (one.shape, one.dtype) if one else None, (other.shape, other.dtype, other.role) if other else None
        role = None if other or one is None else one.role
        return self.kind, self.paired_by, self.layout, role, self._figures.nonfinite > 0, before, after

    @property
    def shapes(self) -> tuple[Shape | None, Shape | None]:
        """The shapes of both sides."""
        one, other = self._sides
        return one.shape if one else None, other.shape if other else None

    @property
    def dtypes(self) -> tuple[str | None, str | None]:
        """The dtypes of both sides."""
        one, other = self._sides
        return one.dtype if one else None, other.dtype if other else None

    @property
    def role(self) -> Role | None:
        """The role in the second source, or of a weight that only the first has."""
        side = self._sides[1] or self._sides[0]
        return side.role if side else None

    @property
    def count(self) -> int:
        """The number of entries."""
        side = self._sides[1] or self._sides[0]
        return side.size if side else 0

    @property
    def changed(self) -> int:
        """The number of entries whose bits differ."""
        return self._figures.changed

    @property
    def over_tolerance(self) -> int:
        """The number of entries that differ by more than the tolerance."""
        return self._figures.over_tolerance

    @property
    def nonfinite(self) -> int:
        """The number of entries that are NaN or infinite on one side and different on the other."""
        return self._figures.nonfinite

    @property
    def max_abs(self) -> float:
        """The maximum of |after - before|."""
        return self._figures.max_abs

    @property
    def signed_max(self) -> float:
        """The difference after - before at `place`."""
        return -self.max_abs if self._figures.falls else self.max_abs

    @property
    def mean_abs(self) -> float:
        """The mean of |after - before|."""
        return self._figures.total / max(self.count, 1)

    @property
    def relative(self) -> float | None:
        """||after - before|| / ||before||; None where an l2 norm is zero or overflows."""
        return self._figures.relative

    @property
    def cosine(self) -> float | None:
        """The cosine similarity of both sides; None where an l2 norm is zero or overflows."""
        return self._figures.cosine

    @property
    def place(self) -> Shape | None:
        """The index of the greatest change; None if there is none."""
        from steelyard.core.indexing import place_of

        return place_of(self.shapes[1] or (), self._figures.place) if self._figures.place >= 0 else None

    @property
    def greatness(self) -> tuple[bool, float]:
        """What rows are ordered by: a change to or from NaN or Inf is the greatest, then one from zero, then by `relative`."""
        figures = self._figures
        return figures.nonfinite > 0, inf if figures.relative is None else figures.relative

    @property
    def moved(self) -> bool:
        """Whether finite numbers changed that are no counts: of those that are no longer finite, another line tells."""
        figures = self._figures
        return bool(figures.changed) and self.role != Role.COUNT and not (figures.nonfinite and figures.relative == 0)

    def summary(self) -> Summary | None:
        """Read both sides once more, and return the summary of after - before: range, moments and histogram.

        None if there is no partner of the same shape, or if this row was unpickled, since it then has no weights.
        """
        from steelyard.measures.diff.summary import summary_of_difference

        one, other = self._sides
        if not isinstance(one, Weight) or not isinstance(other, Weight) or one.shape != other.shape:
            return None
        return summary_of_difference(one, other)

    def __getstate__(self) -> object:
        """Return the statistics and facts without the weights, which may belong to a live model."""
        sides = tuple(each and _Facts(each.name, each.shape, each.dtype, each.role, each.size) for each in self._sides)
        return None, {slot: getattr(self, slot) for slot in self.__slots__} | {"_sides": sides}

    def __repr__(self) -> str:
        from steelyard.text.differences import difference_line

        return difference_line(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        compared = self.kind in ("equal", "changed", "renamed")
        return {
            "name": self.name,
            "source": self.source,
            "kind": self.kind,
            "paired_by": self.paired_by,
            "layout": self.layout,
            "shapes": [None if shape is None else list(shape) for shape in self.shapes],
            "dtypes": list(self.dtypes),
            **({word: _plain(getattr(self, word)) for word in MEASURED} if compared else {}),
            "place": None if self.place is None else list(self.place),
            "verdict": self.verdict and self.verdict.to_dict(),
        }


def _plain(number: float | None) -> float | str | None:
    """Return a number that JSON can represent: an overflow as a word."""
    return number if number is None or isfinite(number) else "Infinity" if number > 0 else "-Infinity"
