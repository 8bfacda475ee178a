"""Weights that are made of others when they are read, block by block: arithmetic, averages and other edits."""

from __future__ import annotations

import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from steelyard import sizes
from steelyard.core.casting import common_dtype
from steelyard.core.recent import RecentBlocks
from steelyard.dtypes import is_inexact, itemsize, numpy_dtype
from steelyard.errors import ShapeError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType, Reader, Weight
    from steelyard.core.weights import Weights

    Function = Callable[[int, list[Array]], Array]
    """Makes a block of the result of the blocks of the inputs, given the offset of their first element.

    The blocks are of the type in which is computed; the function may overwrite them, and return one of them.
    """

_WHOLE = RecentBlocks()
_NATIVE = "<" if sys.byteorder == "little" else ">"


def promoted(dtypes: Iterable[str]) -> str:
    """Return the type of numbers that are made of several, by the rules of `torch.promote_types` for floats.

    Floats take precedence over integers, and longer floats over those of 8 bits.

    >>> promoted(["bfloat16", "float16"]), promoted(["int64", "bfloat16"]), promoted(["float8_e5m2", "float16"])
    ('float32', 'bfloat16', 'float16')
    """
    return _promoted(tuple(dict.fromkeys(dtypes)))


@lru_cache(maxsize=256)
def _promoted(words: tuple[str, ...]) -> str:
    """Return the type of several, cached, since a net has few and NumPy takes long to name one."""
    floats = [word for word in words if is_inexact(word)] or words
    return common_dtype([word for word in floats if itemsize(word) > 1] or floats).name


def working(dtype: str, *, exact: bool = False) -> DType:
    """Return the type in which numbers of `dtype` are computed: at least float32, float64 if `exact`.

    >>> working("bfloat16").name, working("complex64").name, working("float16", exact=True).name
    ('float32', 'complex64', 'float64')
    """
    return np.result_type(numpy_dtype(dtype) if itemsize(dtype) > 2 else np.float32, np.float64 if exact else np.float32)


class Computed:
    """A reader of numbers that `function` makes of those of `inputs`, in the type `work`; they are rounded once, to `dtype`.

    Blocks are read into buffers that are reused. A `whole` function is given all numbers at once; the last result is kept, so
    that the next part of it costs nothing.
    """

    __slots__ = ("_key", "dtype", "function", "inputs", "whole", "work")

    def __init__(
        self, inputs: Sequence[Weight], function: Function, dtype: str, *, exact: bool = False, whole: bool = False
    ) -> None:
        self.inputs = inputs
        self.function = function
        self.dtype = numpy_dtype(dtype)
        self.work = working(dtype, exact=exact)
        self.whole = whole
        self._key = object()  # the kept result outlives this reader, and must not keep the inputs' files open

    def __call__(self, start: int, stop: int) -> Array:
        size = self.inputs[0].size
        if self.whole and (start, stop) != (0, size):
            made = _WHOLE.get(self._key, lambda: self(0, size), 2 * sizes.BAND_BYTES)
            return made[start:stop].copy()
        made = np.empty(stop - start, self.dtype)
        step = size if self.whole else block_for(len(self.inputs))
        with np.errstate(all="ignore"), Buffers([self.work] * len(self.inputs), min(step, stop - start)) as buffers:
            for at in range(start, stop, max(step, 1)):
                end = min(at + step, stop)
                blocks = [buffer[: end - at] for buffer in buffers]
                for weight, block in zip(self.inputs, blocks, strict=True):
                    fill(weight, at, end, block)
                made[at - start : end - start] = self.function(at, blocks)
        return made


def block_for(count: int) -> int:
    """Return the number of elements to read of each of `count` weights at a time."""
    return max(sizes.EDIT_BLOCK * 8 // max(count, 8), 1)


class Buffers:
    """Arrays of `length` elements that are reused for the next such ones of this thread, since clearing new memory takes time."""

    __slots__ = ("_dtypes", "_length", "_taken")
    _free = threading.local()

    def __init__(self, dtypes: Sequence[DType], length: int) -> None:
        self._dtypes = dtypes
        self._length = length
        self._taken: list[Array] = []

    def __enter__(self) -> list[Array]:
        kept: list[Array] = self._free.__dict__.setdefault("kept", [])
        arrays = []
        for dtype in self._dtypes:
            need = self._length * dtype.itemsize
            buffer = kept.pop() if kept and kept[-1].size >= need else _on_a_line(need)
            self._taken.append(buffer)
            arrays.append(buffer[:need].view(dtype))
        return arrays

    def __exit__(self, *_: object) -> None:
        """Keep the buffers that were just used, and no others, so that memory does not grow."""
        kept: list[Array] = self._free.__dict__["kept"]
        small = [buffer for buffer in self._taken if buffer.size <= 16 * sizes.EDIT_BLOCK]
        kept[:] = [*kept, *small][-_KEPT:]


def _on_a_line(size: int) -> Array:
    """Return new bytes that begin with a line of the cache: vector instructions are faster on numbers that do not cross lines."""
    made = np.empty(size + _LINE, np.uint8)
    first = -made.ctypes.data % _LINE
    return made[first : first + size]


_KEPT = 16
"""Buffers that a thread keeps at most."""
_LINE = 64
"""The bytes of a line of the cache."""


def fill(weight: Weight, start: int, stop: int, out: Array) -> None:
    """Read the elements [start, stop) into an array of another type; those of a file without new memory where possible."""
    read = weight.read
    if isinstance(read, Stored) and read.byteorder == _NATIVE and numpy_dtype(read.dtype) == out.dtype:
        read.fill(start, out.view(np.uint8).data)
    elif weight.dtype == "bfloat16" and out.dtype == np.float32:
        # a bfloat16 is the upper half of a float32
        np.left_shift(read(start, stop).view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        np.copyto(out, read(start, stop), casting="unsafe")


class Unchanged:
    """A reader of a live weight that refuses to read it once its numbers are others than those at first."""

    __slots__ = ("name", "read", "size", "sums", "tile")

    def __init__(self, weight: Weight) -> None:
        self.name = weight.name
        self.read: Reader = weight.read
        self.size = weight.size
        self.tile = sizes.EDIT_BLOCK
        self.sums = [_sum(self._tile(at)) for at in range(0, self.size, self.tile)]

    def _tile(self, at: int) -> Array:
        return np.ascontiguousarray(self.read(at, min(at + self.tile, self.size)))

    def __call__(self, start: int, stop: int) -> Array:
        if stop <= start:
            return self.read(0, 0)
        first = start - start % self.tile
        tiles = [self._checked(at) for at in range(first, stop, self.tile)]
        return (tiles[0] if len(tiles) == 1 else np.concatenate(tiles))[start - first : stop - first]

    def _checked(self, at: int) -> Array:
        tile = self._tile(at)
        if _sum(tile) != self.sums[at // self.tile]:
            raise ShapeError(
                f"{printable(self.name)} has changed since the result that is made of it; read or save such a result before "
                "training goes on, or make it of w.copy()"
            )
        return tile


def _sum(array: Array) -> int:
    return zlib.crc32(array.view(np.uint8).data)


def held(weights: Weights) -> dict[str, Weight]:
    """Return weights by name for a result that is read later: those of a live model refuse to be read when they have changed."""
    if not weights.live:
        return dict(weights)
    readers: dict[str, Unchanged] = {}
    for weight in weights.distinct().values():
        readers[weight.tied or weight.name] = Unchanged(weight)
    return {name: weight.replace(read=readers[weight.tied or name]) for name, weight in weights.items()}
