"""The commands of the terminal, one file each, and the functions that several of them share.

A command is a module with two functions. `run(args)` runs it and returns None or 0 for nothing to report, 1
for findings, 2 for errors; its docstring is the help text, whose last line is an example.
`arguments(parser)` declares its arguments; `--json` is declared for all. The package `text` makes the output.
Modules that only some commands need are imported inside functions, to keep start-up fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.weight import Role
from steelyard.errors import ShapeError, SteelyardError, printable, quoted
from steelyard.running import one_line, trouble

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from steelyard.codecs.pickle.machine import Machine
    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights
    from steelyard.engines.calls import Asked, Stream
    from steelyard.engines.opening import Opening
    from steelyard.text.tabular import Tabular


def add_file(parser: argparse.ArgumentParser) -> None:
    """Declare the one file that a command reads."""
    parser.add_argument("file", metavar="FILE", help="a weight file, or a folder that is one model")


def add_before(parser: argparse.ArgumentParser) -> None:
    """Declare the older file with which a command compares its file."""
    parser.add_argument("--before", metavar="OLDER", help="an older file to compare with, of any format or framework")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Declare the files that a command reads in turn."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a weight file, a folder or a pattern like 'run*/*.pt'")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare the options that select some of a file's weights."""
    roles = [str(role) for role in Role]
    parser.add_argument(
        "--select", metavar="PATTERN", action="append", help="only names that match, such as 'encoder.*'; may be repeated"
    )
    parser.add_argument("--role", metavar="ROLE", choices=roles, help=f"only weights of this role: {', '.join(roles)}")
    add_scope(parser)
    add_skip(parser)
    add_effective(parser)
    parser.add_argument(
        "--fold", choices=("norms",), help="like --effective, with batch norms folded into the layers before them"
    )


def add_effective(parser: argparse.ArgumentParser) -> None:
    """Declare the option for the weights that a net computes with."""
    what = "the weights that the layers compute with: dequantised, masked, normalised, under the names of plain layers"
    parser.add_argument("--effective", action="store_true", help=what)


def add_explain(parser: argparse.ArgumentParser) -> None:
    """Declare the option that explains the words of the output."""
    parser.add_argument("--explain", action="store_true", help="also print what the words of the output mean")


def explain(args: argparse.Namespace, terms: Mapping[str, str], used: Iterable[str] | None = None) -> None:
    """Print what the terms mean if --explain asks for that and JSON is not printed; with `used`, of these alone."""
    if args.explain and not args.json:
        from steelyard.text.explanations import explained
        from steelyard.text.terminal import screen_of

        print("\n".join(explained(terms, screen_of(sys.stdout), used)))


