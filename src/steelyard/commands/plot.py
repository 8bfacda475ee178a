"""`steelyard plot`: draw a file's weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.commands import add_file, add_selection, opened, print_json
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

WHOLE = ("overview", "histograms", "network")
SINGLE = ("filters", "heatmap", "spectrum")
SUFFIXES = ("png", "pdf", "svg", "jpg", "webp")
MAX_DPI = 1200  # memory use grows with the square of the dots per inch
_REPRODUCIBLE = {"svg.hashsalt": "steelyard"}
"""Settings with which equal weights give equal files; matplotlib's own names in an SVG are random."""
_DATES = {"svg": "Date", "pdf": "CreationDate"}
"""The entry of the metadata of a picture that has the time when it was made, by its suffix."""


def run(args: argparse.Namespace) -> int:
    """Draw the weights of a file as a picture: PNG, PDF or SVG, according to the suffix.

    The kind overview has a row for each weight, histograms has a panel for each of the first weights, and network draws the
    units of a network of dense layers. The kinds filters, heatmap and spectrum draw one weight; --name selects it if there
    are several. Needs the extra "plot".

    steelyard plot model.safetensors -o model.png
    """
    from pathlib import Path

    target = Path(args.out)
    suffix = target.suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise ShapeError(f"{printable(args.out)}: the suffix of a picture must be one of {', '.join(SUFFIXES)}")
    if args.name is not None and args.kind not in SINGLE:
        raise ShapeError(f"--name is for one of {', '.join(SINGLE)}; {args.kind} takes --select")
    _save(_drawing(args), target, suffix, args.dpi, "dark_background" if args.dark else "default")
    if args.json:
        print_json({"file": args.file, "kind": args.kind, "out": args.out})
    else:
        print(f"{printable(args.out)}: {args.kind} of {printable(args.file)}")
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the picture, and its kind."""
    add_file(parser)
    parser.add_argument("-o", "--out", metavar="PICTURE", required=True, help=f"the file to write: {', '.join(SUFFIXES)}")
    parser.add_argument("--kind", choices=(*WHOLE, *SINGLE), default=WHOLE[0], help="the kind of picture (default: %(default)s)")
    parser.add_argument("--name", metavar="WEIGHT", help="the weight to draw with filters, heatmap or spectrum")
    parser.add_argument("--dark", action="store_true", help="draw on a dark background")
    parser.add_argument("--dpi", type=_dpi, default=150, metavar="N", help="dots per inch (default: %(default)s)")
    add_selection(parser)


def _dpi(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_DPI:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_DPI:,}")
    return int(text)


def _drawing(args: argparse.Namespace) -> Callable[[], Axes]:
    """Return a function that draws the selected weights, so that the caller can set the style first."""
    from steelyard import plot

    draw = getattr(plot, args.kind)
    weights = opened(args.file, args)

    def drawing() -> Axes:
        ax: Axes = draw(weights, args.name) if args.kind in SINGLE else draw(weights)
        if args.kind == "overview":
            from steelyard.plot.canvas import shown

            ax.set_title(shown(os.path.basename(os.path.normpath(args.file))))
        return ax

    return drawing


def _save(draw: Callable[[], Axes], target: Path, suffix: str, dpi: int, style: str) -> None:
    from matplotlib import pyplot as plt

    from steelyard.storage.atomic import replacing

    plt.switch_backend("agg")  # no window, wherever the command runs
    with plt.style.context(style), plt.rc_context(_REPRODUCIBLE):
        figure = draw().get_figure(root=True)
        assert figure is not None  # every picture of `plot` has one
        try:
            with replacing(target) as file:
                figure.savefig(file, format=suffix, dpi=dpi, metadata={_DATES[suffix]: None} if suffix in _DATES else None)
        finally:
            plt.close(figure)
