"""`steelyard ls`: what is in a file."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_paths, add_selection, each_file, opened, print_records
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights
    from steelyard.views.terminal import Screen


def run(args: argparse.Namespace) -> int:
    """List the weights of files with shape, dtype, role and totals.

    A folder stands for its weight files, or is one model where it holds one in shards. Blocks that a model
    repeats are folded into one, as layers.[0-11]. No number is read, but with --stats every one is: a histogram
    of each weight, all on one axis, and which weights hold NaN or Inf.

    steelyard ls model.safetensors --stats
    """
    from steelyard.core.garbage import uncollected
    from steelyard.paths import expanded
    from steelyard.views.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    headed = len(files) > 1
    told: list[str] = []

    def listed(file: str) -> tuple[Any, str]:
        with _watched(opened(file, args), args) as found:
            if args.json:
                return _record(file, found, args), ""
            text = _table(found, screen, args)
        if headed:
            text = ("\n" if told else "") + f"{screen.paint(printable(file), 'bold')}\n{text}"
        told.append(file)
        return None, text

    with uncollected():
        status, records = each_file(files, listed)
    if args.json:
        print_records(records, status)
    return status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare paths, what is shown and which weights."""
    add_paths(parser)
    parser.add_argument("--all", action="store_true", help="list every weight, repeated blocks too")
    parser.add_argument("--stats", action="store_true", help="read the numbers: histogram, min, mean, max, NaN and Inf")
    add_selection(parser)


def _watched(found: Weights, args: argparse.Namespace) -> AbstractContextManager[Weights]:
    """Follow the reading of the numbers, where they are read."""
    if not args.stats:
        return nullcontext(found)
    from steelyard.views.progress import following

    return following(found, "reading")


def _table(found: Weights, screen: Screen, args: argparse.Namespace) -> str:
    from steelyard.views.table import listing

    return "\n".join(listing(found, screen, unfolded=args.all, stats=args.stats, grouped=screen.width is not None))


def _record(file: str, found: Weights, args: argparse.Namespace) -> dict[str, Any]:
    from steelyard.views.records import file_record

    return file_record(file, found, stats=args.stats)
