"""Blocks that were read or unpacked last and may be needed again soon, up to a number of bytes."""

from __future__ import annotations

from _thread import LockType, allocate_lock
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from steelyard.core.weight import Array


class RecentBlocks:
    """The blocks that were used last; the last one is kept whatever it takes. Threads may share them.

    >>> import numpy as np
    >>> recent = RecentBlocks()
    >>> [recent.get(key, lambda: np.full(2, key), 40).sum() for key in (1, 2, 1)]
    [np.int64(2), np.int64(4), np.int64(2)]
    """

    __slots__ = ("_bytes", "_held", "_lock", "_making")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._held: OrderedDict[Hashable, Array] = OrderedDict()
        self._making: dict[Hashable, LockType] = {}
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], Array], most: int) -> Array:
        """Return the block of this key, made anew where it is not kept; afterwards at most `most` bytes are kept.

        Two threads make two blocks at the same time; of one block, the second waits for the first.
        """
        with self._lock:
            if key in self._held:
                return self._used(key)
            making = self._making.setdefault(key, allocate_lock())
        with making:
            with self._lock:
                if key in self._held:
                    return self._used(key)
            made = make()
            with self._lock:
                self._keep(key, made, most)
        return made

    def _used(self, key: Hashable) -> Array:
        self._held.move_to_end(key)
        return self._held[key]

    def _keep(self, key: Hashable, made: Array, most: int) -> None:
        self._making.pop(key, None)
        self._held[key] = made
        self._bytes += made.nbytes
        while self._bytes > most and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
