"""`steelyard merge`: merge several models into one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_effective, code_in, print_json, shard_size, warn_of_code
from steelyard.errors import ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.editing.merging.plan import Plan

_GIVEN = ("weights", "density", "t", "scale", "gamma", "seed", "rescale", "majority", "divide", "scope", "along")
_WORDS = ("rescale", "majority", "divide", "scope", "along")


def run(args: argparse.Namespace) -> None:
    """Merge models into one, weight by weight, or by a recipe in mergekit's words.

    The first file is the base of the methods that add changes to one, and else the first of the models. All must have the same
    names and shapes; they may have different formats. A single file that ends in .yml, .yaml or .json is a recipe. OUT gets the
    recipe in its metadata, and replaces an existing file only when it is complete; its suffix determines the format.
    With --dry-run a table shows how each weight would be merged, and nothing is written.

    steelyard merge base.safetensors code.safetensors maths.safetensors --method ties --density 0.2 -o merged.safetensors
    """
    if not args.out and not args.dry_run:
        raise ShapeError("merge needs -o OUT, the file to write, or --dry-run")
    used: list[set[str]] = []
    read: list[str] = []

    def opened(path: str) -> Weights:
        from steelyard.io import opened

        weights, files = opened(path)
        read.append(path)
        used.append(files)
        return weights.effective() if args.effective else weights

    plan = _plan(args, opened)
    if args.dry_run:
        _show(args, plan, read)
        return
    code = {path: code_in(path) for path in read}  # before OUT may replace one of them
    # a model in one file may be replaced by the result, a file of several may not
    _write(args, plan, read, {file for files in used if len(files) > 1 for file in files}, code)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the models, the method and its parameters, and the file to write."""
    from steelyard.editing.merging.methods import ALIASES, METHODS
    from steelyard.editing.merging.request import CHOICES

    parser.add_argument("files", metavar="FILE", nargs="+", help="a weight file, or a folder that is one model; or one recipe")
    parser.add_argument("-o", "--out", metavar="OUT", help="the file to write, of any format")
    parser.add_argument("--dry-run", action="store_true", help="show how each weight would be merged, and write nothing")
    parser.add_argument(
        "--method", metavar="METHOD", choices=[*METHODS, *ALIASES], help=f"{', '.join(METHODS)} (default: linear)"
    )
    each = "a number for all models, or one for each, such as 0.5,0.3"
    parser.add_argument("--weights", type=_numbers, metavar="W", help=f"the share of each model: {each}")
    parser.add_argument("--density", type=_numbers, metavar="P", help=f"the share of each change that is kept: {each}")
    parser.add_argument("--t", type=float, metavar="T", help="the place between the first model, 0, and the second, 1 (slerp)")
    parser.add_argument("--scale", type=float, metavar="S", help="the factor of all changes")
    parser.add_argument("--gamma", type=float, metavar="G", help="the share of the greatest changes that breadcrumbs drops")
    parser.add_argument("--seed", type=int, metavar="N", help="the seed of random masks (default: 0)")
    for word in _WORDS:
        choices = [str(choice).lower() for choice in CHOICES[word]]
        parser.add_argument(f"--{word}", choices=choices, help=f"as in steelyard.merge: {', '.join(choices)}")
    parser.add_argument("--per", metavar="'PATTERN=W'", action="append", default=[], help="other weights (or t) for some names")
    parser.add_argument("--missing", choices=CHOICES["missing"], help="what a name is that a model lacks (default: error)")
    parser.add_argument(
        "--rows", choices=CHOICES["rows"], help="what rows of an embedding are that a model lacks (default: error)"
    )
    parser.add_argument("--dtype", metavar="DTYPE", help="the type of the result (default: the promoted one of all models)")
    add_effective(parser)
    parser.add_argument("--exact", action="store_true", help="compute in float64")
    parser.add_argument("--shard-size", type=shard_size, metavar="SIZE", help="write shards of at most this size, such as 5GB")


def _plan(args: argparse.Namespace, opened: Any) -> Plan:
    """Return the plan of a recipe, or of the arguments."""
    from steelyard.editing.merging.plan import plan
    from steelyard.editing.merging.recipes import is_recipe, planned

    given = {word: _value(getattr(args, word)) for word in _GIVEN if getattr(args, word) is not None}
    ways = {"per": _per(args.per), "missing": args.missing, "rows": args.rows, "dtype": args.dtype}
    if len(args.files) == 1 and is_recipe(args.files[0]):
        if given or any(ways.values()) or args.method or args.exact:
            raise ShapeError(f"{printable(args.files[0])} is a recipe, which has the parameters of a merge; leave out the others")
        return planned(args.files[0], opened)
    models = [opened(path) for path in args.files]
    chosen: dict[str, Any] = {key: value for key, value in ways.items() if value}
    return plan(models, args.files, args.method or "linear", given, has_first=True, exact=args.exact, **chosen)


def _value(given: Any) -> Any:
    """Return what `merge` takes for a word of the command line."""
    return False if given == "false" else given


def _per(rules: list[str]) -> dict[str, float] | None:
    made = {}
    for rule in rules:
        pattern, _, number = rule.rpartition("=")
        try:
            made[pattern] = float(number)
        except ValueError:
            pattern = ""
        if not pattern:
            raise ShapeError(f"--per {quoted(rule)} is not a pattern, '=' and a number, such as '*attn*=0.5'")
    return made or None


def _show(args: argparse.Namespace, plan: Plan, files: list[str]) -> None:
    from steelyard.text.merges import merge_lines, row_record

    if args.json:
        print_json({"in": files, "recipe": plan.recipe, "weights": [row_record(row) for row in plan.rows()]})
        return
    for line in merge_lines(plan):
        print(line)


def _write(args: argparse.Namespace, plan: Plan, files: list[str], used: set[str], code: dict[str, list[str]]) -> None:
    from steelyard.core.net_facts import noted
    from steelyard.io import write
    from steelyard.text.progress import following
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    merged = plan.merged()
    with following(merged, "merging") as watched:
        out = write(watched, args.out, used, args.shard_size)
    notes = noted(merged.meta)
    if args.json:
        total = file_record(out, merged)["total"]
        print_json({"in": files, "out": out, "recipe": plan.recipe, "total": total, "notes": notes, "would_run": code})
    else:
        for note in notes:
            print(printable(note, 1000))
        print(f"{printable(out)}: {totals(merged)}")
    warn_of_code(code)


def _numbers(text: str) -> float | list[float]:
    """Return a number, or several that commas separate."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or numbers separated by commas") from None
    return numbers if "," in text else numbers[0]
