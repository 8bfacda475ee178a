"""Check that weights are readable and finite, that loading their file would run no code, and that the net looks healthy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.auditing import audit
from steelyard.auditing.rules import DAMAGED, NOTED, RULES, RUNS, UNREAD
from steelyard.core.net_facts import noted
from steelyard.core.readers import raw_chunks
from steelyard.core.threads import in_turn
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.engines.tasks import Failure, failure
from steelyard.errors import FormatError, IncompleteWarning, ShapeError, SteelyardError, printable
from steelyard.formats import SHA256
from steelyard.io import incomplete, weights
from steelyard.measures.check.findings import Finding
from steelyard.paths import is_spread
from steelyard.storage.source import Stored
from steelyard.text import tabular

if TYPE_CHECKING:
    from steelyard.auditing import Audit
    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights
    from steelyard.engines.opening import Opening
    from steelyard.numerics.nonfinite import NonFinite


TEXTS = frozenset(("text", "string"))
"""Encodings, in lower case, of weights that hold text instead of numbers."""


class Check:
    """The result of a check: its `findings`, the number of `weights`, and how many of them are `readable`.

    `ok` is true if no finding is worse than "info"; `health` if the net's health was checked too. `notes` are facts about
    the file that a user should know although nothing is wrong, for example that it also contains training data.
    """

    __slots__ = ("findings", "health", "notes", "readable", "weights")

    def __init__(self, weights: int, findings: Sequence[Finding], notes: Sequence[str] = (), *, health: bool = False) -> None:
        self.weights = weights
        self.readable = weights - len({finding.name for finding in findings if finding.kind in ("unreadable", "text")})
        self.findings = tuple(findings)
        self.notes = tuple(notes)
        self.health = health

    @property
    def ok(self) -> bool:
        """Whether no finding is worse than "info"."""
        return not self.at_least("warning")

    def at_least(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings of at least this severity: "info", "warning" or "error"."""
        return tuple(finding for finding in self.findings if finding.is_at_least(severity))

    def __repr__(self) -> str:
        from steelyard.text.measured import check_lines

        return "\n".join(check_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import check_html

        return check_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain Python, for JSON."""
        record = {
            "ok": self.ok,
            "weights": self.weights,
            "readable": self.readable,
            "findings": self.to_records(),
        }
        return record | {"notes": list(self.notes)} if self.notes else record

    def to_records(self) -> list[dict[str, Any]]:
        """Return the findings as plain Python."""
        return [finding.to_dict() for finding in self.findings]

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the findings as columns, without their evidence; a place is such as "0, 3"."""
        from steelyard.text.frames import columns_of

        places = (None if each.place is None else ", ".join(map(str, each.place)) for each in self.findings)
        rows = ({**row, "place": place} for row, place in zip(self.to_records(), places, strict=True))
        return columns_of({name: value for name, value in row.items() if name != "evidence"} for row in rows)

    to_frame = tabular.to_frame
    write = tabular.write


def check(
    source: object,
    *,
    health: bool = False,
    effective: bool = False,
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Check:
    """Read every number of a source once, and return the defects.

    `source` is a model, a file, or any other source of `weights`. The findings are weights that cannot be read, weights with
    NaN or Inf, with the index of the first, calls that a pickle loader would have made, such as `posix.system('...')`, and
    missing shards of a model. All tensors of a file are checked, including the optimizer's. `health` adds properties that
    trained nets rarely have: constant kernels, dead or duplicate outputs, norms far from those at initialization, numbers
    clipped by a narrow type, running variances of zero or less, and unused words of an embedding. With `effective` the
    weights are those of `Weights.effective`: real numbers instead of packed ones. With an `engine`, `workers` or `resume` a file
    is read by several workers, and a pattern of paths has a check for each file, as in `stats`.
    Raises the errors of `weights` if nothing can be read at all.

    Examples:
        >>> import numpy as np
        >>> check({"w": np.array([1.0, np.nan])})
        w is not finite: 1 NaN, first at [1]
        >>> check({"w": np.zeros(3)})
        readable, complete, finite: 1 weight
        >>> check({"fc": {"weight": np.zeros((8, 8))}}, health=True)
        fc.weight holds the same number 64 times, 0, so that all units learn the same
    """
    if is_spread(source, engine, workers, resume):
        from steelyard.engines.calls import Asked, spread

        here = partial(check, source, health=health, effective=effective)
        asked = Asked(engine, workers, resume)
        found: Check = spread(partial(check_or_refuse, health), here, source, asked, scope="all", effective=effective)
        return found
    try:
        everything = listed(source, "all", effective=effective)
    except FormatError as error:
        return refused(source, error, health=health)
    return checked(everything, model_of(source, everything, effective=effective) if health else None)


def check_of(health: bool, opening: Opening) -> Check:
    """Check a file, for an engine; raises `FormatError` for one that cannot be read as weights."""
    from steelyard.engines.opening import listed as listed_by

    everything = listed_by(opening)
    return checked(everything, model_of(opening.path, everything, effective=opening.effective) if health else None)


def check_or_refuse(health: bool, opening: Opening) -> Check:
    """Check a file, for an engine, also one that cannot be read as weights."""
    opening.require_unchanged()
    try:
        return check_of(health, opening)
    except FormatError as error:
        return refused(opening.path, error, health=health)


def refused(source: object, error: FormatError, *, health: bool = False) -> Check:
    """Check a file that cannot be read as weights: its missing shards, and what loading it would run, then the reason.

    Raises the error itself if there is nothing else to be said.
    """
    error.__traceback__ = None  # it keeps alive what the reader had decoded, and the audit decodes it again
    missing = _missing(source)
    if missing:
        return Check(0, missing, health=health)
    code = as_findings(error.audit or audit(source)) if isinstance(source, (str, os.PathLike)) else []
    if not any(finding.kind == "code" for finding in code):
        raise error
    return Check(0, [*code, Finding("damaged", None, f"cannot be read: {error.__cause__ or error}")], health=health)


def listed(source: object, scope: Scope = "model", *, effective: bool = False) -> Weights:
    """Return the weights of a source without the warning about missing files, which a check reports as findings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        found = weights(source, scope=scope)
        return found.effective() if effective else found


def model_of(source: object, everything: Weights, *, effective: bool = False) -> Weights:
    """Return the weights of the model of a source, of which `everything` is listed: the same, where a source has no more."""
    from steelyard.formats import has_one_scope
    from steelyard.storage.opening import open_source

    if not isinstance(source, (str, os.PathLike)) or has_one_scope(open_source(os.fspath(source))):
        return everything
    return listed(source, effective=effective)


def checked(everything: Weights, model: Weights | None = None) -> Check:
    """Check all weights of a file, and the health of its `model`'s weights if these are given."""
    from steelyard.numerics.nonfinite import surely_finite  # NumPy, which `import steelyard` must not import

    distinct = list(everything.distinct().values())
    finite = surely_finite(distinct)
    others = [weight for weight in distinct if weight.name not in finite]
    scans = in_turn(_runs(others), scan, _is_worth_a_thread)
    looked = [finding for weight in others for finding in _of(weight, everything, scans)]
    findings = [
        *of_file(everything),
        *looked,
        *_tied(everything, looked),
    ]
    if model is not None:
        from steelyard.measures.check.health import health

        findings += health(model)
    return Check(len(everything), findings, _notes(everything), health=model is not None)


def of_file(everything: Weights) -> list[Finding]:
    """Return the findings of a file as a whole: what loading it would run, missing files, and altered numbers."""
    return [*as_findings(everything.audit), *_incomplete(everything), *_altered(everything)]


def _missing(source: object) -> list[Finding]:
    """Return a finding for each missing shard of an index, or of the folder of one."""
    if not isinstance(source, (str, os.PathLike)):
        return []
    from steelyard.formats.sharded import missing_shards
    from steelyard.storage.opening import open_source

    return [
        Finding(
            "missing shard",
            None,
            f"the shard {printable(shard)} is missing{f', with {len(names):,} weights' if names else ''} (partial download?)",
            evidence={"shard": shard, "weights": names},
        )
        for shard, names in missing_shards(open_source(os.fspath(source))).items()
    ]


def _runs(weights: Sequence[Weight]) -> Iterator[tuple[Weight, int]]:
    """Yield each weight with the first element of each of its runs; one of integers is read whole, as it is written."""
    for weight in weights:
        whole = not _is_scanned(weight) or weight.unreadable is not None
        yield from ((weight, start) for start in range(0, 1 if whole else max(weight.size, 1), sizes.SUMMARY_RUN))


def _is_worth_a_thread(weight: Weight, start: int) -> bool:
    from steelyard.numerics.blocks import is_shared

    return weight.size - start >= sizes.SUMMARY_THRESHOLD and is_shared(weight)


def _is_scanned(weight: Weight) -> bool:
    return is_floating(weight.dtype) or weight.dtype.startswith("complex")


def scan(weight: Weight, start: int) -> tuple[int, int, int | None] | Failure:
    """Read a run of a weight: the counts of NaN and Inf, and the offset of the first; or why it cannot be read."""
    from steelyard.numerics.nonfinite import counted

    try:
        if _is_scanned(weight):
            return counted(weight, start, min(start + sizes.SUMMARY_RUN, weight.size))
        read_as_written(weight)
    except SteelyardError as error:
        return failure(error)
    return 0, 0, None


def _of(weight: Weight, weights: Weights, scans: Iterator[tuple[int, int, int | None] | Failure]) -> Iterator[Finding]:
    """Yield the findings of a weight, from the scans of its runs."""
    from steelyard.core.indexing import place_of
    from steelyard.numerics.nonfinite import NonFinite

    found = [next(scans) for _ in _runs([weight])]
    if weight.unreadable is not None and weight.encoding.lower() in TEXTS:
        what = f"{printable(weight.name)} holds text, not numbers, and was not checked"
        yield Finding("text", weight.name, what, severity="info")
        return
    failed = next((each for each in found if isinstance(each, Failure)), None)
    if failed is not None:
        yield unreadable(weight, failed.error())
        return
    counts = [each for each in found if not isinstance(each, Failure)]
    nan, inf = sum(each[0] for each in counts), sum(each[1] for each in counts)
    first = next((each[2] for each in counts if each[2] is not None), None)
    if first is not None:
        yield not_finite(weight, NonFinite(weight.name, nan, inf, place_of(weight.shape, first)), weights)


def read_as_written(weight: Weight) -> None:
    """Read all numbers of a weight as a format would write them. Raises `SteelyardError` where that is not possible."""
    if weight.unreadable is not None or weight.dtype == UNKNOWN or not weight.size:
        weight.read(0, weight.size)  # which has a more precise reason
        if weight.dtype == UNKNOWN:
            raise ShapeError(f"{printable(weight.name)} holds no numbers")
    held = sum(map(len, raw_chunks(weight)))
    if held != weight.nbytes:
        raise ShapeError(f"its numbers take {held:,} bytes, but its shape {weight.nbytes:,}")


def _tied(weights: Weights, looked: Sequence[Finding]) -> Iterator[Finding]:
    """Yield a finding for each weight that shares the numbers of one that cannot be read."""
    bad = {finding.name for finding in looked if finding.kind == "unreadable"}
    for weight in weights.values() if bad else ():
        if weight.tied in bad:
            what = f"{printable(weight.name)} cannot be read: it is tied to {printable(weight.tied)}"
            yield Finding("unreadable", weight.name, what)


def _incomplete(weights: Weights) -> Iterator[Finding]:
    """Yield a finding for each other file of the model that is missing, as a reader notes it in `meta`."""
    for what in incomplete(weights):
        yield Finding("incomplete", None, f"incomplete: {what}")


def _altered(weights: Weights) -> Iterator[Finding]:
    """Yield a finding if the numbers of a file do not have the digest that its manifest gives for them."""
    given, first = weights.meta.get(SHA256), next(iter(weights.values()), None)
    if given is None or first is None or not isinstance(first.read, Stored):
        return
    import hashlib

    source, digest = first.read.source, hashlib.sha256()
    for start in range(0, source.size, sizes.WRITE_CHUNK_BYTES):
        digest.update(source.read(start, min(sizes.WRITE_CHUNK_BYTES, source.size - start)))
    if digest.hexdigest() != given:
        what = f"the numbers have the sha256 {digest.hexdigest()}, but the manifest says {printable(given, 80)}"
        yield Finding("damaged", None, f"damaged: {what}", evidence={"rule": "damaged"})


def not_finite(weight: Weight, bad: NonFinite, weights: Weights) -> Finding:
    """Return the finding for a weight with NaN or Inf; constants of a graph may be infinite, since masks are."""
    mask = weight.role is Role.OTHER and not bad.nan and not weights.live and weights.graph is not None
    evidence, severity = {"nan": bad.nan, "inf": bad.inf}, "info" if mask else "error"
    return Finding("not finite", weight.name, str(bad), bad.first, severity=severity, evidence=evidence)


def unreadable(weight: Weight, error: SteelyardError) -> Finding:
    """Return the finding for a weight whose numbers cannot be read."""
    return Finding("unreadable", weight.name, f"{printable(weight.name)} cannot be read: {error}")


def _notes(weights: Weights) -> list[str]:
    return [printable(note, 1000) for note in noted(weights.meta)]


def audited(weights: Weights) -> list[Finding]:
    """Return the findings of the audit of the weights' file."""
    return as_findings(weights.audit)


def as_findings(audit: Audit | None) -> list[Finding]:
    """Return the findings of an audit as those of a check."""
    kinds = {RUNS: "code", NOTED: "code", DAMAGED: "damaged", UNREAD: "not looked into"}
    return [
        Finding(
            kinds[RULES[each.rule].outcome],
            None,
            f"{each.what} ({each.place})",
            severity=each.severity,
            evidence={"rule": each.rule, "place": each.place, **each.evidence},
        )
        for each in (audit.findings if audit is not None else ())
    ]
