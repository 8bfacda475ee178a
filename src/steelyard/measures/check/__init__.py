"""Checking weights: whether all can be read, every number is finite, no code would have run, and the net looks healthy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, SteelyardError, printable
from steelyard.io import weights
from steelyard.measures.check.findings import Finding

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.numerics.nonfinite import NonFinite


class Check:
    """What a check found: `findings`, none when all is well, and how many `weights` were looked at.

    `ok` tells that nothing worse than "info" was found; `health` that the net's health was looked at too. `notes` are
    what a user should know of a file though nothing is wrong: that it holds training data too.
    """

    __slots__ = ("findings", "health", "notes", "weights")

    def __init__(self, weights: int, findings: Sequence[Finding], notes: Sequence[str] = (), *, health: bool = False) -> None:
        self.weights = weights
        self.findings = tuple(findings)
        self.notes = tuple(notes)
        self.health = health

    @property
    def ok(self) -> bool:
        """Whether nothing worse than "info" was found."""
        return not self.at_least("warning")

    def at_least(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings that are as severe as this word, or more."""
        return tuple(finding for finding in self.findings if finding.is_at_least(severity))

    def __repr__(self) -> str:
        from steelyard.text.measured import check_lines

        return "\n".join(check_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import check_html

        return check_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain Python, for JSON."""
        record = {"ok": self.ok, "weights": self.weights, "findings": [finding.to_dict() for finding in self.findings]}
        return record | {"notes": list(self.notes)} if self.notes else record


def check(source: object, *, health: bool = False) -> Check:
    """Read every number of a model, a file or anything that `weights` takes once, and say what is wrong.

    Found is a weight that cannot be read, one that holds NaN or Inf, with the place of the first, each call that
    a pickle loader would have made, as `posix.system('...')`, and each shard of a model that is missing. Of a file every
    tensor is looked at, the optimizer's too. With `health` also what a trained net rarely has: kernels of one number,
    outputs without weights or with those of another, norms far from those at the start, numbers cut off by a short
    type, running variances of zero or less, words of an embedding that were never used.
    Raises what `weights` raises where nothing can be read at all.

    Examples:
        >>> import numpy as np
        >>> check({"w": np.array([1.0, np.nan])})
        w is not finite: 1 NaN, first at [1]
        >>> check({"w": np.zeros(3)})
        readable, complete, finite: 1 weight
        >>> check({"fc": {"weight": np.zeros((8, 8))}}, health=True)
        fc.weight holds the same number 64 times, 0, so that all units learn the same
    """
    try:
        everything = weights(source, scope="all")
    except FormatError:
        missing = _missing(source)
        if not missing:
            raise
        return Check(0, missing, health=health)
    return checked(everything, weights(source) if health else None)


def checked(everything: Weights, model: Weights | None = None) -> Check:
    """Check all weights of a file, and with those of its `model` the health of this."""
    numbers = (weight for weight in everything.distinct().values() if weight.dtype != "object")  # texts are none
    looked = (finding for weight in numbers for finding in _of(weight, everything))
    findings = [*would_have_run(everything), *looked]
    if model is not None:
        from steelyard.measures.check.health import health

        findings += health(model)
    return Check(len(everything), findings, _notes(everything), health=model is not None)


def _missing(source: object) -> list[Finding]:
    """Return a finding for each shard that an index, or the folder of one, names and that is not there."""
    if not isinstance(source, (str, os.PathLike)) or "://" in os.fspath(source):
        return []
    from steelyard.formats.sharded import missing_shards
    from steelyard.storage.source import open_path

    return [
        Finding(
            "missing shard",
            None,
            f"the shard {printable(shard)} is missing{f', with {len(names):,} weights' if names else ''} (partial download?)",
            evidence={"shard": shard, "weights": names},
        )
        for shard, names in missing_shards(open_path(os.fspath(source))).items()
    ]


def _of(weight: Weight, found: Weights) -> Iterator[Finding]:
    """Read a weight to its end."""
    from steelyard.numerics.nonfinite import nonfinite  # it loads dataclasses, which `import steelyard` need not wait for

    try:
        if weight.dtype.startswith(("float", "bfloat", "complex")):
            for told in nonfinite([weight]):
                yield not_finite(weight, told, found)
        else:
            for _ in weight.blocks():
                pass
    except SteelyardError as error:
        yield unreadable(weight, error)


def not_finite(weight: Weight, told: NonFinite, found: Weights) -> Finding:
    """Return the finding for a weight that holds NaN or Inf; constants of a graph mask with infinity."""
    mask = weight.role is Role.OTHER and not told.nan and not found.live and found.graph is not None
    evidence, severity = {"nan": told.nan, "inf": told.inf}, "info" if mask else "error"
    return Finding("not finite", weight.name, str(told), told.first, severity=severity, evidence=evidence)


def unreadable(weight: Weight, error: SteelyardError) -> Finding:
    """Return the finding for a weight whose numbers cannot be read."""
    return Finding("unreadable", weight.name, f"{printable(weight.name)} cannot be read: {error}")


def _notes(found: Weights) -> list[str]:
    notes = found.meta.get("notes")
    return [printable(note, 1000) for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def would_have_run(found: Weights) -> Iterator[Finding]:
    """Yield what a pickle loader would have run; a reader of pickles keeps it in the weights' `meta`."""
    code = found.meta.get("code")
    for call in code if isinstance(code, list) else ():
        yield Finding("code", None, f"would have run {printable(call, 400)}")
