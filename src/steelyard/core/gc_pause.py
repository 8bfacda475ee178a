"""The search for garbage that goes round in circles, put off while much is made and little dropped."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python search for no garbage meanwhile: a listing makes ten objects a tensor, and would be searched again and again.

    Hardly anything that is made of a file goes round in circles, so that it is freed all the same.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
