"""`steelyard spectra`: analyse the singular values of weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_explain, add_paths, add_selection, each_file, explain, opened, print_records

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

    def measured(file: str) -> tuple[Any, str]:
        with following(opened(file, args), "measuring") as watched:
            computed = spectra(watched, max_exact_size=args.max_exact_size, top_k=args.top_k, null_draws=args.null_draws)
        head = [printable(file)] if len(files) > 1 else []
        return {"file": file, **computed.to_dict()}, "" if args.json else "\n".join([*head, *spectra_lines(computed, screen)])

    status, records = each_file(files, measured)
    if args.json:
        print_records(records)
    if args.explain:
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
    add_selection(parser)
    add_explain(parser)
