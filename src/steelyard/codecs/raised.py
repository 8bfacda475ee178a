"""Weights of one file whose limits are raised: while it is listed, and whenever its numbers are read."""

from __future__ import annotations

from _thread import RLock
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.core.weights import Weights

_ONE_AT_A_TIME = RLock()  # limits belong to the process: a thread must not restore those that another has raised


def with_limits(listing: Callable[[], Weights], changed: Mapping[str, int] | str) -> Weights:
    """Return the weights that `listing` lists under changed limits, which hold again whenever their numbers are read.

    `changed` is a mapping of names to numbers, or a word as for `limits.given`. Raises `ValueError` for an unknown name.
    """
    raised = limits.given(changed) if isinstance(changed, str) else dict(changed)
    with _ONE_AT_A_TIME, limits.allow(**raised):
        listed = listing()
    return listed.with_weights(_with_limits(weight, raised) for weight in listed.values())


def _with_limits(weight: Weight, raised: Mapping[str, int]) -> Weight:
    read = weight.read
    if weight.unreadable is not None:
        return weight
    if isinstance(read, Stored):  # stays `Stored`, so that its bytes can still be copied unchanged
        return weight.replace(read=Stored(_source(read.source, raised), read.offset, read.dtype, read.byteorder))
    return weight.replace(read=_reader(read, raised))


def _reader(read: Reader, raised: Mapping[str, int]) -> Reader:
    def reading(start: int, stop: int) -> Array:
        with _ONE_AT_A_TIME, limits.allow(**raised):
            return read(start, stop)

    return reading


def _source(source: Source, raised: Mapping[str, int]) -> Source:
    def fill(offset: int, buffer: memoryview) -> None:
        with _ONE_AT_A_TIME, limits.allow(**raised):
            source.fill(offset, buffer)

    return Source(source.name, source.size, fill, source.beside, source.path, within=source, remote=source.remote)
