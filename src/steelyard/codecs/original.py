"""The file that weights were read from, for formats that are written as that file with new numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

ORIGINAL = "model"
"""The key in `meta` under which weights keep the file that they were read from."""


class Original:
    """The file that weights were read from, and the framework whose model it holds."""

    __slots__ = ("framework", "source")

    def __init__(self, source: Source, framework: str) -> None:
        self.source = source
        self.framework = framework

    def __repr__(self) -> str:
        return f"the {self.framework} model in {printable(Path(self.source.name).name)}"


def original_of(weights: Weights, framework: str, path: Path, why: str) -> Source:
    """Return the file of this framework that weights were read from; raises `FormatError`, with `why`, without one.

    `path` is the file to be written, for the message.
    """
    original = weights.meta.get(ORIGINAL)
    if not isinstance(original, Original) or original.framework != framework:
        raise FormatError(str(path), why)
    return original.source
