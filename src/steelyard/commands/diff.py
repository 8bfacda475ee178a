"""`steelyard diff`: compare the weights of two files."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from steelyard.commands import (
    add_effective,
    add_engine,
    add_explain,
    add_scope,
    add_skip,
    add_table,
    code_in,
    csv_text,
    explain,
    jobs_shipped,
    print_json,
    unmatched,
    warn_of_code,
)
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.measures.diff import Diff


def run(args: argparse.Namespace) -> int:
    """Compare the numbers of two files, of any two formats and frameworks, weight by weight.

    Weights are paired by name, after --rename; if no names match, by layer, as `steelyard transfer` pairs them. The greatest
    change comes first. The exit status is 0 when no number differs by more than --atol + --rtol * |before| (without them: by
    a single bit), 1 when one does or a weight has no partner, and 2 when a file cannot be read. With --adapter the question is
    whether AFTER is BEFORE with a LoRA adapter merged into it: for each layer of the adapter, the scale and what is left over.

    steelyard diff before.pt after.safetensors --atol 1e-6
    """
    if args.adapter is not None:
        return _adapter(args)
    difference, lines = _compared(args)
    code = {path: code_in(path) for path in (args.before, args.after)}
    if args.out:
        difference.write(args.out)
    if args.json:
        print_json({**_record(args, difference), "would_run": code})
    elif not args.out:
        print(csv_text(difference) if args.csv else "\n".join(lines))
    if args.explain and not args.csv and not args.out:
        from steelyard.text.explanations import DIFFERENCES, VERDICTS

        found = (row.verdict.kind for row in difference.rows if row.verdict)
        explain(args, DIFFERENCES | VERDICTS, (*(DIFFERENCES if not difference.same else ()), *found))
    warn_of_code(code)
    return 0 if difference.same else 1


def _compared(args: argparse.Namespace) -> tuple[Diff, list[str]]:
    """Return the differences, and the lines that show them; histograms take another pass while progress is shown."""
    from steelyard.measures.diff import diff
    from steelyard.text.differences import SHOWN, diff_lines, verdict_figures
    from steelyard.text.progress import following_all
    from steelyard.text.terminal import screen_of

    sources = [_opened(path, args) for path in (args.before, args.after)]
    if args.select and not any(sources):
        raise ShapeError(unmatched(f"{args.before} and {args.after}", args.select))
    screen = screen_of(sys.stdout)
    histograms = screen.width is not None if args.histograms is None else args.histograms
    with ExitStack() as stack:
        is_shipped = stack.enter_context(jobs_shipped((args.before, args.after), sources, args))
        watched = sources if is_shipped else stack.enter_context(following_all(sources, "comparing"))
        difference = diff(
            *watched,
            atol=args.atol,
            rtol=args.rtol,
            rules=dict(args.rename) or None,
            align=args.align,
            verdicts=not args.no_verdicts,
        )
        is_text = not (args.json or args.csv or args.out)
        lines = list(diff_lines(difference, None if args.all else SHOWN, screen, histograms=histograms)) if is_text else []
        if args.explain:
            lines += map(screen.broken, verdict_figures(difference))
    return difference, lines


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the tolerance, and how weights are paired."""
    parser.add_argument("before", metavar="BEFORE", help="a weight file, or a folder that is one model")
    parser.add_argument("after", metavar="AFTER", help="the later one, of any format")
    parser.add_argument(
        "--atol", type=_tolerance, default=0.0, metavar="X", help="absolute tolerance: ignore smaller differences"
    )
    parser.add_argument(
        "--rtol", type=_tolerance, default=0.0, metavar="X", help="relative tolerance: ignore differences below X * |before|"
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        type=_rule,
        metavar="'PATTERN=NAME'",
        help="rename weights of BEFORE to their names in AFTER",
    )
    parser.add_argument(
        "--adapter", metavar="LORA", help="find out which layers of AFTER received this adapter, and by what scale"
    )
    parser.add_argument("--align", choices=("permutation",), help="first reorder the hidden units for the best match")
    parser.add_argument("--no-verdicts", action="store_true", help="print the statistics only")
    parser.add_argument("--select", metavar="PATTERN", action="append", help="only names that match; may be repeated")
    add_table(parser, "all rows")
    parser.add_argument("--all", action="store_true", help="list every weight that differs, without folding repeated blocks")
    parser.add_argument(
        "--histograms",
        action=argparse.BooleanOptionalAction,
        help="show the distribution of after - before in each row, which takes another pass (default: in a terminal)",
    )
    add_scope(parser)
    add_effective(parser)
    add_skip(parser)
    add_explain(parser)
    add_engine(parser)


def _adapter(args: argparse.Namespace) -> int:
    """Print what a merge did with an adapter, and return 1 unless every layer received it and nothing else changed."""
    from steelyard.measures.adapter import adapter_merge
    from steelyard.text.records import plain

    if args.csv or args.out:
        raise ShapeError("--csv and -o are for the table of differences, which --adapter does not make; take --json")
    sources = [_opened(path, args) for path in (args.before, args.after)]
    merge = adapter_merge(args.adapter, *sources)
    code = {path: code_in(path) for path in (args.adapter, args.before, args.after)}
    if args.json:
        paths = {"adapter": args.adapter, "before": args.before, "after": args.after}
        print_json({**paths, **plain(merge.to_dict()), "would_run": code})
    else:
        print(merge)
    warn_of_code(code)
    return 0 if merge.complete else 1


def _opened(path: str, args: argparse.Namespace) -> Weights:
    """Open a file and select from it; one of the two may have no weight of these names."""
    from steelyard.core.selection import readable
    from steelyard.io import weights

    chosen = weights(path, scope=args.scope)
    chosen = chosen.effective() if args.effective else chosen
    chosen = chosen.select(args.select, missing_ok=True) if args.select else chosen
    return readable(chosen, skip_unreadable=args.skip_unreadable)


def _record(args: argparse.Namespace, difference: Diff) -> dict[str, Any]:
    return {"before": args.before, "after": args.after, **({"out": args.out} if args.out else difference.to_dict())}


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def _rule(text: str) -> tuple[str, str]:
    import re

    from steelyard.core.patterns import Pattern

    pattern, equals, template = text.rpartition("=")
    try:
        Pattern(pattern)
    except re.error:
        equals = ""
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rule; write it as 'pattern=template'")
    return pattern, template
