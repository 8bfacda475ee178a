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
    """The file that weights were read from, and the framework whose model it holds.

    With `is_like` the numbers are of another model, and are to be stored in the types of this file. Tensors of at least
    `retyped` axes may have another type than in this file, if the caller asks for one; None if no tensor may.
    """

    __slots__ = ("framework", "is_like", "retyped", "source")

    def __init__(self, source: Source, framework: str, *, retyped: int | None = None, is_like: bool = False) -> None:
        self.source = source
        self.framework = framework
        self.retyped = retyped
        self.is_like = is_like

    def as_like(self) -> Original:
        """Return the same file for the numbers of another model."""
        return Original(self.source, self.framework, retyped=self.retyped, is_like=True)

    def __repr__(self) -> str:
        return f"the {self.framework} model in {printable(os.path.basename(self.source.name))}"


def original_of(weights: Weights, framework: str, path: Path, why: str) -> Source:
    """Return the file of this framework that weights were read from; raises `FormatError`, with `why`, without one.

    `path` is the file to be written, for the message.
    """
    original = known_original(weights, framework)
    if original is None:
        raise FormatError(str(path), why)
    return original.source


def known_original(weights: Weights, framework: str) -> Original | None:
    """Return the file of this framework that weights were read from, or are written like; None without one."""
    original = weights.meta.get(ORIGINAL)
    return original if isinstance(original, Original) and original.framework == framework else None


def copied(source: Source, begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a source between two offsets, in blocks."""
    for start in range(begin, end, BLOCK):
        yield source.read(start, min(BLOCK, end - start))
