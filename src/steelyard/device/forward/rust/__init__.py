"""A forward pass in Rust without `std`, heap and `unsafe`: `net.rs` with `run`, and a test `net_test.rs`.

The elementary functions are our own, since `core` has none, so that all devices give the same bits, which the test compares.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from steelyard.device import packed
from steelyard.device.forward.rust.source import source
from steelyard.device.forward.rust.testing import test
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward
    from steelyard.device.writers import Pieces

RESERVED = ("in", "out", "scratch", "kernels")
LIBM = False


def files(export: Export, forward: Forward, file: str) -> dict[str, Pieces]:
    """Return the module, its test, and the numbers if they have a file of their own."""
    stem = os.path.splitext(file)[0]
    if not re.fullmatch(r"[\w.-]+", stem, re.ASCII):
        raise ShapeError(f"{printable(file)} cannot be the name of a file that Rust includes; choose another")
    own = packed.own_file(export, file, export.options.align)
    return {file: source(export, forward, next(iter(own), "")), f"{stem}_test.rs": test(export, forward, file), **own}
