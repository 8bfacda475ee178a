"""Names and sizes as the command line writes them: rules that rename, and bytes as "5GB"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.core.weights import Weights

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def renamed(weights: Weights, rules: Iterable[str], prefix: str = "") -> Weights:
    r"""Return the same weights under other names: each rule in turn, then `prefix` before every name.

    A rule is "pattern=template" as `Weights.rename` takes them, split at its last "=": ``module\.(.*)=\1``.
    Raises `ShapeError` for an invalid rule, and if two names become equal.
    """
    for rule in rules:
        pattern, equals, template = rule.rpartition("=")
        if not equals:
            raise ShapeError(f"the rule {quoted(rule)} has no '='; write it as 'pattern=template'")
        try:
            weights = weights.rename(pattern, template)
        except (re.error, IndexError) as error:
            raise ShapeError(f"the rule {quoted(rule)} is invalid: {error} (write PATTERN=TEMPLATE)") from None
    return weights.rename(r"(?s:(.*))", prefix.replace("\\", r"\\") + r"\1") if prefix else weights


def size_of(text: str) -> int:
    """Return the number of bytes in a size such as "500MB", "5GB" or "2GiB".

    >>> size_of("5GB"), size_of("1.5 KiB")
    (5000000000, 1536)
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kmgt]i?b)?", text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is not a size; write it as 500MB, 5GB or 2GiB")
    return size
