"""The rules of a check by their stable ids: those of the audit, and those about numbers and files."""

from __future__ import annotations

from steelyard.auditing.rules import RULES

OWN: dict[str, tuple[str, str]] = {
    "unreadable": ("error", "A weight cannot be read."),
    "text": ("info", "A weight holds text, not numbers."),
    "not-finite": ("error", "A weight holds NaN or Inf."),
    "missing-shard": ("error", "A file of a model in several files is missing."),
    "incomplete": ("error", "Other files of the same model are missing, or a variable that the model names."),
    "negative-variance": ("error", "A running variance has numbers below zero."),
    "zero-variance": ("warning", "A running variance is zero."),
    "constant": ("warning", "A kernel holds one number only."),
    "exploded": ("warning", "A kernel is far larger than at its initialization."),
    "vanished": ("warning", "A kernel is far smaller than at its initialization."),
    "dead-outputs": ("warning", "All weights of an output are zero."),
    "unused-inputs": ("info", "All weights of an input are zero."),
    "same-outputs": ("warning", "Two outputs have equal weights."),
    "same-inputs": ("info", "Two inputs have equal weights."),
    "saturated": ("warning", "Numbers are at the limit of a narrow type."),
    "unused-embeddings": ("warning", "All numbers of a word are zero."),
    "same-embeddings": ("warning", "Two words have equal numbers."),
}
"""The severity and the sentence of each rule that is not the audit's."""

AUDIT_PAGE, OWN_PAGE = "audit.md", "check.md"
"""The pages of the docs with a section for each rule."""


def all_rules() -> dict[str, tuple[str, str]]:
    """Return the severity and the sentence of every rule.

    >>> all_rules()["not-finite"]
    ('error', 'A weight holds NaN or Inf.')
    """
    return {**{name: (rule.severity, rule.sentence) for name, rule in RULES.items()}, **OWN}


def help_address(rule: str) -> str:
    """Return the section of a rule, relative to the folder of the docs.

    >>> help_address("pickle-call")
    'audit.md#pickle-call'
    """
    return f"{OWN_PAGE if rule in OWN else AUDIT_PAGE}#{rule}"