def add_table(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the ways to take a table elsewhere: `what` is "the table of one file", or its other name."""
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--csv", action="store_true", help=f"print {what.removesuffix(' of one file')} as CSV, with every digit")
    ways.add_argument("-o", "--out", metavar="TABLE", help=f"write {what} to a .csv, .json or .parquet file")


def require_one(args: argparse.Namespace, files: Sequence[str]) -> None:
    """Raise `ShapeError` if several files are given, and --out, which writes the table of one."""
    if args.out and len(files) != 1:
        raise ShapeError(f"-o writes the table of one file, but {len(files):,} are given")


def csv_text(result: Tabular) -> str:
    """Return the table of a result as CSV."""
    from steelyard.text.frames import csv_lines

    return "\n".join(csv_lines(result.to_columns()))


def add_skip(parser: argparse.ArgumentParser) -> None:
    """Declare the option that leaves out weights that cannot be read."""
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out weights that cannot be read, with a warning")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Declare the options for work by several processes."""
    group = parser.add_argument_group("many workers", "the result is the same to the last bit; docs/scale.md has more")
    group.add_argument("--engine", choices=("threads", "dask", "ray", "joblib"), help="who reads the files; threads by default")
    _add_workers(group)
    group.add_argument("--resume", metavar="JOURNAL", help="write finished parts into this file, and leave out those in it")
    group.add_argument("--progress", action="store_true", help="count finished files on stderr, also where it is no terminal")


def _add_workers(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=int, metavar="N", help="threads or processes that are started, two by default")
    group.add_argument("--scheduler", metavar="ADDRESS", help="a cluster of Dask or Ray that runs, such as tcp://host:8786")


def add_engine_of_writing(parser: argparse.ArgumentParser) -> None:
    """Declare the options for numbers that several processes compute, and this one writes."""
    what = "the file is the same to the last bit; what is only copied is copied here; docs/scale.md has more"
    group = parser.add_argument_group("many workers", what)
    engines = ("threads", "dask", "ray", "joblib")
    group.add_argument("--engine", choices=engines, help="who computes the numbers; this thread by default")
    _add_workers(group)


def from_workers(
    args: argparse.Namespace, made: Weights, make: Callable[[argparse.Namespace], Weights], paths: Iterable[str]
) -> Weights:
    """Return weights made of files, with numbers of workers, which make them by `make`; unchanged if none are asked for."""
    asked = asked_of(args)
    if asked is None:
        return made
    from functools import partial

    from steelyard.engines.numbers import from_workers

    return from_workers(made, partial(make, args), paths, asked)


def refuse_engine(args: argparse.Namespace) -> None:
    """Raise `ShapeError` where workers are asked for, and nothing is written that they would compute."""
    if asked_of(args) is not None:
        raise ShapeError("--dry-run writes nothing, and is done by this process; leave out --engine, --workers and --scheduler")


def asked_of(args: argparse.Namespace) -> Asked | None:
    """Return what the options ask of an engine; None if nothing."""
    resume = getattr(args, "resume", None)
    if not any((args.engine, args.workers is not None, args.scheduler, resume)):
        return None
    from steelyard.engines.calls import Asked

    return Asked(args.engine, args.workers, resume, args.scheduler)


def opening_of(file: str, args: argparse.Namespace) -> Opening:
    """Return how another process opens a file, and selects from it by the options."""
    from steelyard.engines.opening import Opening

    effective, select = getattr(args, "effective", False), tuple(getattr(args, "select", None) or ())
    fold, role, skip = getattr(args, "fold", None), getattr(args, "role", None), getattr(args, "skip_unreadable", False)
    return Opening(file, getattr(args, "scope", "model"), effective, fold, select, role, skip).stamped()


@contextmanager
def streamed(
    files: Iterable[str], args: argparse.Namespace, measure: Callable[..., Any], *given: object, scope: Scope | None = None
) -> Iterator[Stream | None]:
    """Yield the stream of what an engine finds of the files by `measure`, called with what is given and an opening.

    None if the options ask for no engine.
    """
    asked = asked_of(args)
    if asked is None:
        yield None
        return
    from functools import partial

    from steelyard.engines.calls import streamed as stream

    openings = (opening_of(file, args) for file in files)
    meant = [each if scope is None else each._replace(scope=scope) for each in openings]
    with stream(partial(measure, *given), meant, asked, progress=args.progress) as found:
        yield found


@contextmanager
def jobs_shipped(files: Iterable[str], sources: Iterable[Weights], args: argparse.Namespace) -> Iterator[bool]:
    """Have the jobs of this block that read the weights of the files done by an engine; false if the options ask for none."""
    asked = asked_of(args)
    if asked is None:
        yield False
        return
    from steelyard.engines.shipping import shipped

    openings = [opening_of(file, args) for file in files]
    asked.require_versions(openings)
    with asked.started() as (engine, journal), shipped(engine, zip(sources, openings, strict=True), journal):
        yield True


def add_scope(parser: argparse.ArgumentParser, default: str = "model") -> None:
    """Declare the option for how much of a file is listed."""
    parser.add_argument(
        "--scope",
        choices=("model", "all"),
        default=default,
        help=f"the model's weights, or every tensor of the file, including the optimizer's (default: {default})",
    )


def opened(file: str, args: argparse.Namespace) -> Weights:
    """Open a file, and select weights from it by the options."""
    from steelyard.io import weights

    return selected(weights(file, scope=getattr(args, "scope", "model")), args, file)


def selected(weights: Weights, args: argparse.Namespace, file: str) -> Weights:
    """Select from the weights of a file by the options; a pattern without a match is an error, since it is probably a typo."""
    fold = getattr(args, "fold", None)
    weights = weights.effective(fold) if fold or getattr(args, "effective", False) else weights
    patterns, role = getattr(args, "select", None), getattr(args, "role", None)
    if patterns and weights and not weights.select(patterns, missing_ok=True):
        raise ShapeError(unmatched(file, patterns))
    weights = weights.select(patterns or "*", role=role, missing_ok=True) if patterns or role else weights
    if getattr(args, "skip_unreadable", False):
        from steelyard.core.selection import readable

        weights = readable(weights, skip_unreadable=True)
    return weights


def unmatched(files: str, patterns: Iterable[str]) -> str:
    """Return the error message for patterns that match no name."""
    given = ", ".join(quoted(pattern) for pattern in patterns)
    return f"{printable(files)}: no weight's name matches --select {given}; steelyard ls lists the names"


def each_file(paths: Iterable[str], work: Callable[[str], tuple[Any, str]]) -> tuple[int, list[Any]]:
    """Run `work` on each file, and return the exit status and a record of each.

    `work` returns the record and the text to print. A file that cannot be read is reported on stderr, has the error as its
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


class Answer(NamedTuple):
    """What a command says of a file: a record for JSON, a text, and the weights if they have been listed."""

    record: dict[str, Any]
    text: str
    listed: Weights | None = None


def print_each(
    paths: Iterable[str], work: Callable[[str], Answer], *, json: bool, closing: Callable[[], int | None] | None = None
) -> int:
    """Print the text of each file, or with `json` all records, and what the files would run; return the exit status.

    The file's name and what it would run are added to the records here. What `closing` prints follows the texts; it may return
    another status.
    """
    code: dict[str, list[str]] = {}

    def noted(file: str) -> tuple[Any, str]:
        with judging():
            answer = work(file)
        code[file] = code_in(file, answer.listed)
        return {"file": file, **answer.record, "would_run": code[file]}, "" if json else answer.text

    status, records = each_file(paths, noted)
    if json:
        print_records(records)
    status = (closing() if closing else None) or status
    warn_of_code(code)
    return status


def judging() -> AbstractContextManager[None]:
    """Judge pickles as they are read within the block, so that `code_in` need not run them again."""
    from steelyard.codecs.pickle.judging import judged_by

    def judge(machine: Machine, spent: int) -> object:
        from steelyard.auditing.pickles import judge  # only if there is a pickle

        return judge(machine, spent)

    return judged_by(judge)


def code_in(file: str, listed: Weights | None = None) -> list[str]:
    """Return what loading a file, of which these weights may have been `listed`, with its own library would run.

    Empty for a folder at a URL, since each of its files would take a request.
    """
    from steelyard.core.net_facts import opened_file
    from steelyard.formats import holds_numbers_only
    from steelyard.storage.opening import open_source

    known = opened_file(listed) if listed is not None else None
    source = known[0] if known is not None else open_source(file)
    if holds_numbers_only(source) or (source.is_far and source.is_folder):
        return []
    from steelyard.auditing.quick import would_run

    return would_run(file, listed)


def warn_of_code(found: Mapping[str, Sequence[str]]) -> None:
    """Print a line on stderr for each file that would run code if its own library loaded it."""
    from steelyard.text.audits import code_line

    sys.stdout.flush()  # the line is the last
    for file, ran in found.items():
        if ran:
            print(f"warning: {code_line(file, ran)}", file=sys.stderr)


def print_json(record: Any) -> None:
    """Print one JSON document."""
    from steelyard.text.records import as_json

    print(as_json(record))


def print_records(records: list[Any]) -> None:
    """Print the record of one file unless it is an error, and the records of several files as a list."""
    if len(records) > 1 or "error" not in records[0]:
        print_json(records if len(records) > 1 else records[0])


def shard_size(text: str) -> int:
    """Return the bytes of an option such as "5GB"."""
    from argparse import ArgumentTypeError

    from steelyard.converting import size_of

    try:
        return size_of(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
