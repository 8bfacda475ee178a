"""`steelyard average`: write the average of the weights of several files."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from steelyard.commands import (
    add_engine_of_writing,
    add_paths,
    code_in,
    from_workers,
    print_json,
    refuse_engine,
    shard_size,
    warn_of_code,
)
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


def run(args: argparse.Namespace) -> None:
    """Average the weights of several files, such as checkpoints or folds, and write them to another file.

    All files must have the same names and shapes; they may have different formats. A folder stands for its weight files. Sums
    are computed in float32 and rounded once. --decay gives an exponential average, for which files count in the order given.
    OUT replaces an existing file only when it is complete, so it may be one of the files; its suffix determines the format.
    With --dry-run the share of each file is printed, and nothing is written.

    steelyard average run/*.pt -o average.safetensors --decay 0.99
    """
    from steelyard.core.net_facts import noted
    from steelyard.destinations import destination
    from steelyard.io import opened, save
    from steelyard.paths import expanded
    from steelyard.text.progress import following

    if not args.out and not args.dry_run:
        raise ShapeError("average needs -o OUT, the file to write, or --dry-run")
    files = expanded(args.paths)
    read = [opened(file, args.scope) for file in files]
    made = _averaged(args, [model for model, _ in read])
    notes = [*_order(args, files), *noted(made.meta)]
    if args.dry_run:
        refuse_engine(args)
        _show(args, files, made, notes)
        return
    code = {file: code_in(file) for file in files}  # before OUT may replace one of them
    # a model in one file may be replaced by the result, a file of several may not
    _, out = destination(made, args.out, {path for _, used in read if len(used) > 1 for path in used}, args.shard_size)
    made = from_workers(args, made, _made, files)
    with following(made, "averaging") as watched:
        save(watched, args.out, shard_size=args.shard_size)
    _tell(args, out, files, made, notes, code)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the kind of average, and the file to write."""
    add_paths(parser)
    parser.add_argument("-o", "--out", metavar="OUT", help="the file to write, of any format")
    parser.add_argument("--dry-run", action="store_true", help="show the share of each file, and write nothing")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--weights", type=_numbers, metavar="W,W", help="a number for each file, such as its count of examples")
    kinds.add_argument("--decay", type=float, metavar="D", help="an exponential average with this decay, such as 0.99")
    kinds.add_argument("--median", action="store_true", help="the median of each number")
    kinds.add_argument("--trim", type=float, metavar="SHARE", help="leave out this share of the files on each side, by number")
    parser.add_argument("--exact", action="store_true", help="sum in float64, which does not depend on the order of the files")
    parser.add_argument(
        "--buffers",
        choices=("average", "last"),
        default="average",
        help="running statistics: averages, or the last file's",
    )
    parser.add_argument("--dtype", metavar="DTYPE", help="cast floats of the result, for example to float16")
    parser.add_argument("--shard-size", type=shard_size, metavar="SIZE", help="write shards of at most this size, such as 5GB")
    parser.add_argument(
        "--scope", choices=("model", "all"), default="model", help="the model's weights, or every tensor (default: model)"
    )
    add_engine_of_writing(parser)


def _made(args: argparse.Namespace) -> Weights:
    """Return the average of the files that the arguments name, for a worker."""
    from steelyard.io import weights
    from steelyard.paths import expanded

    return _averaged(args, [weights(file, scope=args.scope) for file in expanded(args.paths)])


def _averaged(args: argparse.Namespace, models: list[Weights]) -> Weights:
    from steelyard.editing.averaging import average, ema, median, trimmed

    if args.median:
        made = median(models)
    elif args.trim is not None:
        made = trimmed(models, args.trim)
    elif args.decay is not None:
        made = ema(models, args.decay, exact=args.exact, buffers=args.buffers)
    else:
        made = average(models, args.weights, exact=args.exact, buffers=args.buffers)
    return made.astype(args.dtype) if args.dtype else made


def _order(args: argparse.Namespace, files: list[str]) -> list[str]:
    """Return a note where an exponential average takes files in alphabetical order, and their numbers are in another."""
    if args.decay is None:
        return []
    by_number = sorted(files, key=lambda file: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file)])
    if files != sorted(files) or files == by_number:
        return []
    early, late = next(pair for pair in zip(files, by_number, strict=True) if pair[0] != pair[1])
    return [f"files count in the order given, in which {printable(early)} comes before {printable(late)}"]


def _show(args: argparse.Namespace, files: list[str], made: Weights, notes: list[str]) -> None:
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    shares = _shares(args, len(files))
    if args.json:
        total = file_record(files[0], made)["total"]
        print_json({"in": files, "shares": shares, "total": total, "notes": notes})
        return
    for nth, file in enumerate(files):
        print(f"{shares[nth]:>10.4%}  {printable(file)}" if shares else f"  {printable(file)}")
    for note in (*_middle(args, len(files)), *notes):
        print(printable(note, 1000))
    print(f"nothing was written; the result has {totals(made)}")


def _shares(args: argparse.Namespace, count: int) -> list[float] | None:
    """Return the share of each file in the result; None for a median or a trimmed mean, in which they have none."""
    from steelyard.editing.averaging.decays import decays, factors_of

    if args.median or args.trim is not None:
        return None
    if args.decay is not None:
        return factors_of(decays(count - 1, args.decay, None, 0))
    numbers = args.weights or [1.0] * count
    return [number / sum(numbers) for number in numbers]


def _middle(args: argparse.Namespace, count: int) -> list[str]:
    if args.median:
        return [f"the median of {count} numbers each"]
    return [] if args.trim is None else [f"the mean of {count - 2 * int(args.trim * count)} of {count} numbers each"]


def _tell(
    args: argparse.Namespace, out: str, files: list[str], made: Weights, notes: list[str], code: dict[str, list[str]]
) -> None:
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    if args.json:
        record: dict[str, Any] = {"in": files, "out": out, "total": file_record(out, made)["total"]}
        print_json({**record, "notes": notes, "would_run": code})
    else:
        for note in notes:
            print(printable(note, 1000))
        print(f"{printable(out)}: {totals(made)}")
    warn_of_code(code)


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers separated by commas") from None
