"""`steelyard lineage`: find which of several files have a common origin."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from steelyard.commands import (
    add_effective,
    add_engine,
    add_explain,
    add_paths,
    add_scope,
    add_skip,
    add_table,
    csv_text,
    explain,
    jobs_shipped,
    print_json,
    selected,
)
from steelyard.errors import FormatError

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> None:
    """Compare several files pair by pair, and print their distances, the weights they share, and a tree.

    A folder stands for its weight files. Two nets are reported to have the same origin only if their hidden units agree in
    position more than those of independently trained nets would (the p-value is given). Files with identical weights are
    reported as such.

    steelyard lineage run1/*.safetensors run2/*.safetensors
    """
    from steelyard.io import readable_weights, weights
    from steelyard.measures.lineage import lineage
    from steelyard.paths import expanded
    from steelyard.text.lineage import lineage_lines
    from steelyard.text.progress import following_all
    from steelyard.text.terminal import screen_of

    files = list(dict.fromkeys(expanded(args.paths)))
    if len(files) < 2:
        raise FormatError(files[0], "there is nothing to compare it with; pass two or more files, or a folder of several")
    sources = [selected(weights(file, scope=args.scope), args, file) for file in files]
    sources = [readable_weights(source) for source in sources]
    with ExitStack() as stack:
        is_shipped = stack.enter_context(jobs_shipped(files, sources, args))
        watched = sources if is_shipped else stack.enter_context(following_all(sources, "comparing", len(files) - 1))
        relations = lineage(dict(zip(files, watched, strict=True)))
    if args.out:
        relations.write(args.out)
    if args.json:
        print_json({"out": args.out} if args.out else relations.to_dict())
    elif not args.out:
        print(csv_text(relations) if args.csv else "\n".join(lineage_lines(relations, screen_of(sys.stdout))))
    if args.explain and not args.csv and not args.out:
        from steelyard.text.explanations import KINSHIPS

        explain(args, KINSHIPS)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths and the selection of weights."""
    add_paths(parser)
    parser.add_argument("--select", metavar="PATTERN", action="append", help="only names that match; may be repeated")
    add_table(parser, "the pairs")
    add_scope(parser)
    add_effective(parser)
    add_skip(parser)
    add_explain(parser)
    add_engine(parser)
