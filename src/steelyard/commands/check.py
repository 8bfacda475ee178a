"""`steelyard check`: find defects of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_paths, each_file, print_records
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    import argparse

    from steelyard.measures.check import Check


def run(args: argparse.Namespace) -> int:
    """Check that files are readable, complete and finite, and list the code that loading them would run.

    Every number is read once, including the optimizer's. The findings are weights that cannot be read, weights with NaN or
    Inf, each with the index of the first, and what loading the file would run, such as posix.system('...'); nothing is run.
    --health adds properties that trained nets rarely have: constant kernels, dead or duplicate units, norms far from those at
    initialization, numbers clipped by a narrow type, running variances of zero, unused embeddings. Healthy nets may have the
    findings marked "info" too. The exit status is 0 without findings of at least the severity --fail-on, 1 with some, 2
    when a file is damaged or cannot be read at all, and 3 when loading it would run code.

    steelyard check model.pt --health
    """
    from steelyard.paths import expanded
    from steelyard.text.measured import check_lines, check_total
    from steelyard.text.terminal import screen_of

    files, screen, failed = expanded(args.paths), screen_of(sys.stdout), 0

    def checked(file: str) -> tuple[Any, str]:
        nonlocal failed
        result = _check(file, health=args.health)
        failed = max(failed, _status(result, args.fail_on))
        lines = [f"{printable(file)}: {line}" if len(files) > 1 else line for line in check_lines(result)]
        bad = [finding.severity != "info" for finding in result.findings]
        bad += [False] * (len(lines) - len(bad))  # the line that all is well, and notes
        painted = [screen.paint(line, "red") if red else line for red, line in zip(bad, lines, strict=True)]
        if screen.width is not None and (total := check_total(result)):  # a pipe has a line for each finding
            painted.append(total)
        return {"file": file, **result.to_dict()}, "" if args.json else "\n".join(painted)

    status, records = each_file(files, checked)
    if args.json:
        from steelyard.text.records import plain

        print_records(plain(records))
    return max(status, failed)


def _status(result: Check, fail_on: str) -> int:
    """Return 3 for a file that would run code, 2 for a damaged one, 1 for other findings of this severity, else 0."""
    if any(finding.kind == "code" and finding.severity == "error" for finding in result.findings):
        return 3
    if any(finding.kind == "damaged" for finding in result.findings):
        return 2
    return 1 if result.at_least(fail_on) else 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the checks, and the severity that counts as failure."""
    add_paths(parser)
    parser.add_argument("--health", action="store_true", help="also look for properties that trained nets rarely have")
    parser.add_argument(
        "--fail-on",
        choices=("info", "warning", "error"),
        default="warning",
        metavar="LEVEL",
        help="exit with status 1 on findings of at least this severity: info, warning (the default) or error",
    )


def _check(file: str, *, health: bool) -> Check:
    """Check a file with a progress bar; a file that cannot be opened may be a model with missing shards."""
    from steelyard.measures.check import checked, listed, refused
    from steelyard.text.progress import following

    try:
        weights = listed(file, "all")
    except FormatError as error:
        # a traceback would keep in memory what its frames had read
        return refused(file, error.with_traceback(None), health=health)
    with following(weights, "checking") as everything:
        if not health:
            return checked(everything)
        with following(listed(file), "checking its health") as model:
            return checked(everything, model)
