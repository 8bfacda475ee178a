"""`steelyard history`: look back at a training: its last steps, what moved, where NaN began."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_explain, add_paths, code_in, explain, print_json, warn_of_code

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from steelyard.runs.history import History

WORDS = {
    "summary": ("norm", "update", "ratio"),
    "norms": ("norm",),
    "updates": ("update",),
    "ratios": ("ratio",),
    "blame": ("share", "path", "largest", "at"),
    "jumps": ("factor", "update", "share"),
    "nonfinite": ("place",),
    "units": ("dead", "frozen", "norm", "moved"),
}
"""The words of each view that --explain explains."""
VIEWS = tuple(WORDS)
LAST = 5


def run(args: argparse.Namespace) -> None:
    """Show the weights of a net along its training, from the folder of a recorded run or from checkpoints.

    PATH is a folder that steelyard.record wrote, a folder of checkpoints of transformers, Lightning, Keras or Orbax, or several
    files, whose steps are the numbers in their names. The summary has the last records, a sparkline of the norm and of the
    update ratio of each weight, and in red what to look at: NaN and Inf, jumps, frozen weights. --view shows the norms, updates
    or ratios alone, which weights moved (blame), the largest jumps, where NaN began (nonfinite), or dead and frozen units (of
    snapshots). With --before OTHER two runs are compared: the same seed? where do they part?

    steelyard history runs/a --before runs/b
    """
    from steelyard.runs.history import history

    h = history(args.paths[0] if len(args.paths) == 1 else args.paths)
    code = _code(h)
    if args.before is not None:
        compared = h.compare(args.before)
        _print(args, compared.to_dict(), [str(compared)], code)
    elif args.out:
        (h if args.view == "summary" else _view(h, args)).write(args.out)
        _print(args, {"path": h.path, "out": args.out}, (), code)
    elif args.view != "summary":
        found = _view(h, args)
        _print(args, {"path": h.path, **found.to_dict()}, _lines(found), code)
    else:
        _summary(h, args, code)
    _explain(args)
    warn_of_code(code)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the run or the checkpoints, the view, and the output."""
    add_paths(parser)
    parser.add_argument("--view", choices=VIEWS, default="summary", help="what to show (default: summary)")
    parser.add_argument("--before", metavar="OTHER", help="another run, or folder of checkpoints, to compare with")
    parser.add_argument("--by", choices=("weight", "layer", "all"), help="a row for each weight, layer, or all together")
    parser.add_argument("--last", type=_count, default=LAST, metavar="N", help=f"show the last N records (default: {LAST})")
    add_explain(parser)
    parser.add_argument("-o", "--out", metavar="TABLE", help="write all records, or the view, to a .csv, .json or .parquet file")


def _count(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isascii() or not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a number of records; write 1, 2, 3 ...")
    return int(text[:9])


def _view(h: History, args: argparse.Namespace) -> Any:
    if args.view in ("norms", "updates", "ratios"):
        return getattr(h, args.view)(args.by or "weight")
    return getattr(h, args.view)()


def _lines(found: Any) -> Iterable[str]:
    """Return all lines of curves or rows."""
    from steelyard.runs.curves import Curves
    from steelyard.text.histories import curve_lines, row_lines
    from steelyard.text.terminal import screen_of

    return (curve_lines if isinstance(found, Curves) else row_lines)(found, screen_of(sys.stdout))


def _print(args: argparse.Namespace, record: dict[str, Any], lines: Iterable[str], code: dict[str, list[str]]) -> None:
    if args.json:
        print_json({**record, "would_run": code})
        return
    for line in lines:
        print(line)


def _explain(args: argparse.Namespace) -> None:
    if args.explain and args.before is None and not args.out:
        from steelyard.text.explanations import TRAININGS

        explain(args, TRAININGS, WORDS[args.view])


def _summary(h: History, args: argparse.Namespace, code: dict[str, list[str]]) -> None:
    from steelyard.text.histories import history_lines, history_record
    from steelyard.text.terminal import screen_of

    if args.json:
        print_json({**history_record(h, args.last, args.by), "would_run": code})
        return
    for line in history_lines(h, screen_of(sys.stdout), args.last, args.by):
        print(line)


def _code(h: History) -> dict[str, list[str]]:
    """Return what loading the checkpoints would run; a run's own snapshots hold numbers only."""
    if not h.origin:
        return {}
    return {row.snapshot: code_in(row.snapshot) for row in h.run.rows if row.snapshot}
