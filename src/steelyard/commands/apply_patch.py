"""`steelyard apply-patch`: apply a patch to a file's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_scope, add_skip, print_json
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    import argparse

PASSES = 3
"""Passes over the numbers: one to digest the base, one to digest the result, and one to write it."""


def run(args: argparse.Namespace) -> None:
    """Apply a patch to the weights that it was made for, and write the result into a file of any format.

    If the patch was made for other weights, the command fails and writes nothing. AFTER replaces an existing file only when
    it is complete and on the disk; its weights are bit for bit those from which the patch was made.

    steelyard apply-patch base.safetensors tuning.safetensors -o tuned.safetensors
    """
    from steelyard.io import opened, readable_weights, write
    from steelyard.measures.patch import apply_patch
    from steelyard.text.progress import following
    from steelyard.text.table import totals

    before, used = opened(args.before, args.scope)
    with following(readable_weights(before, skip_unreadable=args.skip_unreadable), "applying", PASSES) as watched:
        result = apply_patch(watched, args.patch)
        if _same_file(args.out, args.patch):
            raise FormatError(args.out, "is the patch itself; write to another file")
        out = write(result, args.out, used)
    if args.json:
        print_json({"before": args.before, "patch": args.patch, "out": out, "weights": len(result), "bytes": result.nbytes})
    else:
        print(f"{printable(out)}: {totals(result)}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files."""
    parser.add_argument("before", metavar="BEFORE", help="the file that the patch was made for")
    parser.add_argument("patch", metavar="PATCH", help="a patch from `steelyard save-patch`")
    parser.add_argument("-o", "--out", required=True, metavar="AFTER", help="the file to write, of any format")
    add_scope(parser)
    add_skip(parser)


def _same_file(one: str, other: str) -> bool:
    import os

    return os.path.realpath(one) == os.path.realpath(other)
