"""The weights that a live module computes with, where only the module knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Weight


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights of a module."""
    if isinstance(model, nn.Module):
        from steelyard.frameworks.torch.adapters import adapted
        from steelyard.frameworks.torch.reparametrised import made

        yield from adapted(model, pieces)
        yield from made(model, pieces)
