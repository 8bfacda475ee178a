"""Text for a terminal: its width, its colours, and cutting text that does not fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, takewhile
from typing import TextIO

COLOURS = {
    "dim": "2",
    "bold": "1",
    "red": "38;5;160",
    # how bad a finding is; infos have the colour of the text
    "error": "38;5;160",
    "warning": "38;5;172",
    # four hues that colour-blind readers can distinguish, readable on black and on white (after Okabe and Ito)
    "kernel": "38;5;32",
    "recurrent kernel": "38;5;32",
    "bias": "38;5;172",
    "embedding": "38;5;36",
    "scale": "38;5;168",
    "offset": "38;5;168",
    "mean": "2",
    "variance": "2",
    "count": "2",
    # below and above zero, in tables and heat maps: colour-blind readers can distinguish blue and orange
    "negative": "38;5;32",
    "positive": "38;5;166",
}


class Screen:
    """A terminal's properties: `width` in cells (None: cut nothing), `colour`, `true_colour` (24 bits, or else 256), `dark`."""

    __slots__ = ("colour", "dark", "true_colour", "width")

    def __init__(self, width: int | None = None, *, colour: bool = False, true_colour: bool = False, dark: bool = False) -> None:
        self.width = width
        self.colour = colour
        self.true_colour = true_colour
        self.dark = dark

    def paint(self, text: str, colour: str) -> str:
        """Colour a text by a word of `COLOURS`; other words leave it as it is."""
        code = COLOURS.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text.strip() else text

    def signed(self, text: str) -> str:
        """Colour the text of a number by its sign; zero and other text stay as they are."""
        if not self.colour or not any("1" <= letter <= "9" for letter in text.partition("e")[0]):
            return text
        return self.paint(text, "negative" if text.lstrip().startswith("-") else "positive")

    def broken(self, line: str) -> str:
        """Wrap a sentence that is too wide at its spaces."""
        if self.width is None or cells(line) <= self.width:
            return line
        import textwrap

        return textwrap.fill(line, max(self.width, 8), subsequent_indent="  ")

    def within(self, line: str, left: int) -> str:
        """Wrap a sentence that begins `left` cells from the edge at its spaces, and indent its other lines alike."""
        if self.width is None or left + cells(line) <= self.width:
            return line
        import textwrap

        return textwrap.fill(line, max(self.width - left, 20)).replace("\n", "\n" + " " * left)


_when = "auto"
"""When a screen has colours: "auto", "always" or "never"; `coloured` changes it."""


@contextmanager
def coloured(when: str) -> Iterator[None]:
    """Let screens have colours "always", "never", or by the terminal and its variables, "auto", until the block ends."""
    global _when  # noqa: PLW0603 - it is the option of one process
    before, _when = _when, when
    try:
        yield
    finally:
        _when = before


def _has_colour(*, terminal: bool) -> bool:
    """Whether there are colours: as the option says, then by the variables of no-color.org, force-color.org and bixense.com."""
    if _when != "auto":
        return _when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return terminal and os.environ.get("TERM") != "dumb" and os.environ.get("CLICOLOR") != "0"


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # a stand-in for a stream, or a closed one
        return False


def screen_of(stream: TextIO | None) -> Screen:
    """Return the screen of a stream; a pipe or a file has no width limit, and no colours unless they are forced.

    `COLUMNS` overrides the terminal's own width, `NO_COLOR` turns colours off, `FORCE_COLOR` and `CLICOLOR_FORCE` turn them on,
    `COLORTERM` announces 24-bit colours, and `COLORFGBG` the colour of the background; without it a terminal is taken to be
    dark, as most are.
    """
    if stream is None:
        return Screen()
    terminal = is_terminal(stream)
    width = _columns(stream) if terminal else None
    true_colour = os.environ.get("COLORTERM") in ("truecolor", "24bit")
    return Screen(
        width, colour=_has_colour(terminal=terminal), true_colour=true_colour, dark=_is_dark(os.environ.get("COLORFGBG", ""))
    )


def _is_dark(colours: str) -> bool:
    """Whether the background is dark: the last of the numbers of `COLORFGBG`, of which 7 and 9 to 15 are light colours.

    >>> _is_dark("15;0"), _is_dark("0;default;15"), _is_dark("")
    (True, False, True)
    """
    ground = colours.rpartition(";")[2]
    return ground not in ("7", *map(str, range(9, 16)))


def _columns(stream: TextIO) -> int:
    """Return the terminal's width as shutil.get_terminal_size does; importing shutil takes longer than listing a file."""
    text = os.environ.get("COLUMNS", "")
    if text.isdecimal() and int(text):
        return int(text)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def cells(text: str) -> int:
    """Return the width of a text in cells of a terminal: two for a wide character, none for a combining mark."""
    if text.isascii() or max(text) < "\u0300":
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Pad a text with spaces to `width` cells."""
    if text.isascii():
        return text.rjust(width) if right else text.ljust(width)
    space = " " * (width - cells(text))
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """Cut a text in the middle to `width` cells; two thirds of the rest is its end, where names differ.

    >>> cut("layers.0.self_attn.in_proj_weight", 22)
    'layers.…in_proj_weight'
    """
    if (text.isascii() and len(text) <= width) or cells(text) <= width:
        return text
    head, tail = (width - 1) // 3, width - 1 - (width - 1) // 3
    return f"{_beginning(text, head)}…{_beginning(text[::-1], tail)[::-1]}"


_NUMBERS = "[0123456789"


def cut_alike(texts: Iterable[str], width: int) -> dict[str, str]:
    """Return for each text what of it fits into `width` cells: the words with which all begin go first, then its middle.

    A word with a number stays, since it tells which blocks a row is about.

    >>> cut_alike(["model.layers.0.self_attn.q_proj", "model.layers.10.mlp", "model.norm"], 27)["model.layers.0.self_attn.q_proj"]
    '…layers.0.self_attn.q_proj'
    """
    distinct = set(texts)
    ends = (min(distinct), max(distinct)) if len(distinct) > 1 else ("", "")
    alike = "".join(
        one for one, _ in takewhile(lambda pair: pair[0] == pair[1] and pair[0] not in _NUMBERS, zip(*ends, strict=False))
    )
    shared = max(alike.rfind("."), alike.rfind("/")) + 1
    return {text: cut(text if shared < 2 or cells(text) <= width else f"…{text[shared:]}", width) for text in distinct}


def _beginning(text: str, width: int) -> str:
    """Return the longest prefix of a text that fits into `width` cells."""
    if text.isascii():
        return text[:width]
    ends = accumulate(map(cells, text))
    return text[: sum(1 for _ in takewhile(lambda end: end <= width, ends))]
