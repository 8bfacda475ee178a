"""The commands, in the order of the help text; each is a module in `commands/`, with an underscore for the hyphen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from steelyard.running import run

if TYPE_CHECKING:
    from steelyard.running import Command

COMMANDS = (
    *("ls", "show", "vector", "convert", "export", "transfer", "check", "digest"),
    *("stats", "diff", "save-patch", "apply-patch", "spectra", "lineage"),
    *("average", "merge", "prune", "quantize", "factorize"),
    *("plot", "report", "serve"),
)


def command(name: str) -> Command:
    """Return the module of a command; no other command is imported, to start fast."""
    module: Any = import_module(f"steelyard.commands.{name.replace('-', '_')}")
    return module  # type: ignore[no-any-return]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`, by default the process's arguments, and return its exit status."""
    return run(COMMANDS, command, sys.argv[1:] if argv is None else list(argv))
