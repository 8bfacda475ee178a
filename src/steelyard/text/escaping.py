r"""Paths on one line that can be read back, as in the lists of `sha256sum`: a line with an escape begins with a backslash.

\\       a backslash, escaped only where something else needs it or it would be taken for an escape
\n \r    line feed, carriage return
\xNN     a byte of any other character that cannot be printed, or of no character
"""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"\\(\\|n|r|x[0-9a-f]{2})")
_LETTERS = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}


def escaped_path(path: str) -> tuple[str, str]:
    r"""Return the mark of the line, a backslash or nothing, and the path as it is written.

    >>> escaped_path("net.pt"), escaped_path("a\nb")
    (('', 'net.pt'), ('\\', 'a\\nb'))
    """
    if path.isprintable() and "\\" not in path:
        return "", path
    return "\\", "".join(_LETTERS.get(character) or _shown(character) for character in path)


def _shown(character: str) -> str:
    return character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def unescaped_path(text: str) -> str:
    r"""Return the path that a line with the mark has.

    >>> unescaped_path("a\\nb"), unescaped_path("\\x1b[31m")
    ('a\nb', '\x1b[31m')
    """
    return os.fsdecode(_ESCAPE.sub(_byte, os.fsencode(text)))


def _byte(match: re.Match[bytes]) -> bytes:
    word = match[1]
    return bytes([int(word[1:], 16)]) if word[:1] == b"x" else {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}[word]
