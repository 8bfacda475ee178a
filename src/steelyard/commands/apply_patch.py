"""`steelyard apply-patch`: the weights that a patch makes of a file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_scope, print_json
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    import argparse

PASSES = 3
"""How often all is read: the base to be digested, the result to be digested, and to be written."""


def run(args: argparse.Namespace) -> None:
    """Apply a patch to the weights that it was made for, and write the result into a file of any format.

    Weights that the patch was not made for are refused, and nothing is written. AFTER takes its place only when it is
    complete and on the disk; its weights are those that the patch was made of, bit for bit.

    steelyard apply-patch base.safetensors tuning.safetensors -o tuned.safetensors
    """
    from steelyard.io import opened, write
    from steelyard.measures.patch import apply_patch
    from steelyard.text.progress import following
    from steelyard.text.table import totals

    found, used = opened(args.before, args.scope)
    with following(found, "applying", PASSES) as watched:
        result = apply_patch(watched, args.patch)
        if _same_file(args.out, args.patch):
            raise FormatError(args.out, "is the patch itself; write into another file")
        write(result, args.out, used)
    if args.json:
        print_json({"before": args.before, "patch": args.patch, "out": args.out, "weights": len(result), "bytes": result.nbytes})
    else:
        print(f"{printable(args.out)}: {totals(result)}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files."""
    parser.add_argument("before", metavar="BEFORE", help="the file that the patch was made for")
    parser.add_argument("patch", metavar="PATCH", help="what `steelyard save-patch` wrote")
    parser.add_argument("-o", "--out", required=True, metavar="AFTER", help="the file to write, of any format")
    add_scope(parser)


def _same_file(one: str, other: str) -> bool:
    import os

    return os.path.realpath(one) == os.path.realpath(other)
