"""What lasts while a file is written: readers may start what computes their numbers once, and it ends with the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

_STACK: ContextVar[ExitStack | None] = ContextVar("stack", default=None)


@contextmanager
def lasting() -> Iterator[None]:
    """Read weights whole, one after another, in this block; what their readers start is ended after it."""
    with ExitStack() as stack:
        before = _STACK.set(stack)
        try:
            yield
        finally:
            _STACK.reset(before)


def ending() -> ExitStack | None:
    """Return what is closed at the end of the block; None outside of one.

    >>> ending() is None
    True
    """
    return _STACK.get()
