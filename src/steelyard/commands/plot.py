"""`steelyard plot`: draw a file's weights."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from steelyard.commands import add_before, add_file, add_selection, opened, print_json
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

KINDS = {
    "overview": (),
    "histograms": (),
    "network": (),
    "size": (),
    "architecture": (),
    "diff": ("before",),
    "grid": ("before",),
    "history": ("name", "view"),
    "filters": ("name", "grid"),
    "heads": ("name", "heads"),
    "embedding": ("name", "labels"),
    "heatmap": ("name",),
    "spectrum": ("name",),
}
"""The options of each kind, which are those of the function of `steelyard.plot` with the same name."""
SUFFIXES = ("png", "pdf", "svg", "jpg", "webp")
NAMED = 80  # letters of a weight's name in that of a picture
MAX_HEADS = 1 << 16
MAX_DPI = 1200  # memory use grows with the square of the dots per inch
_REPRODUCIBLE = {"svg.hashsalt": "steelyard"}
"""Settings with which equal weights give equal files; matplotlib's own names in an SVG are random."""
_DATES = {"svg": "Date", "pdf": "CreationDate"}
"""The entry of the metadata of a picture that has the time when it was made, by its suffix."""


def run(args: argparse.Namespace) -> int:
    """Draw the weights of a file as a picture: PNG, PDF or SVG, according to the suffix.

    The kind overview has a row for each weight, histograms has a panel for each of the first weights, network draws the
    units of a network of dense layers, grid has a cell for each weight, blocks by parts, size is a treemap of the parameters,
    architecture has the layers in order and what feeds each, and diff shows how far each weight is from that of an older file,
    --before, as grid does too. The kind history draws a folder that steelyard.record wrote, or one of checkpoints. The others
    draw one weight, which --name selects if there are several: filters those of a convolution, or the units of a dense layer on
    images; heads those of an attention layer; embedding its rows on two principal components; heatmap and spectrum any matrix.
    Without --out the picture is in the current folder, named after the file and the kind. Needs the extra "plot".

    steelyard plot model.safetensors -o model.png
    """
    from pathlib import Path

    kind = args.kind or ("overview" if args.before is None else "diff")
    _check(args, kind)
    target = Path(args.out or _default(args.file, kind, args.name))
    suffix = target.suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise ShapeError(f"{printable(args.out)}: the suffix of a picture must be one of {', '.join(SUFFIXES)}")
    _save(_drawing(args, kind), target, suffix, args.dpi, "dark_background" if args.dark else "default")
    if args.json:
        print_json({"file": args.file, "before": args.before, "kind": kind, "out": str(target)})
    else:
        print(f"{printable(str(target))}: {kind} of {printable(args.file)}")
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the file, the picture, and its kind."""
    add_file(parser)
    kinds = f"the picture to write: {', '.join(SUFFIXES)} (default: FILE.KIND.png in the current folder)"
    parser.add_argument("-o", "--out", metavar="PICTURE", help=kinds)
    default = "overview, or diff with --before"
    parser.add_argument("--kind", choices=tuple(KINDS), help=f"the kind of picture (default: {default})")
    add_before(parser)
    parser.add_argument("--name", metavar="WEIGHT", help="the weight to draw, where a kind draws one")
    parser.add_argument("--view", metavar="VIEW", help="history: norms, ratios, ridgeline or path alone (default: all of them)")
    parser.add_argument("--grid", type=_grid, metavar="SIDES", help="filters: the image a dense layer sees, as 28x28 or 3x32x32")
    parser.add_argument("--heads", type=_count, metavar="N", help="heads: their number, where the file does not say it")
    parser.add_argument("--labels", metavar="TEXT", help="embedding: a text file with the name of each row, one a line")
    parser.add_argument("--dark", action="store_true", help="draw on a dark background")
    parser.add_argument("--dpi", type=_dpi, default=150, metavar="N", help="dots per inch (default: %(default)s)")
    add_selection(parser)


def _check(args: argparse.Namespace, kind: str) -> None:
    """Refuse an option that the kind of picture does not have, and a difference without its older file."""
    for option in dict.fromkeys(option for options in KINDS.values() for option in options):
        takers = [each for each, options in KINDS.items() if option in options]
        if getattr(args, option) is not None and kind not in takers:
            more = "; --select selects the weights of the others" if option == "name" else ""
            raise ShapeError(f"--{option} is for --kind {', '.join(takers)}, not for {kind}{more}")
    if kind == "diff" and args.before is None:
        raise ShapeError("--kind diff needs an older file to compare with: --before OLDER")


def _default(file: str, kind: str, name: str | None) -> str:
    """Return the name of a picture in the current folder: the file's, the weight's, and the kind.

    >>> _default("runs/net.pt", "heatmap", "fc/kernel"), _default("model/", "overview", None)
    ('net.fc_kernel.heatmap.png', 'model.overview.png')
    """
    stem = os.path.splitext(os.path.basename(os.path.normpath(file.partition("?")[0])))[0]
    parts = [re.sub(r"[^\w.-]+", "_", part)[:NAMED] for part in (stem, name) if part]
    return ".".join([*parts, kind, "png"])


def _grid(text: str) -> tuple[int, ...]:
    import argparse

    sides = text.split("x")
    if not all(side.isascii() and side.isdecimal() and len(side) < 6 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not the sides of an image, such as 28x28")
    return tuple(map(int, sides))


def _count(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_HEADS or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_HEADS:,}")
    return int(text)


def _dpi(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_DPI:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MAX_DPI:,}")
    return int(text)


def _drawing(args: argparse.Namespace, kind: str) -> Callable[[], Axes]:
    """Return a function that draws the selected weights, so that the caller can set the style first."""
    from steelyard import plot

    draw = getattr(plot, kind)
    if kind == "history":
        return lambda: draw(args.file, args.view or "", args.name)
    weights = opened(args.file, args)
    how = {option: value for option in KINDS[kind] if (value := getattr(args, option)) is not None}
    if args.before is not None:
        how["before"] = opened(args.before, args)
    if kind == "diff":
        return lambda: draw(how["before"], weights)
    if args.labels is not None:
        how["labels"] = _lines(args.labels)

    def drawing() -> Axes:
        ax: Axes = draw(weights, **how)
        if kind == "overview":
            from steelyard.plot.canvas import shown

            ax.set_title(shown(os.path.basename(os.path.normpath(args.file))))
        return ax

    return drawing


def _lines(path: str) -> list[str]:
    """Return the lines of a text file, without their ends; an empty one at the end is no line."""
    from steelyard.codecs import limits

    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(limits.JSON + 1)
    if len(text) > limits.JSON:
        raise ShapeError(f"{printable(path)} has more than {limits.JSON:,} characters, too many for labels")
    return text.removesuffix("\n").split("\n")


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
