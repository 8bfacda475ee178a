"""A forward pass in C99, which C++11 takes too: `net.c`, its header, and a test.

`net_run(x, y, scratch)` has no memory of its own but constants, so that it may run several times at once, and takes none from
a heap. `kernels` are the functions that it calls, `steps` lists the calls, and each family of operations has a file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.device.forward.c.source import header, source
from steelyard.device.forward.c.testing import test
from steelyard.device.writers.c import included_name, with_numbers

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward
    from steelyard.device.writers import Pieces

RESERVED = ("run", "test", "in", "out", "scratch", "print")
LIBM = True


def files(export: Export, forward: Forward, file: str) -> dict[str, Pieces]:
    """Return the definition, its header, its test, and the numbers if they have a file of their own."""
    stem = included_name(os.path.splitext(file)[0], file)
    return with_numbers(export, file, stem, source(export, forward, stem), header(export, forward), test(export, forward, stem))
