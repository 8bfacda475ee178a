"""`steelyard prune`: write a file with zeros for the least important elements, or without whole units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.commands import add_effective, add_file, add_scope, add_skip, code_in, print_json, unmatched, warn_of_code
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights


def run(args: argparse.Namespace) -> None:
    """Write the weights of a file with zeros for those elements of its kernels that are the smallest.

    --amount is the share of all elements that are zero afterwards, so that pruning twice is pruning once. The file stays as
    large, since zeros are stored like other numbers; the sizes of other layouts are printed. With --units, whole units go, with
    all that reads or normalises them, and the file shrinks: it must have its graph, as a .keras file does. With --dry-run nothing
    is written: a table has what would become of each weight.

    steelyard prune net.safetensors --amount 0.8 -o pruned.safetensors
    """
    from steelyard.core.selection import readable
    from steelyard.io import opened

    if not args.out and not args.dry_run:
        raise ShapeError("-o OUT is missing; pass it, or --dry-run to see what would become of the weights")
    code = code_in(args.file)  # before OUT may replace it
    weights, used = opened(args.file, args.scope)
    weights = readable(weights.effective() if args.effective else weights, skip_unreadable=args.skip_unreadable)
    (_units if args.units else _elements)(args, weights, used)
    warn_of_code({args.file: code})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, the amount, and the pruned weights."""
    add_file(parser)
    parser.add_argument("-o", "--out", metavar="OUT", help="the file to write, such as pruned.safetensors")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and print a table")
    parser.add_argument(
        "--amount", type=float, metavar="SHARE", help="the share of elements that are zero afterwards, such as 0.8"
    )
    parser.add_argument(
        "--by",
        choices=("global", "layer", "out", "in"),
        default="global",
        help="one threshold for all weights (the default) or for each; or whole rows or columns of each",
    )
    parser.add_argument(
        "--pattern", choices=("2:4", "4:8"), help="zero all but the 2 largest of every 4 (4 of 8) along the inputs"
    )
    parser.add_argument(
        "--units",
        metavar="[LAYER=]SHARE",
        action="append",
        help="remove a share of the units of every layer, or of one; may be repeated",
    )
    parser.add_argument("--score", choices=("l2", "bn"), default="l2", help="what ranks units: norms of kernels, or batch norms")
    parser.add_argument("--select", metavar="PATTERN", action="append", help="prune only names that match; may be repeated")
    roles = [str(role) for role in Role]
    parser.add_argument("--role", metavar="ROLE", choices=roles, help="prune weights of this role (default: kernel)")
    add_scope(parser)
    add_skip(parser)
    add_effective(parser)


def _elements(args: argparse.Namespace, weights: Weights, used: set[str]) -> None:
    from steelyard.editing.pruning import FACTS, prune
    from steelyard.text.progress import following

    if args.select and not weights.select(args.select, missing_ok=True):
        raise ShapeError(unmatched(args.file, args.select))
    pattern, role = args.select or "*", args.role or (None if args.select else "kernel")
    if not weights.select(pattern, role=role, missing_ok=True):
        way = "leave --role out, or choose other names" if args.select else "--select chooses weights by name"
        raise ShapeError(f"{printable(args.file)}: no weight is known to have the role {role}; {way}")
    select = {"pattern": pattern, "role": role}
    with following(weights, "pruning", 3) as watched:  # two to find the threshold
        made = prune(watched, args.amount, by=args.by, pattern=args.pattern, select=select)
        if args.dry_run:
            _print_rows(args, weights, made)
        else:
            _written(args, made, used, {FACTS: made.meta[FACTS]}, made.meta["notes"])


def _print_rows(args: argparse.Namespace, weights: Weights, made: Weights) -> None:
    """Print how many elements of each weight are zero, before and after."""
    from steelyard.editing.pruning import FACTS, zeros_of

    facts = made.meta[FACTS]
    rows = [(weights[name].size, zeros_of(weights[name]), zeros_of(made[name]), name) for name in facts["weights"]]
    if args.json:
        listed = [{"weight": name, "size": size, "zeros_before": was, "zeros": now} for size, was, now, name in rows]
        print_json({"in": args.file, "out": None, FACTS: facts, "rows": listed})
        return
    cells = [("size", "zero before", "zero", "weight")]
    cells += [(f"{size:,}", f"{was / size:.1%}", f"{now / size:.1%}", printable(name)) for size, was, now, name in rows]
    wide = [max(len(row[nth]) for row in cells) for nth in range(3)]
    for row in cells:
        print("  ".join([*(cell.rjust(width) for cell, width in zip(row[:3], wide, strict=True)), row[3]]))
    print(*made.meta["notes"], sep="\n")


def _units(args: argparse.Namespace, weights: Weights, used: set[str]) -> None:
    from steelyard.editing.units import prune_units
    from steelyard.text.progress import following

    if args.amount is not None or args.pattern or args.select or args.role:
        raise ShapeError("--units is the share of units that go; use it without --amount, --pattern, --select and --role")
    plan = prune_units(weights, _shares(args.units), score=args.score)
    if args.dry_run:
        print_json({"in": args.file, "out": None, **plan.to_dict()}) if args.json else print(plan)
        return
    with following(plan.weights, "pruning") as watched:
        _written(args, watched, used, plan.to_dict(), str(plan).splitlines())


def _shares(given: list[str]) -> float | dict[str, float]:
    """Return the share of the units of all layers, or of each named one. Raises `ShapeError` for anything else."""
    named = [text.rpartition("=") for text in given]
    try:
        shares = {layer: float(share) for layer, _, share in named}
    except ValueError:
        raise ShapeError(f"--units takes a share such as 0.5, or fc1=0.5, not {', '.join(map(printable, given))}") from None
    if "" in shares and len(given) > 1:
        raise ShapeError("--units takes one share for all layers, or LAYER=SHARE for each of some")
    return shares.get("", shares)


def _written(args: argparse.Namespace, made: Weights, used: set[str], record: dict[str, Any], lines: list[str]) -> None:
    from steelyard.io import write
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    out = write(made, args.out, used)
    if args.json:
        print_json({"in": args.file, "out": out, "total": file_record(out, made)["total"], **record})
    else:
        print(f"{printable(out)}: {totals(made)}", *lines, sep="\n")
