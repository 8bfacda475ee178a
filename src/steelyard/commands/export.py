"""`steelyard export`: write a file's weights as arrays in the language of a device."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import add_file, add_selection, code_in, print_json, selected, warn_of_code
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> None:
    """Write the weights of a file as arrays for a device, bit for bit.

    The suffix of OUT is the language: .h (C and C++), .c (with a .h), .hpp, .ino (Arduino), .rs, .py (MicroPython), .bin (with
    a .json), .csv or .json. Every weight is an array whose name begins with --name; its own name is in a comment. With --dtype
    floats are cast, and a line says what that changed. Above 1,000,000 numbers they are in a .bin of their own, which the
    compiler includes, unless --text asks for another form. With --dry-run only the table of the arrays is printed.

    With --forward, a .c has the function net_run too, which computes the outputs of the net, and net_test.c compares them with
    those that the net gives for the examples of --probe. With --dtype int8, or int4 for kernels of 4 bits, it computes in
    integers, as --rounding asks for, with scales by --probe; the error of each layer is printed.

    steelyard export net.safetensors -o net.h --dtype float32
    """
    from steelyard.core.selection import readable
    from steelyard.device.export import plan, plan_forward, source_name, write
    from steelyard.device.exported import Options
    from steelyard.device.forward.forward import Choices, Examples
    from steelyard.io import opened
    from steelyard.text.exports import export_lines
    from steelyard.text.progress import following
    from steelyard.text.terminal import screen_of

    code = code_in(args.file)
    everything, used = opened(args.file, args.scope)
    chosen = readable(selected(everything, args, args.file), skip_unreadable=False)
    fold = "scalers" if args.fold_scalers else not args.no_fold
    choices = Choices(fold, args.accumulate, args.rounding or "", args.calibrate, not args.no_libm)
    _check(args, is_usual=choices == Choices())
    if everything and not chosen:
        raise ShapeError(f"no weight of {printable(args.file)} is selected; nothing was written")
    facts = (args.name, args.dtype, args.text or "", args.channels, args.section, args.align, args.progmem, args.names)
    with following(chosen, "exporting") as watched:
        if args.forward:
            examples = Examples(_arrays(args.probe), _arrays(args.outputs))
            planned = plan_forward(args.file, watched, args.out, Options(*facts), choices, examples)
        else:
            planned = plan(watched, args.out, Options(*facts), source_name(args.file))
        if not args.dry_run:
            write(planned, args.out, used)
    if args.json:
        print_json({"file": args.file, **planned.to_dict(), "written": not args.dry_run, "would_run": code})
    else:
        print("\n".join(export_lines(planned, screen_of(sys.stdout), written=not args.dry_run)))
    warn_of_code({args.file: code})


def _check(args: argparse.Namespace, *, is_usual: bool) -> None:
    """Refuse options that the export has no use for."""
    if not args.forward and (args.probe or args.outputs or not is_usual):
        options = "--probe, --outputs, --no-fold, --fold-scalers, --no-libm, --accumulate, --rounding and --calibrate"
        raise ShapeError(f"{options} are for --forward; nothing was written")
    if args.forward and (args.select or args.role or args.effective or args.fold):
        raise ShapeError(
            "a forward pass needs the weights of the whole net as they are; leave out --select, --role, --effective "
            "and --fold; nothing was written"
        )


def _arrays(path: str | None) -> object:
    """Return the array of an .npy, or those of an .npz in their order."""
    if path is None:
        return None
    from steelyard.io import weights

    read = weights(path)
    arrays = [weight.numpy() for weight in read.values()]
    return arrays[0] if len(arrays) == 1 else arrays


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file to read, the one to write, and the form of the arrays."""
    add_file(parser)
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT", help="the file to write, such as net.h, net.c, net.rs, net.py"
    )
    parser.add_argument("--name", default="net", metavar="WORD", help="the word before every name (default: net)")
    parser.add_argument("--dtype", metavar="DTYPE", help="cast floats, for example to float32 or float16; integers are kept")
    parser.add_argument(
        "--text",
        choices=("decimal", "hex", "bits", "bytes", "bin"),
        help="decimal: 9 or 17 digits, the default; hex: of C; bits: of each number; bytes: of Python; bin: a file of its own",
    )
    parser.add_argument("--channels", choices=("first", "last"), help="reorder axes: outputs first, then inputs, or inputs last")
    parser.add_argument("--section", metavar="NAME", help="the section of the arrays, such as .flash")
    parser.add_argument("--align", type=int, metavar="BYTES", help="the alignment of the arrays, a power of 2")
    parser.add_argument("--progmem", action="store_true", help="put the arrays into the program memory of an AVR")
    parser.add_argument("--names", action="store_true", help="add an array of the weights' own names")
    parser.add_argument("--forward", action="store_true", help="write a function that computes the outputs, and its test; for .c")
    parser.add_argument("--probe", metavar="NPY", help="examples for --forward, an .npy, or an .npz with an array for each input")
    parser.add_argument("--outputs", metavar="NPY", help="the net's outputs for --probe, which prove a file that is not run")
    folds = parser.add_mutually_exclusive_group()
    folds.add_argument(
        "--no-fold", action="store_true", help="with --forward, keep batch norms apart from the kernels before them"
    )
    folds.add_argument(
        "--fold-scalers", action="store_true", help="with --forward, fold the scalers of a pipeline into its first kernel"
    )
    parser.add_argument("--no-libm", action="store_true", help="with --forward, write the functions of libm too, in float32")
    parser.add_argument("--accumulate", choices=("float", "double"), default="float", help="with --forward, the type of sums")
    parser.add_argument(
        "--rounding", choices=("single", "double"), help="with --forward --dtype int8 or int4, that of the device's kernels"
    )
    parser.add_argument(
        "--calibrate", choices=("minmax", "percentile", "mse"), default="minmax", help="how --probe gives the scales of int8"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the table of the arrays, and write nothing")
    add_selection(parser)
