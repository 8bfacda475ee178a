"""`steelyard show`: show one weight, or a part of it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from steelyard.commands import add_effective, add_file, add_scope, code_in, opened, print_json, warn_of_code
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


def run(args: argparse.Namespace) -> None:
    """Show one weight or a part of it: its facts, its range and its numbers.

    Select a part as in Python: fc1.weight[3,:5] is the first five columns of the fourth row. NaN and Inf are counted, and
    the index of the first is shown. In a terminal with colours a matrix is drawn, negative numbers in blue and positive ones
    in orange; elsewhere, or with --no-heatmap, the numbers are printed, those of a large weight without the middle. --json
    prints all numbers. --metadata prints what the file says of itself: texts and settings, long lists abbreviated.

    steelyard show model.safetensors 'fc1.weight[3,:5]'
    """
    weights = opened(args.file, args)
    if args.metadata:
        _print_metadata(weights, args)
        return
    if args.name is None and len(weights) != 1:
        raise ShapeError(f"{printable(args.file)} has {len(weights):,} weights; name one of them (steelyard ls lists them)")
    weight = _meant(weights, next(iter(weights)) if args.name is None else args.name)
    code = code_in(args.file)
    if args.json:
        from steelyard.text.records import values_record, weight_record

        values = {} if args.stats else {"values": values_record(weight)}
        print_json({"file": args.file, **weight_record(weight, stats=True), **values, "would_run": code})
    else:
        _print(weight, args)
    warn_of_code({args.file: code})


def _print(weight: Weight, args: argparse.Namespace) -> None:
    from steelyard.text.tensor import described
    from steelyard.text.terminal import screen_of

    for line in described(weight, screen_of(sys.stdout), values=not args.stats, heatmap=args.heatmap):
        print(line)


def _print_metadata(weights: Weights, args: argparse.Namespace) -> None:
    from steelyard.text.metadata import metadata_lines, plain_metadata
    from steelyard.text.records import plain

    code = code_in(args.file)
    if args.json:
        print_json({"file": args.file, "metadata": plain(plain_metadata(weights.meta)), "would_run": code})
    else:
        print("\n".join(metadata_lines(weights.meta)) or "no metadata")
    warn_of_code({args.file: code})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the weight and the output."""
    add_file(parser)
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a weight's name, or a part of the weight as in 'fc.weight[3,:5]'"
    )
    parser.add_argument("--metadata", action="store_true", help="print the metadata of the file in place of a weight")
    parser.add_argument("--stats", action="store_true", help="print statistics in place of the numbers")
    parser.add_argument(
        "--heatmap",
        action=argparse.BooleanOptionalAction,
        help="draw the weight (without colours, in shades) or print the numbers (default: draw a matrix if there are colours)",
    )
    add_scope(parser)
    add_effective(parser)


def _meant(weights: Weights, name: str) -> Weight:
    """Return the weight of this name, or the part of it that brackets after the name select."""
    base, bracket, inside = name.rpartition("[")
    if name in weights or not bracket or not inside.endswith("]"):
        return weights[name]
    from steelyard.core.index_text import part_of

    return part_of(weights[base], inside[:-1])
