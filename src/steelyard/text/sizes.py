"""The size of a net as text: a tree of layers with their shares, and a table of types."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.text.table import TIMES, Column, drawn, name_text
from steelyard.text.terminal import Screen, screen_of
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.measures.size import Size, SizeRow

MOST = 40
"""Rows that are shown where no depth is asked for: as many levels as have at most these."""
LONGEST = 16
"""Characters of the longest bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉"
ALONE = "these are the weights alone: activations, and the cache of a language model, need memory too"


def size_text(size: Size) -> str:
    """Return the text that printing a size in Python shows."""
    return "\n".join(size_lines(size, Screen(screen_of(sys.stdout).width)))


def size_lines(size: Size, screen: Screen, depth: int | None = None, memory: int | None = None) -> Iterator[str]:
    """Yield the tree down to a depth, the totals, the table of types, and whether these fit into a memory of so many bytes."""
    if not size.rows:
        yield "no weights"
        return
    rows = shown(size, depth)
    yield from drawn([column for column in row_columns(size, rows) if column.width], screen)
    yield ""
    yield from map(screen.broken, totals(size))
    yield ""
    yield from drawn(type_columns(size), screen)
    for line in notes(size):
        yield screen.paint(screen.broken(line), "dim")
    if memory is not None:
        yield ""
        yield from map(screen.broken, fit_lines(size, memory))


def shown(size: Size, depth: int | None = None) -> list[SizeRow]:
    """Return the rows down to a depth, by default to the deepest with at most `MOST` rows; those at the top always."""
    deepest = max((row.depth for row in size.rows), default=0)
    if depth is None:
        counts = [sum(row.depth <= level for row in size.rows) for level in range(deepest + 1)]
        depth = max((level for level, count in enumerate(counts) if count <= MOST), default=0)
    return [row for row in size.rows if row.depth <= depth]


def row_columns(size: Size, rows: Sequence[SizeRow]) -> list[Column]:
    """Return the columns of the tree, a row for each layer; empty ones have no width."""
    some_frozen = size.frozen > 0
    return [
        Column("name", [f"{'  ' * row.depth}{name_text(row.label)}" for row in rows], head="layer"),
        Column("repeats", [f"{row.times:,} {TIMES}" if row.times > 1 else "" for row in rows], right=True, head=""),
        Column("parameters", [_count(row) for row in rows], right=True),
        Column("share", [percent(row.share) if row.share else "" for row in rows], right=True, head="%"),
        Column("bar", [bar(row.share) for row in rows], head=""),
        Column("frozen", [f"{row.frozen:,}" if row.frozen else "" for row in rows] if some_frozen else [], right=True),
        Column("buffers", [f"{row.buffers:,}" if row.buffers else "" for row in rows], right=True),
        Column("other", [f"{row.other:,}" if row.other else "" for row in rows], right=True),
        Column("bytes", [in_units(row.nbytes) if row.nbytes else "" for row in rows], right=True),
    ]


def _count(row: SizeRow) -> str:
    if row.parameters:
        return f"{row.parameters:,}"
    return "tied" if row.tied and not row.nbytes else ""


def percent(share: float) -> str:
    """Format a share as a number of percent; a small one is not none.

    >>> percent(0.31016), percent(0.0001), percent(1.0)
    ('31.0', '<0.1', '100.0')
    """
    return "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"


def bar(share: float, longest: int = LONGEST) -> str:
    """Return a bar whose length is a share, to an eighth of a character.

    >>> bar(0.5, 4), bar(0.28, 4)
    ('██', '█▏')
    """
    eighths = round(8 * longest * min(max(share, 0.0), 1.0)) or (1 if share > 0 else 0)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def totals(size: Size) -> Iterator[str]:
    """Yield sentences on the numbers: parameters and whether they are trainable, buffers, and what lies beside the model."""
    words = []
    if size.parameters or not size.other:
        words += [f"{counted(size.parameters, 'parameter')}{_trainable(size)}"]
    words += [f"{counted(size.buffers, 'number')} in buffers"] if size.buffers else []
    words += [f"{counted(size.other, 'number')} that may be parameters or buffers"] if size.other else []
    words += [f"{size.tied:,} more are tied, and counted once"] if size.tied else []
    yield "; ".join(words)
    held = (("the optimizer's state", size.beside.optimizer_bytes), ("other tensors", size.beside.rest_bytes))
    beside = [f"{what} {in_units(nbytes)}" for what, nbytes in held if nbytes]
    if beside:
        yield f"in the file beside the model, not counted here: {', '.join(beside)}"


def _trainable(size: Size) -> str:
    if not size.parameters or size.unknown == size.parameters:
        return " (whether they are trainable is not known)" if size.parameters else ""
    if size.parameters in (size.trainable, size.frozen):
        return ", all trainable" if size.trainable else ", all frozen"
    counts = ((size.trainable, "trainable"), (size.frozen, "frozen"), (size.unknown, "not known to be either"))
    return f": {', '.join(f'{count:,} {word}' for count, word in counts if count)}"


def type_columns(size: Size) -> list[Column]:
    """Return the columns of the table of types: the bytes of the weights as they are stored, and in each type."""
    listed = [("as stored", size.nbytes), *((word, each.nbytes) for word, each in size.encodings.items())]
    largest = max(nbytes for _, nbytes in listed) or 1
    return [
        Column("name", [word for word, _ in listed], head="weights"),
        Column("nbytes", [in_units(nbytes) for _, nbytes in listed], right=True, head="bytes"),
        Column("bar", [bar(nbytes / largest) for _, nbytes in listed], head=""),
    ]


def notes(size: Size) -> Iterator[str]:
    """Yield which matrices do not have a type; types with the same ones share a line."""
    said: dict[str, list[str]] = {}
    for each in size.encodings.values():
        if each.note:
            said.setdefault(each.note, []).append(each.word)
    for note, words in said.items():
        yield f"{', '.join(words)}: {note}"


def fit_lines(size: Size, memory: int) -> Iterator[str]:
    """Yield whether the weights fit into a memory of so many bytes, in which types, and what training would take."""
    fitting = [word for word, each in size.encodings.items() if each.nbytes <= memory]
    other = [word for word in size.encodings if word not in fitting]
    number, unit = in_units(memory).split()
    into = f"into {number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
    if not fitting:
        yield f"{into} the weights fit in none of these types; {ALONE}"
    elif not other:
        yield f"{into} the weights fit in each of these types; {ALONE}"
    else:
        yield f"{into} the weights fit as {_named(size, fitting)}, not as {_named(size, other)}; {ALONE}"
    fits = "fits" if size.training <= memory else "does not fit"
    what = f"training in float32 with Adam, 16 bytes a parameter, takes {in_units(size.training)} without activations"
    yield f"{what}, which {fits}"


def _named(size: Size, words: Sequence[str]) -> str:
    return ", ".join(f"{word} ({in_units(size.encodings[word].nbytes)})" for word in words)
