"""The rules of the audit, each with a stable id, a severity, and a sentence; docs/audit.md has a section for each."""

from __future__ import annotations

RUNS, DAMAGED, UNREAD, NOTED = "runs", "damaged", "unread", "noted"
"""What a finding means: loading runs code or reaches out of the file; damage; a part that was not looked into; a remark."""


class Rule:
    """One rule: its `severity` ("info", "warning", "error"), its `outcome`, and its sentence."""

    __slots__ = ("outcome", "sentence", "severity")

    def __init__(self, severity: str, outcome: str, sentence: str) -> None:
        self.severity = severity
        self.outcome = outcome
        self.sentence = sentence


RULES: dict[str, Rule] = {
    "pickle-call": Rule("error", RUNS, "A pickle calls a function, or a class that is not made to hold data."),
    "pickle-name": Rule("error", RUNS, "A pickle names a function that weights do not need; naming it imports its module."),
    "pickle-dotted-name": Rule("error", RUNS, "A pickle reaches an attribute of an attribute, by a name with dots."),
    "pickle-argument": Rule("error", RUNS, "A pickle calls a function of a list with arguments that make it run something else."),
    "pickle-computed-call": Rule("error", RUNS, "A pickle calls what another call returns."),
    "pickle-state": Rule("error", RUNS, "A pickle changes a class or module, or the methods of an object."),
    "pickle-outside": Rule("error", RUNS, "A pickle takes objects from a registry outside the file."),
    "pickle-unknown-class": Rule("warning", NOTED, "A pickle makes an object of a class that no list knows; its code would run."),
    "pickle-unproven-class": Rule("warning", NOTED, "A pickle makes an object of a class of a framework in an unusual way."),
    "pickle-constructor": Rule("warning", NOTED, "A pickle calls a class of a known library, whose constructor would run."),
    "pickle-known-class": Rule("info", NOTED, "A pickle makes an object of an ordinary class of a known library."),
    "pickle-damaged": Rule("warning", DAMAGED, "A pickle is damaged; what precedes the damage would have run."),
    "trailing-bytes": Rule("warning", UNREAD, "Bytes follow the end of the content, and nothing describes them."),
    "native-code": Rule("error", RUNS, "A file contains a compiled program or library."),
    "path-traversal": Rule("error", RUNS, "An archive names a file outside its folder."),
    "zip-ambiguous": Rule("warning", DAMAGED, "A zip archive is damaged, or two readers could understand it differently."),
    "damaged": Rule("warning", DAMAGED, "The content is damaged."),
    "not-looked-into": Rule("warning", UNREAD, "A part is nested too deeply, too large, or needs an extra to be read."),
    "skops-type": Rule("error", RUNS, "A skops schema names a type that weights do not need."),
}
"""All rules by id; an id never changes its meaning."""
