"""A forward pass in Python, for MicroPython: `net.py` with `run`, and a test `net_test.py`.

The tables, the scratch and the outputs are arrays of float32. Where a float of Python has 32 bits, as on most boards, and keeps
all of them, the outputs have the bits of the twin; where it has 64, as in CPython, sums are in double, and the outputs are within
the tolerance of the test.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.device import packed
from steelyard.device.forward.micropython.source import source
from steelyard.device.forward.micropython.testing import test

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward
    from steelyard.device.writers import Pieces

RESERVED = ("in", "out", "scratch")
LIBM = False


def files(export: Export, forward: Forward, file: str) -> dict[str, Pieces]:
    """Return the module, its test, and the numbers if they have a file of their own."""
    stem = os.path.splitext(file)[0]
    own = packed.own_file(export, file, None)
    return {file: source(export, forward, next(iter(own), "")), f"{stem}_test.py": test(export, forward, stem), **own}
