"""`steelyard grid`: print a net as a grid of its blocks and their parts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import (
    add_before,
    add_explain,
    add_file,
    add_selection,
    add_table,
    code_in,
    csv_text,
    explain,
    opened,
    print_json,
    warn_of_code,
)
from steelyard.measures.grid.words import OF_ONE, OF_TWO

if TYPE_CHECKING:
    import argparse

    from steelyard.measures.grid import Grid


def run(args: argparse.Namespace) -> int:
    """Print a net as a grid: rows are its blocks, such as h.0 to h.11, and columns their parts, such as attn.q and mlp.up.

    A cell has one number of its weight: the standard deviation, or another statistic that --value names. With --before it is the
    relative change since an older file, which shows at a glance which layers changed: "=" is equal in every bit. A net without
    repeated blocks has a row for each layer. Weights outside of the blocks, such as embeddings, are below the grid.

    steelyard grid finetuned.safetensors --before base.safetensors
    """
    found = _measured(args)
    files = [args.file] if args.before is None else [args.file, args.before]
    code = {file: code_in(file) for file in files}
    if args.out:
        found.write(args.out)
    if args.json:
        from steelyard.text.records import plain

        names = {"file": args.file} | ({"before": args.before} if args.before is not None else {})
        out = {"out": args.out} if args.out else plain(found.to_dict())
        print_json({**names, **out, "would_run": code if args.before is not None else code[args.file]})
    elif not args.out:
        print(csv_text(found) if args.csv else _text(found))
        _explain(found, args)
    warn_of_code(code)
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the number that a cell has, and the output."""
    add_file(parser)
    add_before(parser)
    parser.add_argument(
        "--value",
        choices=[word.replace("_", "-") for word in (*OF_ONE, *OF_TWO)],
        help=f"the number of a cell (default: std); with --before one of {', '.join(OF_TWO)} (default: change)",
    )
    add_table(parser, "the cells, one per line,")
    add_selection(parser)
    add_explain(parser)


def _measured(args: argparse.Namespace) -> Grid:
    from steelyard.measures.grid import grid
    from steelyard.text.progress import following, following_all

    value = None if args.value is None else args.value.replace("-", "_")
    after = opened(args.file, args)
    if args.before is None:
        with following(after, "reading") as watched:
            return grid(watched, value=value)
    with following_all([after, opened(args.before, args)], "comparing") as (one, other):
        return grid(one, value=value, before=other)


def _explain(found: Grid, args: argparse.Namespace) -> None:
    """Explain the value of the cells, and the marks that stand in some."""
    if args.explain and not args.csv:
        from steelyard.text.explanations import GRIDS
        from steelyard.text.grid_cells import COMPARING

        marks = ("=", "new, gone", "shape", "!", "?") if found.value in COMPARING else ("!", "?")
        explain(args, GRIDS, (found.value.replace("_", "-"), *marks))


def _text(found: Grid) -> str:
    from steelyard.text.grid_text import grid_lines
    from steelyard.text.terminal import screen_of

    return "\n".join(grid_lines(found, screen_of(sys.stdout)))
