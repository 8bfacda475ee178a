"""The forward pass of a net in the language of a device, with a test that it runs itself.

`prepared` makes the program that is written, `memory` plans where its values are, `proof` computes what the test compares.
A writer is a language: a folder or a file here, which has

`RESERVED`, the words that no symbol of a table may be made of;
`LIBM`, whether it has elementary functions of its own, else it takes those of `math`;
`files`, which returns the pieces of each file by its name for an `Export` and its `forward`, of floats or of integers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward
    from steelyard.device.forward.integers import IntegerForward
    from steelyard.device.writers import Pieces

SUFFIXES = {".c": "c", ".rs": "rust", ".py": "micropython"}
"""The writer of each suffix."""
INTEGERS = {".c": "c.int8"}
"""The writer of each suffix for integers."""
Forward_contra = TypeVar("Forward_contra", contravariant=True)


class Writer(Protocol[Forward_contra]):
    """The interface of a language, for a `Forward` or an `IntegerForward`."""

    RESERVED: tuple[str, ...]
    LIBM: bool

    def files(self, export: Export, forward: Forward_contra, file: str, /) -> dict[str, Pieces]:
        """Return the pieces of each file by its name; `file` is the name of the one that was asked for, which is the first."""


def writer(suffix: str) -> Writer[Forward]:
    """Return the writer of a suffix, and import no other."""
    return cast("Writer[Forward]", import_module(f"steelyard.device.forward.{SUFFIXES[suffix]}"))


def integer_writer(suffix: str) -> Writer[IntegerForward]:
    """Return the writer of a suffix for integers, and import no other."""
    return cast("Writer[IntegerForward]", import_module(f"steelyard.device.forward.{INTEGERS[suffix]}"))
