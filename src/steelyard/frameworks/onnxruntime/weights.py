"""Refuses inference sessions, whose weights cannot be read from outside; their files can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.errors import UnknownModelError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight


def weights(session: Any) -> Iterable[Weight]:
    """Raise `UnknownModelError`: the file of the session has the weights."""
    raise UnknownModelError(
        f"an ONNX Runtime {printable(type(session).__name__)} does not expose its weights; pass the path of the ONNX file"
    )


def assign(session: Any, arrays: Mapping[str, Array]) -> Any:
    """Raise `UnknownModelError`, as `weights` does."""
    return weights(session)
