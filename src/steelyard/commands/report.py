"""`steelyard report`: write every weight of a file into one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_before, add_effective, add_file, add_scope, add_skip, code_in, print_json, warn_of_code
from steelyard.errors import FormatError, printable
from steelyard.running import trouble

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Write one HTML file that shows every weight of a file, and opens in any browser, offline.

    It shows the statistics of each weight, a histogram, a heat map, the filters of convolutions, the singular values,
    and the findings of check --health. With --before OLDER it also shows the differences from an older file of any format
    or framework. The numbers are read once, or twice if two files are compared. If a weight cannot be read, the report is
    still written, with the reason, and the exit status is 2; --skip-unreadable leaves it out instead.

    steelyard report after.pt -o report.html --before before.safetensors
    """
    from steelyard.inspector.report import write

    options = {"scope": args.scope, "spectra": args.spectra, "skip_unreadable": args.skip_unreadable}
    options["effective"] = args.effective
    count, unreadable = write(args.file, args.out, args.before, **options, progress=True)
    code = {path: code_in(path) for path in (args.file, args.before) if path is not None}
    if args.json:
        record = {"file": args.file, "before": args.before, "out": args.out, "weights": count, "unreadable": unreadable}
        print_json({**record, "would_run": code})
    else:
        print(f"{printable(args.out)}: {count:,} weight{'s' * (count != 1)}")
    status = trouble(FormatError(args.file, f"{unreadable:,} of {count:,} weights cannot be read")) if unreadable else 0
    warn_of_code(code)
    return status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the page and its contents."""
    add_file(parser)
    parser.add_argument("-o", "--out", metavar="PAGE", default="report.html", help="the page to write (default: report.html)")
    add_before(parser)
    parser.add_argument(
        "--spectra",
        choices=("some", "all", "none"),
        default="some",
        help="compute the singular values of as many matrices as take seconds in total (the default), of all or of none",
    )
    add_scope(parser)
    add_skip(parser)
    add_effective(parser)
