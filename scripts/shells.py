"""The output of commands as a terminal shows it, in SVG: one function each, named as its file in docs/pictures/.

Letters are text of a fixed width, and half blocks, of which heat maps are made, are paths by colour, so that no font moves them.
"""

import re
from collections import defaultdict
from html import escape

from pages import AFTER, BEFORE, FACES, in_colour, styled

WIDE, HIGH, EDGE = 8, 17, 16
"""Pixels of a cell, and around all of them."""
PAPER, INK = "#16181d", "#d8dbe2"
FONT = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"


def shell():
    return svg("steelyard show onet.pt conv2.weight", in_colour(f"show {FACES} conv2.weight"))


def shell_grid():
    shown = "steelyard grid after.pt --before before.pt --select 'angle_layers.*'"
    return svg(shown, in_colour(f"grid {AFTER} --before {BEFORE} --select angle_layers.*"))


SHELLS = {made.__name__.replace("_", "-"): made for made in (shell, shell_grid)}


def svg(command, output):
    """Return a picture of a command and of what it printed."""
    lines = [f"\x1b[1m$ {command}\x1b[0m", *output.splitlines()]
    size = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) * WIDE + 2 * EDGE, len(lines) * HIGH + 2 * EDGE
    cells, letters = defaultdict(list), []
    for row, line in enumerate(lines):
        for column, text, style in runs(line):
            paint(cells, letters, EDGE + column * WIDE, EDGE + row * HIGH, text, style)
    paths = [f'<path fill="{colour}" d="{"".join(found)}"/>' for colour, found in cells.items()]
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'.format(*size)
    title = f"<title>{escape(command)}</title>"
    paper = f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>'
    group = f'<g fill="{INK}" font-family="{FONT}" font-size="13" xml:space="preserve">'
    return "\n".join([head, title, paper, *paths, group, *letters, "</g>", "</svg>", ""])


def runs(line):
    """Yield the column, the text and the style of each part of a line."""
    column, style = 0, {}
    for codes, text in re.findall(r"\x1b\[([0-9;]*)m|([^\x1b]+)", line):
        if text:
            yield column, text, style
            column += len(text)
        else:
            style = styled(style, [int(code or 0) for code in codes.split(";")])


def paint(cells, letters, x, y, text, style):
    """Add a run of letters at a place: its background, and its half blocks or its words."""
    wide = len(text) * WIDE
    if set(text) == {"▀"}:
        cells[short(style["color"])].append(box(x, y, wide, HIGH / 2))
        if "background" in style:
            cells[short(style["background"])].append(box(x, y + HIGH / 2, wide, HIGH / 2))
        return
    if "background" in style:
        cells[short(style["background"])].append(box(x, y, wide, HIGH))
    for match in re.finditer(r"\S+(?: \S+)*", text):
        facts = {"fill": style.get("color"), "opacity": style.get("opacity"), "font-weight": style.get("font-weight")}
        said = "".join(f' {key}="{value}"' for key, value in facts.items() if value)
        long = (match.end() - match.start()) * WIDE
        place = f'x="{x + match.start() * WIDE}" y="{y + HIGH - 4}" textLength="{long}" lengthAdjust="spacingAndGlyphs"'
        letters.append(f"<text {place}{said}>{escape(match[0])}</text>")


def box(x, y, wide, high):
    return f"M{x:g} {y:g}h{wide:g}v{high:g}h{-wide:g}z"


def short(colour):
    """Return a colour in three digits, so that few paths have all cells."""
    return "#" + "".join(f"{round(int(part) / 17):x}" for part in re.findall(r"\d+", colour))
