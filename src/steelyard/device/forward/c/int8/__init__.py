"""A forward pass in integers, in C99: codes of 8 bits, sums of 32 bits, and 64 bits for a product only when it is rescaled.

It has no floats at all: the header states the scales, by which the caller makes codes of numbers and numbers of codes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.device.forward.c.int8.source import header, source
from steelyard.device.forward.c.int8.testing import test
from steelyard.device.writers.c import included_name, with_numbers

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.integers import IntegerForward
    from steelyard.device.writers import Pieces

RESERVED = ("run", "test", "in", "out", "scratch", "print")
LIBM = True


def files(export: Export, forward: IntegerForward, file: str) -> dict[str, Pieces]:
    """Return the definition, its header, its test, and the numbers if they have a file of their own."""
    stem = included_name(os.path.splitext(file)[0], file)
    return with_numbers(export, file, stem, source(export, forward, stem), header(export, forward), test(export, forward, stem))
