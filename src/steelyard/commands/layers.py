"""`steelyard layers`: list a net's layers in order, with repeated blocks once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import Answer, add_paths, add_table, csv_text, print_each, require_one
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """List the layers of files in the order in which they run, with what each is, its shapes, inputs and parameters.

    Files of Keras, ONNX, TensorFlow Lite, scikit-learn and R have this order, and what feeds each layer: where that is not the
    layer of the line above, the column "from" names it. Repeated layers and blocks are one row with their number. Of other
    files, such as state dicts, it is said that no order is known, and the layers are listed by their names. No number is read.

    steelyard layers model.keras
    """
    from steelyard.measures.architecture import architecture
    from steelyard.paths import expanded
    from steelyard.text.architectures import architecture_lines
    from steelyard.text.terminal import screen_of

    files, screen = expanded(args.paths), screen_of(sys.stdout)
    require_one(args, files)

    def of_file(file: str) -> Answer:
        found = architecture(file)
        if args.out:
            found.write(args.out)
            return Answer({"out": args.out}, "")
        if args.json or args.csv:
            return Answer(found.to_dict(), csv_text(found) if args.csv else "")
        text = "\n".join(architecture_lines(found, screen))
        return Answer({}, f"{screen.paint(printable(file), 'bold')}\n{text}\n" if len(files) > 1 else text)

    return print_each(files, of_file, json=args.json)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, and the output."""
    add_paths(parser)
    add_table(parser, "the layers of one file")
