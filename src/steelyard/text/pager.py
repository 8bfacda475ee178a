"""Output that is longer than the terminal goes through a pager, where the reader can scroll and search."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from steelyard.text.terminal import is_terminal

LESS = "less -FRX"
"""The pager where no variable names one: it ends by itself if the text fits, shows colours, and leaves the text on the screen."""
NONE = ("", "cat")
"""What the variables name for no pager."""


class Paged:
    """A stand-in for a terminal's stream that holds what is written, and shows it when it is flushed.

    So an error on stderr, before which the output is flushed, comes after it, as without a pager.
    """

    __slots__ = ("_held", "_pager", "stream")

    def __init__(self, stream: TextIO, pager: Sequence[str]) -> None:
        self.stream = stream
        self._pager = pager
        self._held: list[str] = []

    def write(self, text: str) -> int:
        """Hold a text."""
        self._held.append(text)
        return len(text)

    def flush(self) -> None:
        """Show what is held: by the pager if it has more lines than the terminal, or else directly."""
        text = "".join(self._held)
        if text.count("\n") < _height(self.stream) or not _shown_by(self._pager, text, self.stream):
            self.release()
        self._held.clear()

    def release(self) -> None:
        """Write what is held to the terminal itself."""
        self.stream.write("".join(self._held))
        self._held.clear()
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal, which it is."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the number of the terminal, by which its width is found."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding of the terminal."""
        return self.stream.encoding


@contextmanager
def paged(*, wanted: bool) -> Iterator[None]:
    """Let standard output go through a pager until the block ends, if that is wanted, and it is a terminal."""
    stream: Any = sys.stdout
    pager = _words() if wanted and is_terminal(stream) and os.environ.get("TERM") != "dumb" else []
    if not pager:
        yield
        return
    stand_in: Any = Paged(stream, pager)
    sys.stdout = stand_in
    try:
        yield
    finally:
        sys.stdout = stream
        stand_in.release()  # of a command that was interrupted


def _words() -> list[str]:
    """Return the command of the pager; empty for none."""
    named = os.environ.get("STEELYARD_PAGER", os.environ.get("PAGER", LESS))
    if named.strip() in NONE:
        return []
    import shlex

    try:
        return shlex.split(named)
    except ValueError:  # an open quote
        return []


def _height(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).lines or 24
    except (OSError, ValueError):
        return 24


def _shown_by(pager: Sequence[str], text: str, stream: TextIO) -> bool:
    """Show a text by the pager until its reader leaves it; false if it cannot be started. Ctrl-C is the pager's own matter."""
    import signal
    import subprocess

    try:
        before = signal.signal(signal.SIGINT, lambda *_: None)  # unlike SIG_IGN, the pager does not inherit a function
    except ValueError:  # in a thread that is not the main one
        return False
    try:
        with subprocess.Popen(  # noqa: S603 - the reader's own choice
            [*pager], stdin=subprocess.PIPE, env={"LESS": "FRX", **os.environ}
        ) as process:
            process.communicate(text.encode(stream.encoding, "backslashreplace"))
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True
