"""`steelyard digest`: a short text that is equal for equal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.commands import add_paths, add_selection, each_file, opened, print_records

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Print a digest of each weight's numbers, and one of all: equal for equal weights in any container.

    The order of the weights and the format make no difference; names, dtypes, shapes and numbers do. With --total
    only the digest of all is printed.

    steelyard digest a.pt b.safetensors --total
    """
    from steelyard.measures.digest import digest
    from steelyard.paths import expanded
    from steelyard.views.measured import digest_lines
    from steelyard.views.progress import following

    def digested(file: str) -> tuple[Any, str]:
        with following(opened(file, args), "reading") as watched:
            result = digest(watched, args.algorithm)
        lines = digest_lines(result, file, each=not args.total)
        return {"file": file, **result.to_dict()}, "" if args.json else "\n".join(lines)

    status, records = each_file(expanded(args.paths), digested)
    if args.json:
        print_records(records)
    return status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, how to digest and which weights."""
    from steelyard.measures.digest import ALGORITHMS

    add_paths(parser)
    parser.add_argument("-a", "--algorithm", choices=ALGORITHMS, default="blake3", help="blake3 (the default), sha256 or xxh3")
    parser.add_argument("--total", action="store_true", help="print only the digest of all weights of a file")
    add_selection(parser)
