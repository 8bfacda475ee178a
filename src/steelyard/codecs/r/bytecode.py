"""Compiled functions in an R serialization: skipped, to get at the objects that follow them.

Calls and pairlists among the constants of a compiled function have a layout of their own, with marks for shared cells.
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
CELL_COST = 64  # bytes of memory


# Compiled function, of type 21:
#   int32  flags
#   int32  number of cells that occur more than once
#   code   instructions and constants, as below
#   item   attributes, if the flags have them
def read_bytecode(objects: Objects, flags: int) -> Steps:
    """Skip a compiled function and return an `Opaque`; its shared cells are not kept."""
    if objects.notation.integer() < 0:
        raise objects.error("claims a negative number of cells in bytecode")
    yield _code(objects)
    return (yield objects.with_attributes(Opaque("bytecode"), flags))


# Code
#   item   instructions: an integer vector
#   int32  number of constants
#   for each constant: int32 type, then
#     type 21                       code
#     type 2, 6, 239, 240, 243, 244 cell (below), which begins with this type
#     any other                     item
def _code(objects: Objects) -> Steps:
    """Skip the instructions and the constants."""
    yield objects.item()
    count = objects.notation.integer()
    if count < 0:
        raise objects.error(f"claims {count:,} constants in bytecode")
    objects.notation.check_room(count, 4)
    for _ in range(count):
        kind = objects.notation.integer()
        if kind == CODE:
            yield _code(objects)
        elif kind == SEEN_AGAIN or kind in _CELLS:
            yield _cells(objects, kind)
        else:
            yield objects.item()
    return None


# Cell of a call or pairlist among the constants
#   int32  type: 2 pairlist, 6 call, 239 pairlist with attributes, 240 call with attributes,
#          243 a cell that was already read (followed by its int32 number, and nothing else),
#          244 the first occurrence of a shared cell (followed by its int32 number and the int32 type proper)
#   item   attributes, for the types 239 and 240
#   item   tag
#   cell   head, or 0 and an item
#   cell   tail, or 0 and an item
def _cells(objects: Objects, kind: int) -> Steps:
    """Skip a call or a pairlist: its tail in a loop, its heads by the stack of `Objects.read`."""
    while kind in _CELLS:
        objects.budget.spend(CELL_COST, objects.notation.position)
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
