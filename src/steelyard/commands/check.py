"""`steelyard check`: whether anything is wrong with a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_paths, each_file, print_records
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Tell whether files are readable, complete and finite, and what in them would have run code.

    Every number is read once, the optimizer's too. A weight that cannot be read or holds NaN or Inf is named with
    the place, and so is each call that a pickle would have made, as posix.system('...'); none is made. The exit
    status is 0 when all is well, 1 when something was found, 2 when a file cannot be read at all.

    steelyard check model.pt
    """
    from steelyard.io import weights
    from steelyard.measures.check import check
    from steelyard.paths import expanded
    from steelyard.views.measured import check_lines
    from steelyard.views.progress import following
    from steelyard.views.terminal import screen_of

    files, screen, found = expanded(args.paths), screen_of(sys.stdout), 0

    def checked(file: str) -> tuple[Any, str]:
        nonlocal found
        with following(weights(file, "all"), "checking") as watched:
            result = check(watched)
        found |= not result.good
        lines = [f"{printable(file)}: {line}" if len(files) > 1 else line for line in check_lines(result)]
        text = "\n".join(line if result.good else screen.paint(line, "red") for line in lines)
        return {"file": file, **result.to_dict()}, "" if args.json else text

    status, records = each_file(files, checked)
    if args.json:
        print_records(records)
    return status or found


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths."""
    add_paths(parser)
