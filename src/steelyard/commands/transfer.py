"""`steelyard transfer`: put the weights of one file into the model of another."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_effective, add_file, add_skip, code_in, print_json, warn_of_code
from steelyard.errors import ShapeError, first_of, printable

if TYPE_CHECKING:
    from steelyard.transfers import Proof, TransferPlan


def run(args: argparse.Namespace) -> None:
    """Put the weights of a file into the model of another file, in the layout that it expects, and write the result to OUT.

    The files may come from two frameworks. Layers are paired by kind, shape and position in the graph, which ONNX, TFLite
    and Keras files contain; ambiguous layers are refused unless --pairs or --rules name their partners. Files cannot be
    run, so there is no proof. --plan prints which weight goes where and writes nothing. The exit status is 0 when OUT was
    written, 2 when nothing was.

    steelyard transfer net.safetensors --into net.keras -o trained.keras
    """
    if not args.plan and args.out is None:
        raise ShapeError("name the file to write with -o, or use --plan to print the plan only")
    code = {path: code_in(path) for path in (args.file, args.into)}
    if args.plan:
        _show_plan(args, _options(args), code)
    else:
        _write(args, _options(args), code)
    warn_of_code(code)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two input files, the output file, and the options that name partners."""
    add_file(parser)
    parser.add_argument("--into", metavar="FILE", required=True, help="the file of the model that gets the weights")
    parser.add_argument("-o", "--out", metavar="OUT", help="the file to write; its suffix determines the format")
    parser.add_argument("--rules", metavar="FILE", help='JSON of regular expressions: {"encoder.(.*)": "enc/\\1"}')
    parser.add_argument("--pairs", metavar="FILE", help='JSON of partners: {"fc1": "dense"}, or a saved plan')
    for name, what in (("only", "only layers that match"), ("skip", "not layers that match")):
        parser.add_argument(f"--{name}", metavar="PATTERN", action="append", default=[], help=f"{what}; may be repeated")
    parser.add_argument("--resize", choices=("pad", "truncate"), help="allow different shapes: pad with zeros, or truncate")
    parser.add_argument("--plan", action="store_true", help="print which weight goes where, and write nothing")
    add_skip(parser)
    add_effective(parser)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of a transfer; the patterns of the command line replace those of a saved plan."""
    from steelyard.transfers import TransferPlan
    from steelyard.transfers.rules import read_json

    options: dict[str, Any] = {**TransferPlan.load(args.pairs)} if args.pairs else {}
    options |= {
        name: value for name in ("only", "skip", "resize", "skip_unreadable", "effective") if (value := getattr(args, name))
    }
    return options | ({"rules": read_json(args.rules, "rules")} if args.rules else {})


def _show_plan(args: argparse.Namespace, words: dict[str, Any], code: dict[str, list[str]]) -> None:
    from steelyard.transfers.transfer import plan_transfer

    made = plan_transfer(args.file, into=args.into, **words)
    if args.json:
        print_json({"file": args.file, "into": args.into, **made.to_dict(), "would_run": code})
    else:
        print(made)


def _write(args: argparse.Namespace, words: dict[str, Any], code: dict[str, list[str]]) -> None:
    from steelyard.io import opened, readable_weights, write
    from steelyard.text.progress import following
    from steelyard.transfers.proof import not_run
    from steelyard.transfers.transfer import transfer

    read = readable_weights(args.file, skip_unreadable=args.skip_unreadable, effective=args.effective)
    into, used = opened(args.into)
    with following(read, "reading") as source:
        done = transfer(source, into=into, **words)
    with following(done.model, "writing") as watched:
        out = write(watched, args.out, used)
    _report(args, out, done.plan, not_run(map(printable, (args.file, args.into))), code)


def _report(args: argparse.Namespace, out: str, plan: TransferPlan, proof: Proof, code: dict[str, list[str]]) -> None:
    if args.json:
        record = {"file": args.file, "into": args.into, "out": out, "plan": plan.to_dict(), "proof": proof.to_dict()}
        print_json({**record, "would_run": code})
        return
    from steelyard.text.units import counted

    changed = sum(bool(row.layout) for row in plan.rows)
    many = counted(len(plan.rows), "weight")
    print(f"{printable(out)}: {many} from {printable(args.file)}, {changed:,} of them in another layout")
    for title, names in (("unchanged", plan.unchanged), ("unused", plan.unused)):
        if names:
            print(f"{title}: {first_of(names, 8)}")
    for note in plan.notes:
        print(f"differs: {note}")
    print(proof)
