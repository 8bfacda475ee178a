"""`steelyard spectra`: analyse the singular values of weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import (
    add_explain,
    add_paths,
    add_selection,
    add_table,
    csv_text,
    each_file,
    explain,
    opened,
    print_records,
    require_one,
)

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Print statistics of each kernel's singular values: norms, ranks, and the power law of their tail.

    Each statistic is followed by that of random weights of the same shape and scale: the weight's own numbers in random
    order. A verdict follows if some values are larger than chance allows. Large matrices are not decomposed as a whole:
    their largest singular values are computed by random projection, with a bound on the error.

    steelyard spectra model.safetensors --select '*attn*'
    """
    from steelyard.errors import printable
    from steelyard.measures.spectra import spectra
    from steelyard.paths import expanded
    from steelyard.text.differences import spectra_lines
    from steelyard.text.progress import following
    from steelyard.text.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    require_one(args, files)

    def measured(file: str) -> tuple[Any, str]:
        with following(opened(file, args), "measuring") as watched:
            computed = spectra(watched, max_exact_size=args.max_exact_size, top_k=args.top_k, null_draws=args.null_draws)
        if args.out:
            computed.write(args.out)
            return {"file": file, "out": args.out}, ""
        if args.json or args.csv:
            return {"file": file, **computed.to_dict()}, csv_text(computed) if args.csv else ""
        return {}, "\n".join([*([printable(file)] if len(files) > 1 else []), *spectra_lines(computed, screen)])

    status, records = each_file(files, measured)
    if args.json:
        print_records(records)
    if args.explain and not args.csv and not args.out:
        from steelyard.text.explanations import SPECTRA

        explain(args, SPECTRA)
    return status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the selection of weights, and the precision."""
    add_paths(parser)
    parser.add_argument(
        "--max-exact-size", type=int, default=1024, metavar="N", help="compute all singular values up to this shorter side"
    )
    parser.add_argument(
        "--top-k", type=int, default=128, metavar="N", help="the number of singular values to compute of larger matrices"
    )
    parser.add_argument(
        "--null-draws", type=int, default=19, metavar="N", help="the number of random matrices per weight; 0 for none"
    )
    add_table(parser, "the table of one file")
    add_selection(parser)
    add_explain(parser)
