"""`steelyard stats`: print statistics of a file's numbers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import (
    Answer,
    add_engine,
    add_explain,
    add_paths,
    add_selection,
    add_table,
    csv_text,
    explain,
    opened,
    print_each,
    require_one,
    streamed,
)
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights
    from steelyard.measures.stats import Stats
    from steelyard.text.terminal import Screen


def run(args: argparse.Namespace) -> int:
    """Print statistics of files: range, mean, standard deviation, norms, quantiles, zeros, NaN and Inf.

    Each row is a weight, or with --by a layer, a role, the whole file, or an index of an axis: --by out has a row for each
    output channel. Repeated blocks share one row with the statistics of all their numbers. Quantiles are exact for types of
    one or two bytes, and within 1/256 of their value for others. Every number is read once; --fast skips the histogram and
    the inexact quantiles, and takes half the time.

    steelyard stats model.safetensors --by layer
    """
    from steelyard.measures.stats import stats, stats_of
    from steelyard.numerics.weight_stats import NEAR
    from steelyard.paths import expanded
    from steelyard.text.progress import following
    from steelyard.text.records import plain
    from steelyard.text.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    require_one(args, files)

    def of_file(file: str) -> Answer:
        watched: Weights | None = None
        if stream is not None:
            result = stream.of(file)
        else:
            with following(opened(file, args), "reading") as watched:
                result = stats(watched, args.by, histogram=not args.fast)
        if args.out:
            result.write(args.out)
            return Answer({"out": args.out}, "", watched)
        text = "" if args.json else _text(result, screen, args)
        if len(files) > 1 and text and not args.csv:
            text = f"{screen.paint(printable(file), 'bold')}\n{text}\n"
        return Answer(plain(result.to_dict()) if args.json else {}, text, watched)

    def closing() -> None:
        if args.explain and not args.csv and not args.out:
            from steelyard.text.explanations import FIGURES

            explain(args, FIGURES)

    with streamed(files, args, stats_of, args.by, not args.fast, NEAR) as stream:
        return print_each(files, of_file, json=args.json, closing=closing)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the grouping of rows, and the output."""
    add_paths(parser)
    parser.add_argument(
        "--by", metavar="WHAT", help="one row per weight (the default), layer, role, all, or an axis: out, in, vocab"
    )
    parser.add_argument(
        "--all", action="store_true", help="list every weight, without folding repeated blocks, as CSV and JSON always do"
    )
    parser.add_argument(
        "--fast", action="store_true", help="skip the histogram, and the quantiles of types longer than two bytes"
    )
    add_table(parser, "the table of one file")
    add_selection(parser)
    add_explain(parser)
    add_engine(parser)


def _text(result: Stats, screen: Screen, args: argparse.Namespace) -> str:
    from steelyard.text.statistics import stats_lines

    return csv_text(result) if args.csv else "\n".join(stats_lines(result, screen, unfolded=args.all))
