"""PyTorch's pruning: `X_orig` and the mask `X_mask` of 0 and 1, of which the layer uses the product X."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, derived, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Reader, Weight

_MASK, _STORED = "_mask", "_orig"


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the masked weights."""
    masks = [leaf for leaf in pieces.leaves if leaf.endswith(_MASK)]
    for leaf in masks:
        word = leaf.removesuffix(_MASK)
        for stem in pieces.stems(leaf):
            stored, mask = pieces.of(stem, f"{word}{_STORED}", leaf)
            if stored is None or mask is None or stored.shape != mask.shape:
                continue
            facts = Derivation("pruning of PyTorch", (stored.name, mask.name))
            read = _product(stored.read, mask.read)
            yield derived(joined(stem, word), stored.shape, read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)


def _product(stored: Reader, mask: Reader) -> Reader:
    def read(start: int, stop: int) -> Array:
        numbers = stored(start, stop)
        kept: Array = mask(start, stop).astype(numbers.dtype)
        return numbers * kept

    return read
