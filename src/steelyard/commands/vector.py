"""`steelyard vector`: write all weights as one vector."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from steelyard.commands import add_file, add_selection, code_in, opened, print_json, warn_of_code
from steelyard.errors import NonFiniteWarning, printable

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> None:
    """Write all weights as one flat vector into a .npy file.

    Weights are in the listed order, tied weights once. With --order F each is flattened by columns, as in R. With --in-order
    r-torch the vector has the order of R torch's model$parameters; this needs a file of R torch. --json prints the position
    of each weight in the vector. NaN and Inf cause a warning.

    steelyard vector model.safetensors -o v.npy --role kernel
    """
    from steelyard.formats.numpy import write_vector
    from steelyard.text.records import vector_record
    from steelyard.text.table import count_text, findings

    weights = opened(args.file, args)
    weights = weights.in_order(args.in_order) if args.in_order else weights
    listed = list(weights.distinct().values())
    for finding in findings(listed, len(listed)):
        warnings.warn(finding, NonFiniteWarning, stacklevel=1)
    dtype = write_vector(weights, args.out, args.order)
    record = vector_record(args.file, args.out, weights, dtype, args.order)
    code = code_in(args.file)
    if args.json:
        print_json({**record, "would_run": code})
    else:
        print(f"{printable(args.out)}: {record['length']:,} {dtype} numbers from {count_text(weights)}")
    warn_of_code({args.file: code})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the file to write and the selection of weights."""
    add_file(parser)
    parser.add_argument("-o", "--out", required=True, metavar="V.npy", help="the file to write")
    parser.add_argument("--order", choices=("C", "F"), default="C", help="flatten by rows (C, the default) or by columns (F)")
    parser.add_argument("--in-order", choices=("r-torch",), help="an order of the weights other than the listed one")
    add_selection(parser)
