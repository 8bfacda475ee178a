"""`steelyard ls`: list the weights of a file."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from steelyard.commands import (
    add_explain,
    add_paths,
    add_selection,
    code_in,
    each_file,
    explain,
    opened,
    print_records,
    warn_of_code,
)
from steelyard.errors import FormatError, printable
from steelyard.running import trouble

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights
    from steelyard.text.terminal import Screen


def run(args: argparse.Namespace) -> int:
    """List the weights of files with their shapes, dtypes, roles and totals.

    A folder stands for its weight files, or for one model in shards. Repeated blocks are folded into one, such as
    layers.[0-11]. Without --stats no number is read; with it every number is read, for a histogram of each weight on a
    common axis, and weights with NaN or Inf are reported, as are those that cannot be read (exit status 2).

    steelyard ls model.safetensors --stats
    """
    from steelyard.core.gc_pause import uncollected
    from steelyard.paths import expanded
    from steelyard.text.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    headed = len(files) > 1
    code: dict[str, list[str]] = {}
    failed: list[FormatError] = []

    def listed(file: str) -> tuple[Any, str]:
        with _watched(opened(file, args), args) as weights:
            record, text, count = _record(file, weights, args) if args.json else _table(weights, screen, args)
        if count:
            failed.append(FormatError(file, f"{count:,} of {len(weights):,} weights cannot be read"))
        if headed and text:
            text = ("\n" if code else "") + f"{screen.paint(printable(file), 'bold')}\n{text}"
        code[file] = code_in(file, weights)
        return record and {**record, "would_run": code[file]}, text

    with uncollected():
        status, records = each_file(files, listed)
    if args.json:
        print_records(records)
    if args.explain:
        from steelyard.text.explanations import ROLES

        explain(args, ROLES)
    for error in failed:
        status = trouble(error)
    warn_of_code(code)
    return status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the amount of detail and the selection of weights."""
    add_paths(parser)
    parser.add_argument("--all", action="store_true", help="list every weight, without folding repeated blocks")
    parser.add_argument("--stats", action="store_true", help="read the numbers: histogram, min, mean, max, NaN and Inf")
    add_selection(parser)
    add_explain(parser)


def _watched(weights: Weights, args: argparse.Namespace) -> AbstractContextManager[Weights]:
    """Show progress while the numbers are read."""
    if not args.stats:
        return nullcontext(weights)
    from steelyard.text.progress import following

    return following(weights, "reading")


def _table(weights: Weights, screen: Screen, args: argparse.Namespace) -> tuple[None, str, int]:
    """Return None in place of a record, the table, and the number of weights that cannot be read."""
    from steelyard.text.rows import measured, rows_of
    from steelyard.text.table import listing

    stats = list(measured(rows_of(weights, unfolded=args.all))) if args.stats else None
    lines = listing(weights, screen, unfolded=args.all, stats=stats, grouped=screen.width is not None)
    return None, "\n".join(lines), sum(each.error is not None for each in stats or ())


def _record(file: str, weights: Weights, args: argparse.Namespace) -> tuple[dict[str, Any], str, int]:
    """Return the record, an empty text, and the number of weights that cannot be read."""
    from steelyard.text.records import file_record

    record = file_record(file, weights, stats=args.stats)
    return record, "", sum("error" in weight and weight["tied"] is None for weight in record["weights"])
