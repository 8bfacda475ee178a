"""`steelyard lineage`: which of many files come from one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_paths, add_scope, print_json, selected
from steelyard.errors import FormatError

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> None:
    """Compare many files pair by pair: how far they are apart, what they share, and a tree of them.

    A folder stands for its weight files. Two nets are said to have one origin only where their hidden units lie in the
    same places more than those of independently trained nets would (the p-value is given); files whose weights are
    all the same are named as such.

    steelyard lineage run1/*.safetensors run2/*.safetensors
    """
    from steelyard.io import weights
    from steelyard.measures.lineage import lineage
    from steelyard.paths import expanded
    from steelyard.text.lineage import lineage_lines
    from steelyard.text.progress import following_all

    files = list(dict.fromkeys(expanded(args.paths)))
    if len(files) < 2:
        raise FormatError(files[0], "there is nothing to compare it with; give two files or more, or a folder of several")
    sources = [selected(weights(file, scope=args.scope), args, file) for file in files]
    with following_all(sources, "comparing", len(files) - 1) as watched:
        found = lineage(dict(zip(files, watched, strict=True)))
    if args.json:
        print_json(found.to_dict())
    else:
        print("\n".join(lineage_lines(found)))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths and which weights."""
    add_paths(parser)
    parser.add_argument("--select", metavar="PATTERN", action="append", help="only names that match; may be given again")
    add_scope(parser)
