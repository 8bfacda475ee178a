"""What the local server answers: everything is read when it is asked for, and little is kept.

A file that changed on the disk is opened anew when the index is asked for; until then other answers would be of numbers that
are no longer there, and are refused.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Event, Lock, RLock, Semaphore
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.converting import opened
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, SteelyardError, printable
from steelyard.inspector.details import (
    SPARK,
    detail_of,
    figures_record,
    filters_record,
    grid,
    picture_record,
    spectrum_record,
)
from steelyard.inspector.index import Row, Side, difference_record, finding_record, index_of, rows_of
from steelyard.inspector.packing import pack
from steelyard.measures.check.survey import look
from steelyard.measures.spectra import EXACT, spectrum, without, work
from steelyard.numerics.blocks import is_shared
from steelyard.numerics.matrices import matrix_shape
from steelyard.numerics.picture import change, matrix_of, part_of_matrix, picture
from steelyard.numerics.summary import summarise
from steelyard.text.progress import counted
from steelyard.text.sparkline import Outline, axis_of

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.numerics.picture import Window
    from steelyard.numerics.summary import Summary

    Pieces = Iterator[bytes | memoryview]

CELLS = 1 << 14
"""Cells of a picture of a whole weight, and of all its filters."""
VALUES = 128
"""Singular values that are shown."""
WORK = 2e9
"""Rows times columns times the shorter side of a matrix that is decomposed while somebody waits: about a second."""
SIDE = 512
"""Rows and columns of cells that may be asked for."""
TEXTS = 10_000
"""Numbers that may be asked for as text."""
KEPT = 64
"""Details that are kept."""
TOGETHER = 2
"""Weights that are looked at together: memory and the processor are shared."""


class State(NamedTuple):
    """What was opened: the sides, their rows, what is to be said, and how the files were then."""

    sides: list[Side]
    rows: list[Row]
    told: list[str]
    stamps: dict[str, tuple[int, ...]]


class Answers:
    """The answers to all that a page may ask of one or two files; several threads may ask at once.

    Raises `SteelyardError` for what cannot be answered; `stop` makes every reading end so.
    """

    __slots__ = ("_kept", "_lock", "_paths", "_reading", "_scope", "_state", "_stopped", "_turn")

    def __init__(self, paths: Sequence[str], scope: Scope = "model") -> None:
        self._paths = list(paths)
        self._scope = scope
        self._lock = Lock()
        self._reading = RLock()
        self._turn = Semaphore(TOGETHER)
        self._stopped = Event()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._state = self._opened()

    def stop(self) -> None:
        """Let whoever reads now fail."""
        self._stopped.set()

    def index(self) -> bytes:
        """Return what is known at once, of the files as they are now."""
        with self._lock:
            if not _is_unchanged(self._state):
                self._kept.clear()
                self._state = self._opened()
            state = self._state
        return pack(index_of(state.sides, state.rows, state.told, live=True))

    def detail(self, row: int, side: int) -> bytes:
        """Return all there is to see of a weight; what was asked for lately is kept."""
        state = self._state
        weight = self._weight(row, side)
        with self._lock:
            if (row, side) in self._kept:
                self._kept.move_to_end((row, side))
                return self._kept[row, side]
        with self._turn:
            found = pack(_detail(weight, state.sides[side].weights))
        with self._lock:
            if state is self._state:  # else the files were opened anew meanwhile
                self._kept[row, side] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def figures(self, row: int, side: int) -> bytes:
        """Return the figures of a weight and its histogram, without a picture."""
        weight = self._weight(row, side)
        with self._turn:
            summary = summarise([weight])
        return pack({"figures": figures_record(weight, summary), **_spark(summary)})

    def picture(self, row: int, side: int, window: Window, height: int, width: int) -> bytes:
        """Return the picture of a part of a weight, its cells as they are."""
        weight = self._weight(row, side)
        if not (0 < height <= SIDE and 0 < width <= SIDE):
            raise ShapeError(f"a picture has 1 to {SIDE} rows and columns of cells, not {height} and {width}")
        with self._turn:
            return pack({"picture": picture_record(picture(weight, height, width, window), exact=True)})

    def values(self, row: int, side: int, window: Window) -> bytes:
        """Return the numbers of a part of a weight as text, row by row."""
        weight = self._weight(row, side)
        top, left, bottom, right = window
        if max(bottom - top, 0) * max(right - left, 0) > TEXTS:
            raise ShapeError(f"at most {TEXTS:,} numbers are written out, not {(bottom - top) * (right - left):,}")
        return pack({"texts": [str(number) for number in part_of_matrix(weight, window).reshape(-1)]})

    def compare(self, row: int) -> bytes:
        """Return what differs in a row, and the picture of that."""
        from steelyard.measures.diff import differences

        found = self._row(row)
        if len(found.weights) < 2:
            raise ShapeError("there is one file, and nothing to compare it with")
        if found.couple is None:
            return pack({**difference_record(None, found), "difference": None})
        with self._turn:
            told = differences([found.couple])[0]
            one, other = found.couple.one, found.couple.other
            drawn = None
            if told.changed and one is not None and other is not None:
                drawn = picture_record(picture(change(one, other), *grid(matrix_of(other.shape), CELLS)))
        return pack({**difference_record(told, found), "difference": drawn})

    def download(self, row: int | None, side: int, form: str) -> tuple[str, Pieces]:
        """Return the name of a file with one weight, or all of a side, and its bytes piece by piece."""
        from steelyard.formats import numpy, safetensors

        if row is None:
            found, name = self._side(side).weights, os.path.splitext(self._side(side).name)[0]
        else:
            weight = self._weight(row, side).replace(tied=None)
            found, name = Weights([weight]), weight.name
        if form == "npy" and row is None:
            raise ShapeError("a .npy file holds one array; ask for .npz or .safetensors")
        if form not in ("npy", "npz", "safetensors"):
            raise ShapeError(f"{printable(form)!r} is no format; there are npy, npz and safetensors")
        watched = found.with_weights(map(self._watched, found.values()))
        if form == "npy":
            made: Pieces = numpy.pieces_of_array(next(iter(watched.values())))
        else:
            made = numpy.pieces(watched) if form == "npz" else safetensors.pieces(watched)
        return f"{name or 'weight'}.{form}", made

    def _side(self, side: int) -> Side:
        if not 0 <= side < len(self._state.sides):
            raise ShapeError(f"there is no side {side}")
        return self._state.sides[side]

    def _row(self, row: int) -> Row:
        state = self._state
        if not _is_unchanged(state):
            raise ShapeError("a file changed on the disk since it was opened; reload the page")
        if not 0 <= row < len(state.rows):
            raise ShapeError(f"there is no row {row:,}: there are {len(state.rows):,}")
        return state.rows[row]

    def _weight(self, row: int, side: int) -> Weight:
        self._side(side)
        weight = self._row(row).weights[side]
        if weight is None:
            raise ShapeError(f"row {row:,} has no weight on side {side}")
        return weight

    def _opened(self) -> State:
        """Open the files; nothing but their headers is read, unless names do not tell which weights belong together."""
        sides, used = [], set()
        for path in self._paths:
            found, files = opened(path, self._scope)
            watched = found.with_weights(map(self._watched, found.values()))
            sides.append(Side(os.path.basename(path.rstrip("/")) or path, watched, path))
            used.update(files)
        rows, told = rows_of(sides)
        return State(sides, [self._watched_row(row) for row in rows], told, {file: _stamp(file) for file in used})

    def _watched_row(self, row: Row) -> Row:
        """Guard the reading of a weight that was laid out as its partner is."""
        if row.couple is None or row.couple.one is None or row.couple.why != "layer":
            return row
        one = self._watched(row.couple.one)
        return Row((row.weights[0], one), row.couple._replace(one=one))

    def _watched(self, weight: Weight) -> Weight:
        """Let reading end when the server does, and let one thread at a time read what several may not."""
        read = counted(weight, self._go_on)
        return weight.replace(read=read if is_shared(weight) else _locked(read, self._reading))

    def _go_on(self, _count: int) -> None:
        if self._stopped.is_set():
            raise ShapeError("the server was stopped")


def _locked(read: Reader, lock: Any) -> Reader:
    def alone(start: int, stop: int) -> Array:
        with lock:
            return read(start, stop)

    return alone


def _stamp(file: str) -> tuple[int, ...]:
    """Return what changes where a file does; nothing for one that is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_unchanged(state: State) -> bool:
    return all(_stamp(file) == stamp for file, stamp in state.stamps.items())


