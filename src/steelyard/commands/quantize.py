"""`steelyard quantize`: write a file's weights as integers, small floats or blocks, or show what that would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.command_line import as_typed
from steelyard.commands import (
    add_effective,
    add_engine_of_writing,
    add_explain,
    add_file,
    add_scope,
    add_skip,
    code_in,
    explain,
    from_workers,
    opened,
    print_json,
    refuse_engine,
    selected,
    warn_of_code,
)
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from steelyard.core.weights import Weights

_SUFFIXES = {"gguf": ".gguf", "onnx": ".onnx"}
_OPTIONS = ("axis", "group", "scheme", "like", "calibrate", "skip", "double_quant")


def run(args: argparse.Namespace) -> None:
    """Quantise the kernels of a file, and write them as the library of --like loads them.

    Biases, norms and embeddings stay as they are, as do kernels that the layout cannot hold, which are named; with a type of
    GGUF, embeddings are quantised too. OUT is a file, whose suffix determines the format, or a folder, which gets
    model.safetensors and a config.json that transformers needs. With --dry-run nothing is written: a table has the bytes, and the
    error of each weight, for every --to.

    steelyard quantize model/ --to int4 --group 32 --like compressed-tensors -o quantised/
    """
    from steelyard.core.selection import readable
    from steelyard.io import opened as opened_with_files

    code = code_in(args.file)  # before OUT may replace it
    weights, used = opened_with_files(args.file, args.scope)
    weights = readable(selected(weights, args, args.file), skip_unreadable=False)
    options = _options(args)
    if args.dry_run:
        refuse_engine(args)
        _show(args, weights, options)
    else:
        _write(args, weights, used, options)
    warn_of_code({args.file: code})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the kinds of numbers, the layout and the cells."""
    add_file(parser)
    kinds = "int8, int4, float8_e4m3fn, nf4, fp4, mxfp4, or a type of GGUF such as q8_0 or q4_0; may be repeated with --dry-run"
    parser.add_argument("--to", metavar="KIND", action="append", required=True, help=kinds)
    parser.add_argument("-o", "--out", metavar="OUT", help="the file or folder to write")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, and print bytes and errors")
    libraries = ("compressed-tensors", "bitsandbytes", "torchao", "gguf", "onnx")
    parser.add_argument(
        "--like", choices=libraries, help="the library that is to load the weights: its layout and range of codes"
    )
    parser.add_argument(
        "--axis", type=_axis, default="out", metavar="AXIS", help="a scale for each place of it: out, 0, -1 or none"
    )
    parser.add_argument("--group", type=int, metavar="N", help="a scale for each N inputs, such as 32 or 128")
    parser.add_argument("--scheme", choices=("symmetric", "affine"), help="affine has zero points (default: symmetric)")
    ways = ("max", "mse", "percentile")
    parser.add_argument("--calibrate", choices=ways, default="max", help="how the range of a scale is found (default: max)")
    parser.add_argument("--skip", metavar="PATTERN", action="append", default=[], help="names that stay, such as '*lm_head*'")
    parser.add_argument("--double-quant", action="store_true", help="quantise the scales of nf4 or fp4 too")
    add_scope(parser)
    add_skip(parser)
    add_effective(parser)
    add_explain(parser)
    add_engine_of_writing(parser)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _OPTIONS}


def _made(args: argparse.Namespace) -> Weights:
    """Return the quantised weights of the file that the arguments name, for a worker."""
    from steelyard.editing.quantizing.quantize import quantize

    return quantize(opened(args.file, args), args.to[0], **_options(args))


def _axis(text: str) -> str | int | None:
    return None if text == "none" else int(text) if text.lstrip("-").isdecimal() else text


def _show(args: argparse.Namespace, weights: Weights, options: dict[str, Any]) -> None:
    from steelyard.editing.quantizing.what_if import what_if
    from steelyard.text.progress import following
    from steelyard.text.quantized import what_if_lines

    with following(weights, "measuring", 3 * len(args.to)) as watched:
        found = what_if(watched, args.to, **options)
    if args.json:
        print_json({"in": args.file, **found.to_dict()})
    else:
        print("\n".join(map(as_typed, what_if_lines(found))))  # a kind that is refused says what to do
    if args.explain:
        from steelyard.text.explanations import QUANTISED

        explain(args, QUANTISED)


def _write(args: argparse.Namespace, weights: Weights, used: set[str], options: dict[str, Any]) -> None:
    from steelyard.editing.quantizing.quantize import quantize
    from steelyard.io import write
    from steelyard.text.progress import following

    if not args.out or len(args.to) > 1:
        what = "a file holds one kind of numbers" if args.out else "-o OUT is missing"
        raise ShapeError(f"{what}; pass one --to and -o, or --dry-run to compare kinds")
    made = quantize(weights, args.to[0], **options)
    library = made.meta["quantized"]["like"]
    suffix = _SUFFIXES.get(library, "")
    if not args.out.lower().endswith(suffix):
        raise ShapeError(f"{printable(args.out)}: {args.to[0]} like {library} is written into a file that ends in {suffix}")
    with following(from_workers(args, made, _made, [args.file]), "quantising") as watched:
        out = write(watched, args.out, used)
    _tell(args, out, made)


def _tell(args: argparse.Namespace, out: str, made: Weights) -> None:
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    record = made.meta["quantized"]
    notes = [*_notes(args, out, record["like"])]
    if args.json:
        print_json({"in": args.file, "out": out, "total": file_record(out, made)["total"], "quantized": record, "notes": notes})
        return
    from steelyard.text.quantized import left_lines

    print(f"{printable(out)}: {totals(made)}")
    count = record["weights"]
    print(f"{count:,} weight{'s are' if count != 1 else ' is'} {record['kind']}, {record['range']}")
    print(
        *left_lines(record["left"]), *(f"note: {note}" for note in notes), sep="\n", end="\n" if record["left"] or notes else ""
    )


def _notes(args: argparse.Namespace, out: str, library: str | None) -> Iterator[str]:
    if library == "onnx":
        from steelyard.editing.quantizing.onnx import TRAP

        yield TRAP
    elif library in ("compressed-tensors", "bitsandbytes", "torchao") and out == args.out:
        where = f"write into a folder for that, as -o {_folder(out)}"
        yield f"transformers loads a folder whose config.json has the config of {library}; {where}"


def _folder(out: str) -> str:
    return printable(f"{out.rpartition('.')[0] or out}/")
