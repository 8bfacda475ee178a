"""What the check of each file came to, and the sum of several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.auditing import audit
from steelyard.errors import FormatError
from steelyard.measures.check import Check, as_findings
from steelyard.measures.check.findings import Finding

if TYPE_CHECKING:
    from steelyard.measures.check.policy import Policy

CODE, DAMAGED, UNREAD, FOUND, FINE, NO_MODEL = "code", "damaged", "not looked into", "findings", "fine", "no model"
"""The outcomes, from the worst: loading runs code; damage; parts that were not read; other findings; none; no weights."""

_WEIGHTS = (
    ".safetensors",
    ".pt",
    ".pth",
    ".ckpt",
    ".onnx",
    ".keras",
    ".h5",
    ".hdf5",
    ".gguf",
    ".tflite",
    ".npz",
    ".npy",
    ".skops",
)
"""Suffixes of files that are damaged if no format can read them."""
_PERHAPS = (
    ".bin",
    ".index",
    "saved_model.pb",
    ".pkl",
    ".pickle",
    ".joblib",
    ".sav",
    ".zip",
    ".tar",
    ".gz",
    ".7z",
    ".rar",
    ".xz",
    ".zst",
    ".lz4",
    ".pdparams",
)
"""Suffixes of files that may hold weights or anything else."""


class Outcome(NamedTuple):
    """The check of one file; `known` counts the findings of the baseline, which the check does not have.

    `looked` is the number of parts that were looked into, if the file was audited only and none of its numbers was read.
    """

    file: str
    check: Check
    word: str
    known: int = 0
    looked: int | None = None

    def status(self, fail_on: str) -> int:
        """Return 3 for a file that would run code, 2 for a damaged one, 1 for other findings of this severity, else 0."""
        if self.word in (CODE, DAMAGED):
            return 3 if self.word == CODE else 2
        return 1 if self.check.at_least(fail_on) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain Python, for JSON."""
        check = self.check.to_dict()
        if self.looked is not None:
            check = {"ok": check["ok"], "looked": self.looked, "findings": check["findings"]}
        return {"file": self.file, "outcome": self.word, "known": self.known, **check}


def outcome(file: str, check: Check, policy: Policy) -> Outcome:
    """Judge a check by the rules of a team."""
    left, known = policy.applied(check, file)
    return Outcome(file, left, _word(left), known)


def outcome_of_audit(file: str, policy: Policy) -> Outcome:
    """Audit a file, of whatever kind, and judge the findings by the rules of a team."""
    audited = audit(file)
    return outcome(file, Check(0, as_findings(audited)), policy)._replace(looked=audited.looked)


def outcome_of_index(file: str, policy: Policy) -> Outcome:
    """Audit the index of a pipeline, or an archive in a folder, and judge the findings; its models are checked by themselves."""
    judged = outcome_of_audit(file, policy)
    return judged if judged.check.findings or judged.known else judged._replace(word=NO_MODEL)


def outcome_of_other(file: str, error: FormatError, policy: Policy) -> Outcome:
    """Judge a file of a folder that cannot be read as weights: it is audited, and may be anything but a model.

    Raises the error for a file that should hold weights and is damaged.
    """
    findings = as_findings(error.audit or audit(file))
    name, reason = file.lower(), str(error)
    if not findings and not reason.endswith("no weights"):
        if name.endswith(_WEIGHTS):
            raise error
        if name.endswith(_PERHAPS):
            what = f"was not looked into: {reason.partition(': ')[2].partition('; known formats')[0]}"
            findings = [Finding("not looked into", None, what, severity="warning")]
    judged = outcome(file, Check(0, findings), policy)
    return judged if judged.check.findings or judged.known else judged._replace(word=NO_MODEL)


def _word(check: Check) -> str:
    if any(each.kind == "code" and each.severity == "error" for each in check.findings):
        return CODE
    kinds = {each.kind for each in check.findings if each.severity != "info"}
    return next((word for word in (DAMAGED, UNREAD) if word in kinds), FOUND if kinds else FINE)


class Summary(NamedTuple):
    """How many files came to each outcome; `unread` are those that were not looked into, in whole or in part."""

    files: int
    code: int
    damaged: int
    found: int
    no_model: int
    known: int
    unread: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain Python, for JSON."""
        return {**self._asdict(), "unread": list(self.unread)}


def summary(outcomes: Sequence[Outcome], errors: int) -> Summary:
    """Count the outcomes; `errors` are files that could not be read at all."""
    words = [each.word for each in outcomes]
    unread = tuple(each.file for each in outcomes if each.word == UNREAD)
    return Summary(
        len(outcomes) + errors,
        words.count(CODE),
        words.count(DAMAGED) + errors,
        words.count(FOUND),
        words.count(NO_MODEL),
        sum(each.known for each in outcomes),
        unread,
    )


def common_folder(files: Iterable[str]) -> str:
    """Return the folder that all files share, with its separator; "" if there is none.

    >>> common_folder(["runs/a/1.pt", "runs/b/2.pt"]), common_folder(["a.pt", "runs/b.pt"])
    ('runs/', '')
    """
    folders = {os.path.dirname(file) for file in files}
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:
        return ""
    return f"{shared}{os.sep}" if shared else ""
