"""`steelyard show`: show one weight, a part of it, or a layer."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_effective, add_explain, add_file, add_scope, code_in, explain, opened, print_json, warn_of_code
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Weight


def run(args: argparse.Namespace) -> None:
    """Show one weight, a part of it, or a layer: facts, range and numbers.

    Select a part as in Python: fc1.weight[3,:5] is the first five columns of the fourth row. NaN and Inf are counted, and
    the index of the first is shown. In a terminal with colours a matrix is drawn, negative numbers in blue and positive ones
    in orange; elsewhere, or with --no-heatmap, the numbers are printed, those of a large weight without the middle. --json
    prints all numbers. The name of a layer, as fc1 or encoder.layers.0, shows its settings, if the file has them, the statistics
    of its weights, and its kernel. A number that is no name is a position: 0 is the first weight, -1 the last. --metadata prints
    what the file says of itself: texts and settings, long lists abbreviated.

    steelyard show model.safetensors 'fc1.weight[3,:5]'
    """
    if args.name and not os.path.lexists(args.file) and os.path.isfile(args.name):
        name, file = printable(args.file), printable(args.name)
        raise ShapeError(f"{name} is no file; the file comes first: steelyard show {file} {name}")
    weights = opened(args.file, args)
    if args.metadata:
        _print_metadata(weights, args)
        return
    if args.name is None and len(weights) != 1:
        raise ShapeError(
            f"{printable(args.file)} has {len(weights):,} weights; name one, its layer or its position (steelyard ls lists them)"
        )
    from steelyard.core.naming import named

    found = named(weights, next(iter(weights)) if args.name is None else args.name)
    code = code_in(args.file)
    if args.json:
        print_json({"file": args.file, **_record(found, args), "would_run": code})
    else:
        for line in _lines(found, args):
            print(line)
    if args.explain:
        from steelyard.text.explanations import ROLES

        explain(args, ROLES, [str(each.role) for each in (found.values() if isinstance(found, Weights) else [found])])
    warn_of_code({args.file: code})


def _lines(found: Weight | Weights, args: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of a weight, or of the weights of a layer."""
    from steelyard.text.terminal import screen_of

    screen = screen_of(sys.stdout)
    if isinstance(found, Weights):
        from steelyard.text.layer import layer_lines

        return layer_lines(args.name, found, screen, heatmap=False if args.stats else args.heatmap)
    from steelyard.text.tensor import described

    return described(found, screen, values=not args.stats, heatmap=args.heatmap)


def _record(found: Weight | Weights, args: argparse.Namespace) -> dict[str, Any]:
    """Return the record of a weight with its numbers, or of a layer with statistics alone."""
    if isinstance(found, Weights):
        from steelyard.text.layer import layer_record

        return layer_record(args.name, found)
    from steelyard.text.records import values_record, weight_record

    return weight_record(found, stats=True) | ({} if args.stats else {"values": values_record(found)})


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
        "name",
        nargs="?",
        metavar="NAME",
        help="a weight, a part of it as in 'fc.weight[3,:5]', a layer, or a position as 0 or -1",
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
    add_explain(parser)
