"""Colours in a notebook, each as a style that its sanitizers keep, readable on a light and on a dark page.

Blue is negative and orange positive, as in every view. Texts keep the colour
of the page: the background behind them is tinted, at most so much that they stay readable. Only bars have a colour of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from steelyard.text.colours import NEGATIVE, POSITIVE

STRONGEST = 0.4
"""The greatest opacity of a colour behind a text."""
ALARMS = {"error": "#d62728", "warning": "#e6a100"}
"""Red and amber, for what is wrong."""
_ALARM = "40"
"""The opacity of an alarm, in hexadecimal."""
_CROWD = 0.8
"""The share of a table's numbers that lie within the scale of its tints: a few large ones must not pale all others."""
_NUMBER = re.compile(r"-?[0-9.]+(e[-+]?[0-9]+)?")


def colour(number: float, end: float, strongest: float = 1.0) -> str:
    """Return the colour of a number on a scale from minus to plus `end`: the farther from zero, the more opaque.

    >>> colour(-1.0, 1.0), colour(0.5, 1.0), colour(0.0, 1.0), colour(3.0, 1.0)
    ('#2b6cb0ff', '#c2571a80', '#c2571a00', '#c2571aff')
    """
    share = min(abs(number) / end, 1.0) if end else 0.0
    return f"{NEGATIVE if number < 0 else POSITIVE}{round(255 * strongest * share):02x}"


def scale_of(texts: Iterable[str]) -> float:
    """Return the end of the scale of a table's signed numbers, zero if there are none.

    >>> scale_of(["-2", "0.5", "1", "1", "1", "100", ""])
    2.0
    """
    sizes = sorted(abs(float(text)) for text in texts if _NUMBER.fullmatch(text))
    return sizes[int(_CROWD * (len(sizes) - 1))] if sizes else 0.0


def tint(text: str, end: float) -> str:
    """Return the background of a cell with a signed number, blank for any other text.

    >>> tint("-0.5", 1.0), tint("0", 1.0), tint("all", 1.0)
    ('background-color:#2b6cb033;', '', '')
    """
    number = float(text) if end and _NUMBER.fullmatch(text) else 0.0
    return f"background-color:{colour(number, end, STRONGEST)};" if number else ""


def alarm(word: str) -> str:
    """Return the background of a cell that says how bad something is, blank for what is not.

    >>> alarm("error"), alarm("info")
    ('background-color:#d6272840;', '')
    """
    return f"background-color:{ALARMS[word]}{_ALARM};" if word in ALARMS else ""


def bars_html(bars: str, parts: Sequence[int]) -> str:
    """Return a histogram with its negative and its positive part coloured; `parts` are the indices of its middle.

    >>> print(bars_html("abcde", (2, 3)))
    <span style="color:#2b6cb0;">ab</span>c<span style="color:#c2571a;">de</span>
    """
    low, high = parts
    below, middle, above = (escape(part) for part in (bars[:low], bars[low:high], bars[high:]))
    return f'<span style="color:{NEGATIVE};">{below}</span>{middle}<span style="color:{POSITIVE};">{above}</span>'
