"""`steelyard convert`: write a file's weights in another format."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from steelyard.commands import (
    add_engine_of_writing,
    add_file,
    add_selection,
    code_in,
    from_workers,
    print_json,
    selected,
    shard_size,
    warn_of_code,
)
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


SCALES: Final = "scales"
"""The word for the type of the scales of packed weights."""


def run(args: argparse.Namespace) -> None:
    r"""Write the weights of a file to another file, whose suffix determines the format.

    Without --dtype the numbers are copied bit for bit. Weights are selected, then renamed by each --rename in
    turn (a regular expression, which must match the whole name, "=" and the new name), then get the --prefix.
    OUT replaces an existing file only when it is complete and on the disk, so it may be the input file.
    With --effective OUT has the weights that the net computes with, with --adapter also those of adapters such as LoRA.
    With --like, OUT is that model with these numbers, in its types: a graph of ONNX, the layers of TensorFlow.js, the
    tokenizer of a GGUF, the spec of CTranslate2 or a fit of R cannot be made from weights alone. With --dtype too, floats of
    TensorFlow.js and the matrices of a GGUF get that type.

    steelyard convert net.pt net.safetensors --rename 'module\.(.*)=\1'
    """
    from steelyard.io import opened, write
    from steelyard.storage.atomic import synced
    from steelyard.text.progress import following

    code = code_in(args.file)  # before OUT may replace it
    everything, used = opened(args.file, args.scope)
    chosen = _chosen(args, everything)
    paths = [args.file, *(args.adapter or ()), *([args.like] if args.like else ())]
    with synced(not args.no_sync), following(from_workers(args, chosen, _made, paths), "converting") as watched:
        out = write(watched, args.out, used, args.shard_size, args.processes)
    _tell(args, out, chosen, code)
    warn_of_code({args.file: code})


def _made(args: argparse.Namespace) -> Weights:
    """Return the weights that are written, for a worker."""
    from steelyard.io import weights

    return _chosen(args, weights(args.file, scope=args.scope))


def _chosen(args: argparse.Namespace, everything: Weights) -> Weights:
    """Return the weights of the file that are written, with all changes that the arguments ask for."""
    from steelyard.converting import renamed
    from steelyard.core.selection import readable
    from steelyard.io import into, opened

    if args.dtype == SCALES:
        from steelyard.effective_weights import effective

        everything = effective(everything, dtype=SCALES)
    if args.adapter:
        from steelyard.effective_weights import merge_adapter

        everything = merge_adapter(everything, args.adapter)
    chosen = readable(selected(everything, args, args.file), skip_unreadable=False)
    chosen = renamed(chosen, args.rename, args.prefix)
    if everything and not chosen:
        raise ShapeError(f"no weight of {printable(args.file)} is selected; nothing was written")
    chosen = chosen.astype(args.dtype) if args.dtype not in (None, SCALES) else chosen
    if not args.like:
        return chosen
    return into(chosen, opened(args.like)[0], retype=args.dtype is not None)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files to read and to write, and the changes."""
    add_file(parser)
    parser.add_argument("out", metavar="OUT", help="the file to write, such as net.safetensors, net.pt or net.npz, or net.dcp")
    parser.add_argument(
        "--dtype",
        type=_dtype,
        metavar="DTYPE",
        help="cast floats, for example to float16; integers are kept; 'scales' is like --effective, in the 16 bits of the scales",
    )
    parser.add_argument("--rename", action="append", default=[], metavar="'PATTERN=NAME'", help="rename weights; may be repeated")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="a prefix for every name")
    parser.add_argument(
        "--adapter", metavar="LORA", action="append", help="a file or folder of an adapter to merge into FILE; may be repeated"
    )
    parser.add_argument(
        "--like",
        metavar="MODEL",
        help="write a copy of this model (ONNX, TensorFlow.js, GGUF, CTranslate2 or R) with the numbers of FILE",
    )
    parser.add_argument(
        "--shard-size", type=shard_size, metavar="SIZE", help="write shards of at most this size, such as 5GB, and an index"
    )
    parser.add_argument(
        "--no-sync", action="store_true", help="do not wait until OUT is on the disk: faster, but a loss of power may cut it off"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="write a distributed checkpoint, OUT.dcp or OUT.orbax, in parts for N processes",
    )
    add_selection(parser)
    add_engine_of_writing(parser)


def _tell(args: argparse.Namespace, out: str, written: Weights, code: list[str]) -> None:
    from steelyard.text.records import file_record
    from steelyard.text.table import totals

    if args.json:
        print_json({"in": args.file, "out": out, "total": file_record(out, written)["total"], "would_run": code})
    else:
        print(f"{printable(out)}: {totals(written)}")


def _dtype(text: str) -> str:
    from steelyard.dtypes import FLOATS, SPELLINGS
    from steelyard.errors import meant

    if text not in (*FLOATS, SCALES):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join((*FLOATS, SCALES))}{meant(text, FLOATS, SPELLINGS)}")
    return text
