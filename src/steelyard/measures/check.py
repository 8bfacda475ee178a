"""Checking weights: whether all can be read, every number is finite, and no code would have run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.weight import Weight
from steelyard.errors import SteelyardError, printable
from steelyard.io import weights

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


class Finding:
    """One thing that is wrong.

    `kind` is "unreadable", "not finite" or "code"; `name` is the weight's, None for the file as a whole; `what` says it
    in a line; `place` is the index of the first number that is not finite.
    """

    __slots__ = ("kind", "name", "place", "what")

    def __init__(self, kind: str, name: str | None, what: str, place: tuple[int, ...] | None = None) -> None:
        self.kind = kind
        self.name = name
        self.what = what
        self.place = place

    def __repr__(self) -> str:
        return self.what

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain Python, for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "what": self.what,
            "place": None if self.place is None else list(self.place),
        }


class Check:
    """What a check found: `findings`, none when all is well, and how many `weights` were looked at.

    `notes` are what a user should know of a file though nothing is wrong: that it holds training data too.
    """

    __slots__ = ("findings", "notes", "weights")

    def __init__(self, weights: int, findings: Sequence[Finding], notes: Sequence[str] = ()) -> None:
        self.weights = weights
        self.findings = tuple(findings)
        self.notes = tuple(notes)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __repr__(self) -> str:
        from steelyard.views.measured import check_lines

        return "\n".join(check_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain Python, for JSON."""
        record = {"good": self.good, "weights": self.weights, "findings": [finding.to_dict() for finding in self.findings]}
        return record | {"notes": list(self.notes)} if self.notes else record


def check(source: Any) -> Check:
    """Read every number of a model, a file or anything that `weights` takes once, and say what is wrong.

    Found is a weight that cannot be read, one that holds NaN or Inf, with the place of the first, and each call that
    a pickle loader would have made: `posix.system('...')`. Of a file every tensor is looked at, the optimizer's too.
    Raises what `weights` raises where nothing can be read at all.

    Examples:
        >>> import numpy as np
        >>> check({"w": np.array([1.0, np.nan])})
        w is not finite: 1 NaN, first at [1]
        >>> check({"w": np.zeros(3)})
        readable, complete, finite: 1 weight
    """
    found: Weights = weights(source, "all")
    looked = (finding for weight in found._distinct().weights for finding in _of(weight))
    return Check(len(found), [*_code(found), *looked], _notes(found))


def _of(weight: Weight) -> Iterator[Finding]:
    """Read a weight to its end."""
    from steelyard.core.finite import nonfinite  # it loads dataclasses, which `import steelyard` need not wait for

    try:
        if weight.dtype.startswith(("float", "bfloat", "complex")):
            for finding in nonfinite([weight]):
                yield Finding("not finite", weight.name, str(finding), finding.first)
        else:
            for _ in weight.blocks():
                pass
    except SteelyardError as error:
        yield Finding("unreadable", weight.name, f"{printable(weight.name)} cannot be read: {error}")


def _notes(found: Weights) -> list[str]:
    notes = found.meta.get("notes")
    return [printable(note, 1000) for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _code(found: Weights) -> Iterator[Finding]:
    """Yield what a pickle loader would have run; a reader of pickles keeps it in the weights' `meta`."""
    code = found.meta.get("code")
    for call in code if isinstance(code, list) else ():
        yield Finding("code", None, f"would have run {printable(call, 400)}")
