"""Pause the cyclic garbage collector while many small objects are created."""

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
