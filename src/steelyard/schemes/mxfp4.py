"""MXFP4 of gpt-oss: experts of E2M1 with a power of two for each 32 inputs.

X_blocks   uint8 (experts, out, in / 32, 16)    two numbers in a byte, the low bits first
X_scales   uint8 (experts, out, in / 32)        2^(byte - 127)

The model's own X is (experts, in, out); the rows of gate_up_proj are a gate and an up projection in turn.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, attempted, derived, joined
from steelyard.core.readers import ByColumns
from steelyard.core.weight import Role
from steelyard.errors import ShapeError
from steelyard.numerics.packed import e2m1, flattened, matrix_reader, rows
from steelyard.numerics.scales import Scales, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Array, Reader, Weight

_BLOCKS, _SCALES = "_blocks", "_scales"
_BYTES, _GROUP = 16, 32
"""The bytes of a block and its numbers."""


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of experts."""
    for leaf in [leaf for leaf in pieces.leaves if leaf.endswith(_BLOCKS)]:
        word = leaf.removesuffix(_BLOCKS)
        for stem in pieces.stems(leaf):
            codes, scale = pieces.of(stem, leaf, word + _SCALES)
            if codes is None or codes.dtype != "uint8" or codes.shape[-1:] != (_BYTES,):
                continue  # blocks of anything
            name, facts = joined(stem, word), Derivation("MXFP4", tuple(w.name for w in (codes, scale) if w))
            yield attempted(name, facts, partial(_weight, name, codes, scale, facts))


def _weight(name: str, codes: Weight, scale: Weight | None, facts: Derivation) -> Weight:
    if (
        scale is None
        or scale.dtype not in ("uint8", "float8_e8m0fnu")
        or len(codes.shape) != 4
        or scale.shape != codes.shape[:-1]
    ):
        known = f"{scale.dtype} {scale.shape}" if scale else "missing"
        raise ShapeError(f"{codes.name.rpartition('.')[2]} is {codes.shape}, and its scales are {known}")
    experts, outputs, blocks, _ = codes.shape
    inputs = blocks * _GROUP
    shape = (experts, outputs, inputs)
    scales = spread(scale, shape, (1, _GROUP))
    flat = flattened(codes.replace(shape=(experts * outputs, blocks * _BYTES)))
    stored = matrix_reader(shape, partial(_part, flat, scales))
    facts = facts._replace(settings={"axes": "experts in out"})
    return derived(name, (experts, inputs, outputs), _turned(stored, shape), facts, role=Role.KERNEL)


def _part(codes: Weight, scales: Scales, first: int, last: int) -> Array:
    import numpy as np

    values = e2m1(rows(codes, first, last))
    scales.apply(np.multiply, values, first)
    return values


def _turned(stored: Reader, shape: tuple[int, int, int]) -> Reader:
    """Return a reader of the matrices of a weight with their axes exchanged."""
    experts, outputs, inputs = shape
    size = outputs * inputs

    def of_expert(expert: int) -> Reader:
        return ByColumns(lambda start, stop: stored(expert * size + start, expert * size + stop), (inputs, outputs))

    turned = [of_expert(expert) for expert in range(experts)]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        if stop <= start:
            return stored(0, 0)
        runs = []
        for expert in range(start // size, -(-stop // size)):
            first, last = max(start - expert * size, 0), min(stop - expert * size, size)
            runs.append(turned[expert](first, last))
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    return read
