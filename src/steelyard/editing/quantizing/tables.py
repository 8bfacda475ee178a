"""NF4 and FP4 of bitsandbytes: 16 numbers, and a scale for each block of the flat weight, which may be a code itself.

absmax[b] = the largest magnitude of block b; code = the nearest of the 16 numbers to number / absmax.
With double quantisation: offset = mean of absmax; the codes of absmax - offset are those of the nearest of 256 numbers, times
the largest magnitude of a block of 256 scales. These 256 numbers are the means between 2^k + 1 numbers from 0.1 to 1, spaced
evenly, times 10^(k - 6) for k from 0 to 6, with their negatives, 0 and 1.
Sources: QLoRA (Dettmers et al. 2023), appendix E, for NF4; "8-bit optimizers via block-wise quantization" (2021), section 1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Array

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The numbers of NF4 by their codes, in rising order."""
_FP4 = (0.0, 0.0625 / 12, 8 / 12, 1.0, 4 / 12, 6 / 12, 2 / 12, 3 / 12)
"""The magnitudes of FP4 by the lower three bits of their codes; the highest bit is the sign."""
NUMBERS = {"nf4": NF4, "fp4": (*_FP4, *(-number for number in _FP4))}
NESTED = 256
"""Scales that share a scale, with double quantisation."""
_DECADES = 7


def nearest(values: Array, table: Array) -> Array:
    """Return the code of the nearest number of a rising table.

    >>> import numpy as np
    >>> nearest(np.array([-3.0, 0.4, 0.6], np.float32), np.array([-1.0, 0.0, 1.0], np.float32)).tolist()
    [0, 1, 2]
    """
    import numpy as np

    middles = (table[:-1] + table[1:]) / 2
    return np.searchsorted(middles.astype(np.float32), values, side="left").astype(np.uint8)


def codes(kind: str, blocks: Array, absmax: Array) -> Array:
    """Return the codes of blocks, one a row, by their scales; blocks of zeros have the code of 0."""
    import numpy as np

    inverse = np.where(absmax > 0, np.float32(1) / np.where(absmax > 0, absmax, 1), 0).astype(np.float32)
    scaled = blocks * inverse[:, None]
    if kind == "nf4":
        return nearest(scaled, np.array(NF4, np.float32))
    order = np.argsort(_FP4).astype(np.uint8)
    sign = (scaled < 0).astype(np.uint8) << 3
    return order[nearest(np.abs(scaled), np.array(_FP4, np.float32)[order])] | sign


def dynamic_table() -> Array:
    """Return the 256 numbers of the codes of scales.

    >>> table = dynamic_table()
    >>> len(table), float(table[0]), float(table[127]), float(table[255])
    (256, -0.992968738079071, 0.0, 1.0)
    """
    import numpy as np

    found = [0.0, 1.0]
    for decade in range(_DECADES):
        bounds = _spaced((1 << decade) + 1)
        means = (bounds[:-1] + bounds[1:]) / np.float32(2) * np.float32(10.0 ** (decade - _DECADES + 1))
        found += [*means.tolist(), *(-means).tolist()]
    return np.sort(np.array(found, np.float32))


def _spaced(count: int) -> Array:
    """Return numbers from 0.1 to 1 in equal steps of float32, each counted from the nearer end, as torch.linspace does."""
    import numpy as np

    begin, end = np.float32(0.1), np.float32(1)
    step, place = np.float64((end - begin) / np.float32(count - 1)), np.arange(count)
    made: Array = np.where(place < count // 2, begin + step * place, end - step * (count - 1 - place)).astype(np.float32)
    return made


def nested(absmax: Array) -> tuple[Array, Array, float]:
    """Return the codes of scales, their own scales in blocks of 256, and their offset."""
    import numpy as np

    offset = float(absmax.mean(dtype=np.float32)) if absmax.size else 0.0
    shifted = absmax - np.float32(offset)
    padded = np.zeros(-(-max(len(shifted), 1) // NESTED) * NESTED, np.float32)
    padded[: len(shifted)] = shifted
    blocks = padded.reshape(-1, NESTED)
    own = np.abs(blocks).max(axis=1)
    inverse = np.where(own > 0, np.float32(1) / np.where(own > 0, own, 1), 0).astype(np.float32)
    codes = nearest(blocks * inverse[:, None], dynamic_table()).reshape(-1)[: len(shifted)]
    return codes, own, offset
