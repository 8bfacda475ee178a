"""The parts that all pictures share: the Axes, colours for light and dark backgrounds, captions, and names as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib import colors, font_manager, rcParams
from matplotlib import pyplot as plt

from steelyard.core.weight import Role
from steelyard.errors import printable
from steelyard.text.colours import DARK, LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Colour = tuple[float, float, float]

NAME = 60  # characters of a name
SHORT, LONG = 40, 50  # characters of a title in large letters, and of one in smaller ones
CELLS = 400  # rows and columns of a heat map, about the pixels of a figure of the usual size
LARGEST = 1e300
"""The largest axis limit, and its inverse the smallest: numbers beyond would overflow or underflow in matplotlib."""

ROLES = {
    Role.KERNEL: "#0072B2",
    Role.RECURRENT_KERNEL: "#35A7D8",
    Role.EMBEDDING: "#009E73",
    Role.BIAS: "#E69F00",
    Role.OFFSET: "#E69F00",
    Role.SCALE: "#CC79A7",
    Role.MEAN: "#8C7BD1",
    Role.VARIANCE: "#8C7BD1",
    Role.COUNT: "#888888",
    Role.OTHER: "#888888",
}
"""The colours of Okabe and Ito, which colour-blind readers can distinguish, and two between them."""
GROUPS = {
    Role.OFFSET: "bias or offset",
    Role.BIAS: "bias or offset",
    Role.MEAN: "mean or variance",
    Role.VARIANCE: "mean or variance",
}
"""Common names of roles that share a colour."""


class Inks(NamedTuple):
    """The colours of a picture: of numbers by their sign, of text, of secondary text, and of the background."""

    positive: Colour
    strongest: Colour
    negative: Colour
    weakest: Colour
    text: Colour
    soft: Colour
    ground: Colour
    dark: bool


def reach(greatest: float) -> float:
    """Return the axis limit for this greatest magnitude: at most `LARGEST`, and 1 if the magnitude is (almost) zero.

    >>> reach(2.5), reach(0.0), reach(1e308)
    (2.5, 1.0, 1e+300)
    """
    return min(greatest, LARGEST) if greatest > 1 / LARGEST else 1.0


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given Axes, or that of a new figure of this size in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def inks(ax: Axes) -> Inks:
    """Return colours with enough contrast with the background of an Axes.

    >>> ax = axes_for(None, 3, 2)
    >>> inks(ax).dark
    False
    >>> plt.close(ax.figure)
    """
    ground = _ground(ax)
    dark = sum(ground) < 1.5
    text = colors.to_rgb(rcParams["text.color"])
    weakest, negative, *_, positive, strongest = map(colors.to_rgb, DARK if dark else LIGHT)
    return Inks(positive, strongest, negative, weakest, text=text, soft=blended(text, ground, 0.62), ground=ground, dark=dark)


def _ground(ax: Axes) -> Colour:
    """Return the background colour of an Axes: its own, otherwise that of the figure, otherwise white."""
    root = ax.get_figure(root=True)
    for patch in (ax.patch, ax.figure.patch, root.patch if root else ax.patch):
        red, green, blue, alpha = colors.to_rgba(patch.get_facecolor())
        if alpha > 0.5 and patch.get_visible():
            return red, green, blue
    return 1.0, 1.0, 1.0


def blended(one: Colour, other: Colour, share: float) -> Colour:
    """Blend two colours, with this share of the first.

    >>> blended((1, 1, 1), (0, 0, 0), 0.25)
    (0.25, 0.25, 0.25)
    """
    red, green, blue = (a * share + b * (1 - share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def signed_colours(ink: Inks) -> colors.Colormap:
    """Return the diverging colour map of numbers: zero is the background, NaN and Inf have the colour of text."""
    stops = [*map(colors.to_rgb, DARK if ink.dark else LIGHT)]
    stops[len(stops) // 2] = ink.ground
    return colors.LinearSegmentedColormap.from_list("signed", stops, N=511).with_extremes(bad=ink.text)


def role_colour(role: Role, ink: Inks) -> Colour:
    """Return the colour of a role, lighter on a dark background."""
    colour: Colour = colors.to_rgb(ROLES[role])
    return blended(colour, (1.0, 1.0, 1.0), 0.75) if ink.dark else colour


def role_legend(ax: Axes, roles: Iterable[Role], ink: Inks) -> None:
    """Draw a legend of the colours of roles, if there is more than one."""
    from matplotlib.patches import Patch

    named = {GROUPS.get(role, str(role)): role_colour(role, ink) for role in ROLES if role in set(roles)}
    if len(named) > 1:
        handles = [Patch(color=colour, label=label) for label, colour in named.items()]
        ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize="small",
            handlelength=1.0,
            labelcolor=ink.soft,
        )


def caption(ax: Axes, notes: Sequence[str], below: float = 0.0) -> None:
    """Write notes below a picture, one per line; the title stays free for the caller.

    They follow the label of the x axis; without axes they are this far `below` the Axes, relative to its height.
    """
    where: Any = ((0.5, 0.0), ax.xaxis.label) if ax.axison else ((0.5, -below), "axes fraction")
    ax.annotate(
        "\n".join(note for note in notes if note),
        where[0],
        xytext=(0, -4),
        xycoords=where[1],
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize="small",
        color=inks(ax).soft,
        linespacing=1.3,
        annotation_clip=False,
    )


def shown(name: object, limit: int = NAME) -> str:
    r"""Return a name as text of a picture: without formulas and letters that the font lacks, at most `limit` characters.

    >>> print(shown("net$w$\n"))
    net\$w\$\u000a
    """
    text = printable(name, 10_000)
    known = _letters(tuple(rcParams["font.family"]))
    text = "".join(letter if ord(letter) in known else f"\\u{ord(letter):04x}" for letter in text)
    return printable(text, limit).replace("$", r"\$") or "(unnamed)"


@lru_cache(maxsize=8)
def _letters(families: tuple[str, ...]) -> frozenset[int]:
    """Return the characters that the fonts have; matplotlib warns of every missing one."""
    paths = {font_manager.findfont(font_manager.FontProperties(family=[family])) for family in families}
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def entitle(ax: Axes, name: object, remark: str = "") -> None:
    """Give a picture the name of a weight or layer as its title, and a remark, in smaller letters if that is long."""
    text = ": ".join(filter(None, (shown(name, LONG), remark)))
    ax.set_title(text, fontsize="large" if len(text) <= SHORT else "medium")


def left_out(nan: int, infinite: int) -> str:
    """Return a note on the numbers that are not drawn; blank for none."""
    parts = [f"{count:,} {word}" for count, word in ((nan, "NaN"), (infinite, "Inf")) if count]
    return f"{' and '.join(parts)} left out" if parts else ""
