"""`steelyard report`: all that there is to see of a file, in one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_file, add_scope, print_json
from steelyard.errors import FormatError, printable
from steelyard.running import trouble

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Write one HTML file that shows every weight of a file, and opens in any browser, offline.

    Of each weight it has the figures, the histogram, a picture, the filters of a convolution and the singular values, and
    what check --health finds. With --against an older file also what differs, whatever format and framework that is of. The
    numbers are read once, or once more where there are two files. The exit status is 2 when a weight cannot be read;
    the report is written all the same, and shows why.

    steelyard report model.pt -o report.html --against before.safetensors
    """
    from steelyard.inspector.report import write

    count, unreadable = write(args.file, args.out, args.against, scope=args.scope, spectra=args.spectra, progress=True)
    if args.json:
        print_json({"file": args.file, "against": args.against, "out": args.out, "weights": count, "unreadable": unreadable})
    else:
        print(f"{printable(args.out)}: {count:,} weight{'s' * (count != 1)}")
    return trouble(FormatError(args.file, f"{unreadable:,} of {count:,} weights cannot be read")) if unreadable else 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files and what is left out."""
    add_file(parser)
    parser.add_argument("-o", "--out", metavar="PAGE", default="report.html", help="the page to write (default: report.html)")
    parser.add_argument("--against", metavar="FILE", help="an older file, of any format, to compare with")
    parser.add_argument(
        "--spectra",
        choices=("some", "all", "none"),
        default="some",
        help="find singular values of the matrices that take seconds together (the default), of all or of none",
    )
    add_scope(parser)