def _detail(weight: Weight, found: Weights) -> dict[str, Any]:
    """Return all there is to see of a weight, which is read once, or once more for its filters and its spectrum."""
    seen = look(weight, None, found, lambda weight: grid(matrix_of(weight.shape), CELLS))
    record = detail_of(seen, small=False)
    if seen.error is not None:
        return record
    record |= {"filters": filters_record(weight, CELLS), **_spark(seen.summary), **_spectrum(weight, seen.summary)}
    return record | {"findings": [finding_record(each) for each in seen.findings]}


def _spark(summary: Summary) -> dict[str, Any]:
    """Return the histogram on an axis of its own."""
    end = axis_of([summary])
    return {"spark": Outline(summary).heights(end, SPARK), "spark_end": end}


def _spectrum(weight: Weight, summary: Summary) -> dict[str, Any]:
    why = without(weight)
    norm = summary.moments.l2
    if not why and (not summary.finite or norm is None):
        why = "it is not finite"
    elif not why and (work(weight) > WORK or min(matrix_shape(weight) or (0,)) > EXACT):
        why = "it is large, and would take long; steelyard spectra has it"
    if why or norm is None:
        return {"spectrum": None, "spectrum_why": why}
    try:
        return {"spectrum": spectrum_record(spectrum(weight, norm, null_draws=0), VALUES), "spectrum_why": ""}
    except (SteelyardError, np.linalg.LinAlgError) as error:
        return {"spectrum": None, "spectrum_why": str(error)}
