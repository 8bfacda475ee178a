"""`steelyard save-patch`: write a patch that turns one file's weights into another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_scope, add_skip, print_json

if TYPE_CHECKING:
    import argparse

PASSES = 2
"""Passes over the numbers: one to compare them, and one to digest them."""


def run(args: argparse.Namespace) -> None:
    """Write a small file with which `steelyard apply-patch` turns the weights of BEFORE into those of AFTER.

    The patch contains only the differences: for each weight its changed entries or all of it, whichever is smaller. It also
    contains the digests of BEFORE and AFTER, so it cannot be applied to other weights.

    steelyard save-patch base.safetensors tuned.safetensors -o tuning.safetensors
    """
    from steelyard.io import readable_weights, weights
    from steelyard.measures.patch import save_patch
    from steelyard.text.differences import patch_line
    from steelyard.text.progress import following_all

    listed = [weights(path, scope=args.scope) for path in (args.before, args.after)]
    sources = [readable_weights(each, skip_unreadable=args.skip_unreadable) for each in listed]
    with following_all(sources, "comparing", PASSES) as (one, other):
        made = save_patch(one, other, args.out)
    if args.json:
        print_json({"before": args.before, "after": args.after, "out": args.out, **made.to_dict()})
    else:
        print(patch_line(made))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files."""
    parser.add_argument("before", metavar="BEFORE", help="the file that the patch will be applied to")
    parser.add_argument("after", metavar="AFTER", help="the file whose weights the patch will restore")
    parser.add_argument("-o", "--out", required=True, metavar="PATCH", help="the patch to write, a .safetensors file")
    add_scope(parser)
    add_skip(parser)
