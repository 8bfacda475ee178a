"""The commands: one function each.

A new command is one function, whose docstring is its help (the last line an example), and one entry in
`COMMANDS` with a function that declares its arguments; `--json` is declared for all. It returns None or 0 for
nothing to report, 1 for findings, 2 for trouble. What it prints is made in `views`, and whatever not every
command needs is imported inside, since start-up time counts.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steelyard.core.weight import Role
from steelyard.errors import NonFiniteWarning, ShapeError, SteelyardError, printable
from steelyard.running import one_line, run, trouble

if TYPE_CHECKING:
    import argparse

    from steelyard.core.weights import Weights
    from steelyard.running import Commands
    from steelyard.views.terminal import Screen


def ls(args: argparse.Namespace) -> int:
    """List the weights of files with shape, dtype, role and totals.

    Blocks that a model repeats are folded into one, as layers.[0-11]. No number is read, but with --stats
    every one is: a histogram of each weight, all on one axis, and which weights hold NaN or Inf.

    steelyard ls model.safetensors --stats
    """
    from steelyard.views.terminal import screen_of

    status, records, screen = 0, [], screen_of(sys.stdout)
    for nth, file in enumerate(args.file):
        try:
            found = _weights(file, args)
            if args.json:
                records.append(_record(file, found, args))
            else:
                text = _table(found, screen, args)
        except (SteelyardError, OSError) as error:
            status = trouble(error)
            records.append({"file": file, "error": one_line(error)})
            continue
        if not args.json:
            print(_headed(nth, file, text, screen) if len(args.file) > 1 else text)
    if args.json and (len(records) > 1 or not status):
        _print_json(records if len(records) > 1 else records[0])
    return status


def show(args: argparse.Namespace) -> None:
    """Show one weight: its facts, its range and its numbers.

    NaN and Inf are counted, and the first is named. The middle of a large weight is left out; --json gives
    all of it.

    steelyard show model.safetensors fc1.weight
    """
    found = _weights(args.file, args)
    if args.name is None and len(found) != 1:
        raise ShapeError(f"{printable(args.file)} has {len(found):,} weights; say which one (steelyard ls lists them)")
    weight = found[next(iter(found)) if args.name is None else args.name]
    if args.json:
        from steelyard.views.records import values_record, weight_record

        _print_json({"file": args.file, **weight_record(weight, stats=True), "values": values_record(weight)})
        return
    from steelyard.views.tensor import described
    from steelyard.views.terminal import screen_of

    for line in described(weight, screen_of(sys.stdout)):
        print(line)


def vector(args: argparse.Namespace) -> None:
    """Write all weights as one flat vector into a .npy file.

    They stand in the listed order, tied ones once. With --order F each is flattened by columns, as R does.
    --json says where in the vector each weight lies. NaN and Inf give a warning.

    steelyard vector model.safetensors -o v.npy --role kernel
    """
    from steelyard.formats.numpy import write_vector
    from steelyard.views.records import vector_record
    from steelyard.views.table import count_text, findings

    found = _weights(args.file, args)
    for finding in findings(found._distinct().weights):
        warnings.warn(finding, NonFiniteWarning, stacklevel=1)
    dtype = write_vector(found, args.out, args.order)
    if args.json:
        _print_json(vector_record(args.file, args.out, found, dtype, args.order))
    else:
        print(f"{printable(args.out)}: {found.size:,} {dtype} numbers from {count_text(found)}")


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="+", metavar="FILE", help="a weight file")
    parser.add_argument("--all", action="store_true", help="list every weight, repeated blocks too")
    parser.add_argument("--stats", action="store_true", help="read the numbers: histogram, min, mean, max, NaN and Inf")
    _add_selection(parser)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a weight file")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of a weight; needless where there is only one")


def _vector_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a weight file")
    parser.add_argument("-o", "--out", required=True, metavar="V.npy", help="the file to write")
    parser.add_argument("--order", choices=("C", "F"), default="C", help="flatten by rows (C, the default) or columns (F)")
    _add_selection(parser)


COMMANDS: Commands = {
    "ls": (ls, _ls_arguments),
    "show": (show, _show_arguments),
    "vector": (vector, _vector_arguments),
}


def _add_selection(parser: argparse.ArgumentParser) -> None:
    roles = [str(role) for role in Role]
    parser.add_argument("--select", metavar="PATTERN", default="*", help="only names that match, as 'encoder.*'")
    parser.add_argument("--role", metavar="ROLE", choices=roles, help=f"only weights of this role: {', '.join(roles)}")


def _weights(file: str, args: argparse.Namespace) -> Weights:
    """Open a file as the options say."""
    from steelyard.io import weights

    found = weights(file)
    pattern, role = getattr(args, "select", "*"), getattr(args, "role", None)
    return found if (pattern, role) == ("*", None) else found.select(pattern, role=role)


def _table(found: Weights, screen: Screen, args: argparse.Namespace) -> str:
    from steelyard.views.table import listing

    return "\n".join(listing(found, screen, unfolded=args.all, stats=args.stats, grouped=screen.width is not None))


def _record(file: str, found: Weights, args: argparse.Namespace) -> dict[str, Any]:
    from steelyard.views.records import file_record

    return file_record(file, found, stats=args.stats)


def _print_json(record: Any) -> None:
    from steelyard.views.records import as_json

    print(as_json(record))


def _headed(nth: int, file: str, text: str, screen: Screen) -> str:
    return ("\n" if nth else "") + f"{screen.paint(printable(file), 'bold')}\n{text}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv`, or the process's own arguments, ask for, and return its exit status."""
    return run(COMMANDS, sys.argv[1:] if argv is None else list(argv))
