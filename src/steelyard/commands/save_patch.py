"""`steelyard save-patch`: what turns one file's weights into another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.commands import add_scope, print_json

if TYPE_CHECKING:
    import argparse

PASSES = 2
"""How often all is read: to be compared, and to be digested."""


def run(args: argparse.Namespace) -> None:
    """Write what turns the weights of BEFORE into those of AFTER into a small file, for `steelyard apply-patch`.

    Only what differs is kept: the changed entries or the whole weight, whichever is less. The digests of both ends go
    with it, so that it is never applied to anything else.

    steelyard save-patch base.safetensors tuned.safetensors -o tuning.safetensors
    """
    from steelyard.io import weights
    from steelyard.measures.patch import save_patch
    from steelyard.text.differences import patch_line
    from steelyard.text.progress import following_all

    sources = [weights(path, scope=args.scope) for path in (args.before, args.after)]
    with following_all(sources, "comparing", PASSES) as (one, other):
        made = save_patch(one, other, args.out)
    if args.json:
        print_json({"before": args.before, "after": args.after, "out": args.out, **made.to_dict()})
    else:
        print(patch_line(made))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files."""
    parser.add_argument("before", metavar="BEFORE", help="the file that the patch will be applied to")
    parser.add_argument("after", metavar="AFTER", help="the file whose weights it will give")
    parser.add_argument("-o", "--out", required=True, metavar="PATCH", help="the patch to write, a .safetensors file")
    add_scope(parser)
