"""The file that weights were read from, for formats that are written as that file with new numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

ORIGINAL = "model"
"""The key in `meta` under which weights keep the file that they were read from."""


BLOCK = 1 << 20  # bytes that are copied at a time


class Original:
    """The file that weights were read from, and the framework whose model it holds."""

    __slots__ = ("framework", "source")

    def __init__(self, source: Source, framework: str) -> None:
        self.source = source
        self.framework = framework

    def __repr__(self) -> str:
        return f"the {self.framework} model in {printable(os.path.basename(self.source.name))}"


def original_of(weights: Weights, framework: str, path: Path, why: str) -> Source:
    """Return the file of this framework that weights were read from; raises `FormatError`, with `why`, without one.

    `path` is the file to be written, for the message.
    """
    original = weights.meta.get(ORIGINAL)
    if not isinstance(original, Original) or original.framework != framework:
        raise FormatError(str(path), why)
    return original.source


def copied(source: Source, begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a source between two offsets, in blocks."""
    for start in range(begin, end, BLOCK):
        yield source.read(start, min(BLOCK, end - start))
