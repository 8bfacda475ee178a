"""Pause the cyclic garbage collector while many small objects are created."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Run without cyclic garbage collection: listing allocates about ten objects per tensor, which would trigger it repeatedly.

    Hardly any of these objects are part of a cycle, so they are freed by their reference counts all the same.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
