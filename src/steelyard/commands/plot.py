"""`steelyard plot`: pictures of a file's weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_file, add_selection, opened, print_json
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

WHOLE = ("overview", "histograms", "network")
SINGLE = ("filters", "heatmap", "spectrum")
SUFFIXES = ("png", "pdf", "svg", "jpg", "webp")
SHARPEST = 1200
"""Dots an inch at most: the memory that a picture takes grows with their square."""


def run(args: argparse.Namespace) -> int:
    """Draw the weights of a file into a picture: PNG, PDF or SVG, as the suffix says.

    An overview has a row for each weight, histograms a panel for each of the first, network the units of a net of dense
    layers. Filters, heatmap and spectrum draw one weight, whose name --name gives where there are several. Needs the
    extra "plot".

    steelyard plot model.safetensors -o model.png
    """
    from pathlib import Path

    target = Path(args.out)
    suffix = target.suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise ShapeError(f"{printable(args.out)}: a picture is written as one of {', '.join(SUFFIXES)}")
    if args.name is not None and args.kind not in SINGLE:
        raise ShapeError(f"--name is for one of {', '.join(SINGLE)}; {args.kind} takes --select")
    _save(_drawn(args), target, suffix, args.dpi, "dark_background" if args.dark else "default")
    if args.json:
        print_json({"file": args.file, "kind": args.kind, "out": args.out})
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the picture, and what it is of."""
    add_file(parser)
    parser.add_argument("-o", "--out", metavar="PICTURE", required=True, help=f"the file to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--kind", choices=(*WHOLE, *SINGLE), default=WHOLE[0], help="what to draw (default: %(default)s)")
    parser.add_argument("--name", metavar="WEIGHT", help="the one weight that filters, heatmap or spectrum draw")
    parser.add_argument("--dark", action="store_true", help="on a dark ground")
    parser.add_argument("--dpi", type=_dpi, default=150, metavar="N", help="dots an inch (default: %(default)s)")
    add_selection(parser)


def _dpi(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= SHARPEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {SHARPEST:,}")
    return int(text)


def _drawn(args: argparse.Namespace) -> Any:
    """Return what draws the picture of the weights that are asked for."""
    from steelyard import plot

    draw = getattr(plot, args.kind)
    found = opened(args.file, args)

    def drawn() -> Any:
        ax = draw(found, args.name) if args.kind in SINGLE else draw(found)
        if args.kind == "overview":
            from steelyard.plot.canvas import shown

            ax.set_title(shown(os.path.basename(os.path.normpath(args.file))))
        return ax

    return drawn


def _save(draw: Any, target: Path, suffix: str, dpi: int, style: str) -> None:
    from matplotlib import pyplot as plt

    from steelyard.storage.atomic import replacing

    plt.switch_backend("agg")  # no window, wherever the command runs
    with plt.style.context(style):
        figure = draw().figure
        try:
            with replacing(target) as file:
                figure.savefig(file, format=suffix, dpi=dpi)
        finally:
            plt.close(figure)
