"""`steelyard diff`: how far the weights of two files are apart."""

from __future__ import annotations

import argparse
import math
import re
import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_scope, print_json, unmatched
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.measures.diff import Diff


def run(args: argparse.Namespace) -> int:
    """Compare the numbers of two files, of any two formats and frameworks, weight by weight.

    Weights are paired by name, or as --rename says; where no name fits, layer by layer, as weights move between
    frameworks. The greatest change comes first. The exit status is 0 when nothing differs by more than --atol + --rtol *
    |before| (without them: by a single bit), 1 when something does, or has no partner, and 2 when a file cannot be read.

    steelyard diff before.pt after.safetensors --atol 1e-6
    """
    from steelyard.measures.diff import diff
    from steelyard.text.differences import SHOWN, diff_lines
    from steelyard.text.progress import following_all
    from steelyard.text.terminal import screen_of

    sources = [_opened(path, args.scope, args.select) for path in (args.before, args.after)]
    if args.select and not any(sources):
        raise ShapeError(unmatched(f"{args.before} and {args.after}", args.select))
    screen = screen_of(sys.stdout)
    histograms = screen.width is not None if args.histograms is None else args.histograms
    with following_all(sources, "comparing") as watched:
        found = diff(
            *watched,
            atol=args.atol,
            rtol=args.rtol,
            rules=dict(args.rename) or None,
            align=args.align,
            verdicts=not args.no_verdicts,
        )
        lines = [] if args.json else list(diff_lines(found, None if args.all else SHOWN, screen, histograms=histograms))
    if args.json:
        print_json(_record(args, found))
    else:
        print("\n".join(lines))
    return 0 if found.same else 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the tolerance, and how weights are paired."""
    parser.add_argument("before", metavar="BEFORE", help="a weight file, or a folder that is one model")
    parser.add_argument("after", metavar="AFTER", help="the later one, of any format")
    parser.add_argument("--atol", type=_tolerance, default=0.0, metavar="X", help="differences up to this are none")
    parser.add_argument("--rtol", type=_tolerance, default=0.0, metavar="X", help="nor are those up to this times |before|")
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        type=_rule,
        metavar="'PATTERN=NAME'",
        help="the name in AFTER of a name in BEFORE",
    )
    parser.add_argument("--align", choices=("permutation",), help="put hidden units into the order that fits best")
    parser.add_argument("--no-verdicts", action="store_true", help="give the figures only")
    parser.add_argument("--select", metavar="PATTERN", action="append", help="only names that match; may be given again")
    parser.add_argument("--all", action="store_true", help="list every weight that differs, repeated blocks too")
    parser.add_argument(
        "--histograms",
        action=argparse.BooleanOptionalAction,
        help="show how after - before spreads in each row, for which it is read once more (default: in a terminal)",
    )
    add_scope(parser)


def _opened(path: str, scope: Scope, select: list[str] | None) -> Any:
    from steelyard.io import weights

    found = weights(path, scope=scope)
    return found.select(select) if select else found


def _record(args: argparse.Namespace, found: Diff) -> dict[str, Any]:
    return {"before": args.before, "after": args.after, **found.to_dict()}


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return value


def _rule(text: str) -> tuple[str, str]:
    pattern, equals, template = text.rpartition("=")
    try:
        re.compile(pattern)
    except re.error:
        equals = ""
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no rule; write it as 'pattern=template'")
    return pattern, template
