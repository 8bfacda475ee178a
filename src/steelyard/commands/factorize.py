"""`steelyard factorize`: write two thin layers in place of each dense one, or show what that would save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import (
    add_effective,
    add_explain,
    add_file,
    add_scope,
    add_skip,
    code_in,
    explain,
    print_json,
    selected,
    warn_of_code,
)
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> None:
    """Replace each kernel with two axes by the nearest product of low rank, and write the weights.

    A layer L becomes L.0 and L.1, two layers in a row. Kernels that would not become smaller stay as they are, and are named.
    With --dry-run nothing is written: a table has the numbers before and after, and the share of the squares that is kept.

    steelyard factorize net.safetensors --energy 0.99 -o thin.safetensors
    """
    from steelyard.core.selection import readable
    from steelyard.editing.factorizing import factorize, ranks
    from steelyard.io import opened, write
    from steelyard.text.progress import following
    from steelyard.text.quantized import left_lines, low_rank_lines

    code = code_in(args.file)  # before OUT may replace it
    weights, used = opened(args.file, args.scope)
    weights = readable(selected(weights, args, args.file), skip_unreadable=False)
    if not args.out and not args.dry_run:
        raise ShapeError("-o OUT is missing; pass the file to write, or --dry-run")
    wanted = {"rank": args.rank, "energy": args.energy, "cut": args.cut, "skip": args.skip}
    with following(weights, "decomposing") as watched:
        found, left = ranks(watched, **wanted, measured=True)
    lines = [*low_rank_lines([*found.values()]), *left_lines(left)]
    record = {"in": args.file, "weights": [each.to_dict() for each in found.values()], "left": left}
    if not args.dry_run:
        made = factorize(weights, **wanted)
        with following(made, "factorising") as watched:
            record["out"] = write(watched, args.out, used)
    if args.json:
        print_json(record)
    else:
        print("\n".join(lines))
    if args.explain:
        from steelyard.text.explanations import RANKS

        explain(args, RANKS)
    warn_of_code({args.file: code})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the rank and the file to write."""
    add_file(parser)
    parser.add_argument("--rank", type=int, metavar="N", help="the rank of all kernels")
    parser.add_argument("--energy", type=float, metavar="SHARE", help="the share of the sum of squares to keep, such as 0.99")
    parser.add_argument("--cut", type=float, default=0.0, metavar="S", help="leave out singular values of at most S")
    parser.add_argument("--skip", metavar="PATTERN", action="append", default=[], help="names that stay, such as '*lm_head*'")
    parser.add_argument("-o", "--out", metavar="OUT", help="the file to write")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and print the sizes")
    add_scope(parser)
    add_skip(parser)
    add_effective(parser)
    add_explain(parser)
