"""Compiled functions in an R serialization: stepped over, so that what comes behind them can be read.

Calls and pairlists among a compiled function's constants have a form of their own, with marks for cells that occur twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.r.values import Opaque

if TYPE_CHECKING:
    from steelyard.codecs.r.objects import Objects, Steps

CODE = 21
LANGUAGE, PAIRLIST = 6, 2
SEEN_AGAIN, SEEN_FIRST = 243, 244
WITH_ATTRIBUTES = (240, 239)
_CELLS = (LANGUAGE, PAIRLIST, SEEN_FIRST, *WITH_ATTRIBUTES)
COST = 64


def bytecode(objects: Objects, flags: int) -> Steps:
    """Step over a compiled function; its cells that occur twice are counted, not kept."""
    if objects.notation.integer() < 0:
        raise objects.error("claims a negative number of cells in bytecode")
    yield _code(objects)
    return (yield objects.with_attributes(Opaque("bytecode"), flags))


def _code(objects: Objects) -> Steps:
    """The instructions, an integer vector, and the constants, each with a type of its own."""
    yield objects.item()
    count = objects.notation.integer()
    if count < 0:
        raise objects.error(f"claims {count:,} constants in bytecode")
    objects.notation.room(count, 4)
    for _ in range(count):
        kind = objects.notation.integer()
        if kind == CODE:
            yield _code(objects)
        elif kind == SEEN_AGAIN or kind in _CELLS:
            yield _cells(objects, kind)
        else:
            yield objects.item()
    return None


def _cells(objects: Objects, kind: int) -> Steps:
    """A call or a pairlist among the constants: along its tail in a loop, into its heads by the stack."""
    while kind in _CELLS:
        objects.budget.charge(COST, objects.notation.position)
        if kind == SEEN_FIRST:
            objects.notation.integer()
            kind = objects.notation.integer()
        if kind in WITH_ATTRIBUTES:
            yield objects.item()
        yield objects.item()  # the tag
        head = objects.notation.integer()
        if head == SEEN_AGAIN or head in _CELLS:
            yield _cells(objects, head)
        else:
            yield objects.item()
        kind = objects.notation.integer()
    if kind == SEEN_AGAIN:
        objects.notation.integer()
    else:
        yield objects.item()
    return None
