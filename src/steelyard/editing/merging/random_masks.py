"""Random masks that depend on nothing but a seed, a model, the name of a weight, and the position in it.

So the order of models and weights, the shards of a file and the threads change nothing. The model is known by its numbers in the
weight, not by its place or its path: see `fingerprint`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

_WORDS = 8  # numbers of 32 bits that one step of the counter makes
_RUNS, _LENGTH = 32, 64


def fingerprint(weight: Weight) -> bytes:
    """Return a short digest of numbers of a weight, as float64, from places that are spread over it."""
    size = weight.size
    digest = blake2b(digest_size=16)
    starts = [0] if size <= _RUNS * _LENGTH else np.linspace(0, size - _LENGTH, _RUNS).astype(int).tolist()
    length = size if len(starts) == 1 else _LENGTH
    for start in starts:
        digest.update(np.ascontiguousarray(weight.read(start, start + length), "<f8").data)
    return digest.digest()


def key_of(seed: int, model: bytes, name: str) -> int:
    """Return the key of the masks of a weight of a model, a number of 128 bits."""
    text = f"{seed}\0{name}\0".encode(errors="surrogatepass") + model
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "little")


def random_mask(key: int, density: float, start: int, stop: int) -> Array:
    """Return which of the elements [start, stop) are kept; each is, with a probability of `density`.

    The numbers are those of Philox4x64-10, whose counter is an eighth of the position.

    >>> bool((random_mask(7, 0.5, 0, 100)[40:] == random_mask(7, 0.5, 40, 100)).all())
    True
    """
    first, last = start // _WORDS, -(-stop // _WORDS)
    # NumPy steps the counter before it makes numbers, so the first ones are of counter + 1
    words = np.random.Philox(key=key, counter=first).random_raw((last - first) * _WORDS // 2)
    uniform = words.astype("<u8", copy=False).view("<u4")[start - first * _WORDS : stop - first * _WORDS]
    return uniform < np.uint64(round(density * (1 << 32)))
