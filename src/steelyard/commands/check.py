"""`steelyard check`: whether anything is wrong with a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_paths, each_file, print_records
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    import argparse

    from steelyard.measures.check import Check


def run(args: argparse.Namespace) -> int:
    """Tell whether files are readable, complete and finite, and what in them would have run code.

    Every number is read once, the optimizer's too. A weight that cannot be read or holds NaN or Inf is named with
    the place, and so is each call that a pickle would have made, as posix.system('...'); none is made. With --health
    also what a trained net rarely has: constant kernels, dead or doubled units, norms far from those at the start,
    numbers cut off by a short type, running variances of zero, unused embeddings; lines with "info" are what healthy
    nets may have too. The exit status is 0 when all is well, 1 when something was found that is as severe as --fail-on
    says, 2 when a file cannot be read at all.

    steelyard check model.pt --health
    """
    from steelyard.paths import expanded
    from steelyard.text.measured import check_lines, check_total
    from steelyard.text.terminal import screen_of

    files, screen, failed = expanded(args.paths), screen_of(sys.stdout), 0

    def checked(file: str) -> tuple[Any, str]:
        nonlocal failed
        result = _check(file, health=args.health)
        failed |= bool(result.at_least(args.fail_on))
        lines = [f"{printable(file)}: {line}" if len(files) > 1 else line for line in check_lines(result)]
        bad = [finding.severity != "info" for finding in result.findings]
        bad += [False] * (len(lines) - len(bad))  # that all is well, and notes
        painted = [screen.paint(line, "red") if red else line for red, line in zip(bad, lines, strict=True)]
        if screen.width is not None and (total := check_total(result)):  # a pipe has a line for each finding
            painted.append(total)
        return {"file": file, **result.to_dict()}, "" if args.json else "\n".join(painted)

    status, records = each_file(files, checked)
    if args.json:
        from steelyard.text.records import plain

        print_records(plain(records))
    return status or failed


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, what is looked for and what counts as bad."""
    add_paths(parser)
    parser.add_argument("--health", action="store_true", help="look for what a trained net rarely has, too")
    parser.add_argument(
        "--fail-on",
        choices=("info", "warning", "error"),
        default="warning",
        metavar="LEVEL",
        help="the exit status is 1 from this severity on: info, warning (the default) or error",
    )


def _check(file: str, *, health: bool) -> Check:
    """Check a file and show how far it is; one that cannot be opened may be a model whose shards are missing."""
    from steelyard.io import weights
    from steelyard.measures.check import check, checked
    from steelyard.text.progress import following

    try:
        found = weights(file, scope="all")
    except FormatError:
        return check(file)  # which names the shards, or raises the same
    with following(found, "checking") as everything:
        if not health:
            return checked(everything)
        with following(weights(file), "looking at its health") as model:
            return checked(everything, model)
