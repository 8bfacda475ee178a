"""Pause the cyclic garbage collector while many small objects are created, or have it run seldom."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Run without cyclic garbage collection: listing allocates about ten objects per tensor, which would trigger it repeatedly.

    Few of these objects are part of a cycle, so reference counting frees them anyway.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


_SELDOM = 500_000, 20, 20
"""The objects that are made between two collections, and the collections between two of older objects; in Python 700, 10, 10."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Run with a cyclic garbage collection for each half a million new objects.

    What a command knows of a hundred thousand weights is alive until its end; to look through it for cycles again and again
    takes a fifth of the time, and a tenth still if it is done for each twenty thousand.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
