"""`steelyard size`: count a file's parameters by layer, and its bytes in other types."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import Answer, add_explain, add_paths, add_table, csv_text, explain, print_each, require_one
from steelyard.commands import shard_size as memory_size
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse

    from steelyard.measures.size import Size
    from steelyard.text.terminal import Screen


def run(args: argparse.Namespace) -> int:
    """Count the parameters of files by layer, with their shares, and their bytes in other types.

    Repeated blocks share one row, such as h.[0-11]. Buffers are counted apart, tied weights once, packed ones as the numbers
    that they stand for. Below are the bytes of all weights as float32 down to q4_K, and whether they fit into the memory of
    --fits. The optimizer's state and other tensors of a checkpoint are counted beside the model. No number is read.

    steelyard size model.safetensors --fits 8GB
    """
    from steelyard.measures.size import size
    from steelyard.paths import expanded
    from steelyard.text.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    require_one(args, files)

    def of_file(file: str) -> Answer:
        result = size(file, scope=args.scope)
        if args.out:
            result.write(args.out)
            return Answer({"out": args.out}, "")
        text = "" if args.json else _text(result, screen, args)
        if len(files) > 1 and text and not args.csv:
            text = f"{screen.paint(printable(file), 'bold')}\n{text}\n"
        return Answer(_record(result, args) if args.json else {}, text)

    def closing() -> None:
        if args.explain and not args.csv and not args.out:
            from steelyard.text.explanations import SIZES

            explain(args, SIZES)

    return print_each(files, of_file, json=args.json, closing=closing)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the depth of the tree, the memory, and the output."""
    from steelyard.commands import add_scope

    add_paths(parser)
    parser.add_argument(
        "--fits", metavar="MEMORY", type=memory_size, help="say which types fit into a memory, such as 8GB or 24GiB"
    )
    parser.add_argument("--depth", metavar="N", type=_depth, help="levels of the tree (default: as many as have at most 40 rows)")
    add_table(parser, "the tree of one file")
    add_scope(parser, "all")
    add_explain(parser)


def _depth(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isascii() or not text.isdecimal() or not int(text[:9]):
        raise ArgumentTypeError(f"{text!r} is not a number of levels; write 1, 2, 3 ...")
    return int(text[:9])


def _record(result: Size, args: argparse.Namespace) -> dict[str, Any]:
    fits = {} if args.fits is None else {"fits": result.fits(args.fits / 1e9)}
    return {**result.to_dict(), **fits}


def _text(result: Size, screen: Screen, args: argparse.Namespace) -> str:
    from steelyard.text.sizes import size_lines

    if args.csv:
        return csv_text(result)
    return "\n".join(size_lines(result, screen, args.depth and args.depth - 1, args.fits))
