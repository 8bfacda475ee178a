"""The commands of the terminal, one file each, and what several of them share.

A command is a module with two functions. `run(args)` does it and returns None or 0 for nothing to report, 1
for findings, 2 for trouble; its docstring is the help, and the docstring's last line an example.
`arguments(parser)` declares what it takes; `--json` is declared for all. What a command prints is made in
`text`, and whatever not every command needs is imported inside, since start-up time counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from steelyard.core.weight import Role
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.running import one_line, trouble

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights


def add_file(parser: argparse.ArgumentParser) -> None:
    """Declare the one file that a command reads."""
    parser.add_argument("file", metavar="FILE", help="a weight file, or a folder that is one model")


def add_before(parser: argparse.ArgumentParser) -> None:
    """Declare the older file that the file of a command is compared with."""
    parser.add_argument("--before", metavar="OLDER", help="an older file to compare with, of any format or framework")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Declare the files that a command reads one after another."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a weight file, a folder or a pattern like 'run*/*.pt'")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare which weights of a file are meant."""
    roles = [str(role) for role in Role]
    parser.add_argument(
        "--select", metavar="PATTERN", action="append", help="only names that match, as 'encoder.*'; may be given again"
    )
    parser.add_argument("--role", metavar="ROLE", choices=roles, help=f"only weights of this role: {', '.join(roles)}")
    add_scope(parser)


def add_scope(parser: argparse.ArgumentParser, default: str = "model") -> None:
    """Declare how much of a file is meant."""
    parser.add_argument(
        "--scope",
        choices=("model", "all"),
        default=default,
        help=f"the model's weights, or every tensor of the file, the optimizer's too (default: {default})",
    )


def opened(file: str, args: argparse.Namespace) -> Weights:
    """Open a file, and select from it, as the options say."""
    from steelyard.io import weights

    return selected(weights(file, scope=getattr(args, "scope", "model")), args, file)


def selected(found: Weights, args: argparse.Namespace, file: str) -> Weights:
    """Select from the weights of a file as the options say; a pattern that fits no name is a slip, and refused."""
    patterns, role = getattr(args, "select", None), getattr(args, "role", None)
    if patterns and found and not found.select(patterns):
        raise ShapeError(unmatched(file, patterns))
    return found.select(patterns or "*", role=role) if patterns or role else found


def unmatched(files: str, patterns: Iterable[str]) -> str:
    """Say that no name fits."""
    told = ", ".join(repr(printable(pattern)) for pattern in patterns)
    return f"{printable(files)}: no weight's name matches --select {told}; steelyard ls lists the names"


def each_file(paths: Iterable[str], work: Callable[[str], tuple[Any, str]]) -> tuple[int, list[Any]]:
    """Do something with each file that the paths stand for, and return the exit status and a record of each.

    `work` gives the record and the text to print. A file that cannot be read is told of on stderr, has the error as its
    record, and does not stop the others.
    """
    status, records = 0, []
    for file in paths:
        try:
            record, text = work(file)
        except (SteelyardError, OSError) as error:
            status = trouble(error)
            record, text = {"file": file, "error": one_line(error)}, ""
        records.append(record)
        if text:
            print(text)
    return status, records


def print_json(record: Any) -> None:
    """Print one JSON document."""
    from steelyard.text.records import as_json

    print(as_json(record))


def print_records(records: list[Any]) -> None:
    """Print the record of one file as it is, unless it is only an error, and those of several as a list."""
    if len(records) > 1 or "error" not in records[0]:
        print_json(records if len(records) > 1 else records[0])
