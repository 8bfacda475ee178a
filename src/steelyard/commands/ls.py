"""`steelyard ls`: list the weights of a file."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from steelyard.command_line import complain
from steelyard.commands import (
    Answer,
    add_explain,
    add_paths,
    add_selection,
    code_in,
    explain,
    judging,
    opened,
    print_each,
    warn_of_code,
)
from steelyard.errors import FormatError, SteelyardError, first_of, printable
from steelyard.running import one_line, trouble

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights
    from steelyard.text.files import FileRow
    from steelyard.text.terminal import Screen

_NAMED = 5
"""Archives that are named; of others the number is said."""


def run(args: argparse.Namespace) -> int:
    """List the weights of files with their shapes, dtypes, roles and totals.

    Several files, or a folder that is not one model, have a row each, and --weights, --stats, --all, --select or --role show the
    weights of each. -r looks into the folders below too, and follows no link out of them. Repeated blocks are folded into one,
    such as layers.[0-11]. Without --stats no number is read; with it every number is read, for a histogram of each weight on a
    common axis, and weights with NaN or Inf are reported, as are those that cannot be read (exit status 2).

    steelyard ls model.safetensors --stats
    """
    from steelyard.core.gc_pause import uncollected
    from steelyard.text.terminal import screen_of

    files, screen = _files(args), screen_of(sys.stdout)
    if len(files) > 1 and not (args.json or args.weights or args.stats or args.all or args.select or args.role):
        return _overview(files, screen, args)
    failed: list[FormatError] = []
    gap = ""

    def listed(file: str) -> Answer:
        nonlocal gap
        with _watched(opened(file, args), args) as weights:
            record, text, count = _record(file, weights, args) if args.json else _table(weights, screen, args)
        if count:
            failed.append(FormatError(file, f"{count:,} of {len(weights):,} weights cannot be read"))
        if len(files) > 1:
            text, gap = f"{gap}{screen.paint(printable(file), 'bold')}\n{text}", "\n"
        return Answer(record, text, weights)

    def closing() -> int:
        if args.explain:
            from steelyard.text.explanations import ROLES

            explain(args, ROLES)
        return max(map(trouble, failed), default=0)

    with uncollected():
        return print_each(files, listed, json=args.json, closing=closing)


def _files(args: argparse.Namespace) -> list[str]:
    """Return the files of the paths; raises `FormatError` if folders hold none."""
    from steelyard.paths import expanded, models_below

    if not args.recursive:
        return expanded(args.paths)
    files, links = models_below(args.paths)
    if links:
        complain(f"warning: {links:,} link{'s' * (links != 1)} out of the folder left out; name the files that they lead to")
    if not files:
        raise FormatError(" ".join(args.paths), "there is no weight file in it or in its folders")
    return files


def _overview(files: list[str], screen: Screen, args: argparse.Namespace) -> int:
    """Print a row for each file, and return the exit status: 2 if one cannot be listed."""
    from steelyard.core.gc_pause import uncollected
    from steelyard.paths import passed_over
    from steelyard.text.files import files_lines
    from steelyard.text.units import counted

    code: dict[str, list[str]] = {}
    with uncollected():
        rows = [_row(file, args, code) for file in files]
    if len(args.paths) == 1 and os.path.isdir(args.paths[0]):
        rows = [row._replace(file=os.path.relpath(row.file, args.paths[0])) for row in rows]
    print("\n".join(files_lines(rows, screen)))
    if below := 0 if args.recursive else sum(_folders(path) for path in args.paths):
        print(f"{below:,} folder{'s' * (below != 1)} not looked into; -r does")
    if left := passed_over(args.paths, files, deep=args.recursive):
        print(f"{counted(len(left), 'archive')} without a row: {first_of(left, _NAMED, _base)}; name one to look into it")
    warn_of_code(code)
    unlisted = sum(not row.is_listed for row in rows)
    return trouble(SteelyardError(f"{unlisted:,} of {len(rows):,} files cannot be listed")) if unlisted else 0


def _base(path: str) -> str:
    return printable(os.path.basename(path))


def _folders(path: str) -> int:
    """Count the folders in a folder, without hidden ones."""
    if not os.path.isdir(path):
        return 0
    return sum(entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") for entry in os.scandir(path))


def _row(file: str, args: argparse.Namespace, code: dict[str, list[str]]) -> FileRow:
    """Return the row of a file, and add what loading it would run to `code`."""
    from steelyard.formats import format_name
    from steelyard.text.files import FileRow, row_of

    try:
        with judging():
            weights = opened(file, args)
        code[file] = code_in(file, weights)
        return row_of(file, "" if "://" in file else format_name(file), weights, code[file])
    except (SteelyardError, OSError) as error:
        return FileRow(file, finding=one_line(error).removeprefix(f"{printable(file)}: "))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the amount of detail and the selection of weights."""
    add_paths(parser)
    parser.add_argument("-r", "--recursive", action="store_true", help="also list the files in the folders of a folder")
    parser.add_argument("--weights", action="store_true", help="list the weights of each of several files")
    parser.add_argument("--all", action="store_true", help="list every weight, without folding repeated blocks")
    parser.add_argument("--stats", action="store_true", help="read the numbers: histogram, min, mean, max, NaN and Inf")
    add_selection(parser)
    add_explain(parser)


def _watched(weights: Weights, args: argparse.Namespace) -> AbstractContextManager[Weights]:
    """Show progress while the numbers are read."""
    if not args.stats:
        return nullcontext(weights)
    from steelyard.text.progress import following

    return following(weights, "reading")


def _table(weights: Weights, screen: Screen, args: argparse.Namespace) -> tuple[dict[str, Any], str, int]:
    """Return an empty record, the table, and the number of weights that cannot be read."""
    from steelyard.measures.headline import on_top
    from steelyard.text.rows import measured, rows_of
    from steelyard.text.table import listing

    stats = list(measured(rows_of(weights, unfolded=args.all))) if args.stats else None
    lines = listing(weights, screen, unfolded=args.all, stats=stats, grouped=screen.width is not None, headline=on_top)
    return {}, "\n".join(lines), sum(each.error is not None for each in stats or ())


def _record(file: str, weights: Weights, args: argparse.Namespace) -> tuple[dict[str, Any], str, int]:
    """Return the record, an empty text, and the number of weights that cannot be read."""
    from steelyard.text.records import file_record

    record = file_record(file, weights, stats=args.stats)
    return record, "", sum("error" in weight and weight["tied"] is None for weight in record["weights"])
