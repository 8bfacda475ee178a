"""The requests that a page sends to the local server: numbers are read on request, and few answers are cached.

A file that changed on the disk is opened again when the index is requested. Until then every other request is refused,
since its answer would show numbers that no longer exist. A live model is asked for its weights whenever the index is requested.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Event, Lock, RLock, Semaphore
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, SteelyardError, quoted
from steelyard.inspector.columns import compact
from steelyard.inspector.details import (
    detail_of,
    filters_record,
    picture_record,
    picture_size,
    spectrum_record,
)
from steelyard.inspector.index import (
    AFTER,
    OpenedSource,
    Row,
    difference_record,
    finding_record,
    index_of,
    rows_of,
    source_label,
)
from steelyard.inspector.net import net_record
from steelyard.inspector.packing import pack
from steelyard.inspector.panels import heads_record, live_panels
from steelyard.io import opened, weights
from steelyard.measures.check.survey import look
from steelyard.measures.spectra import EXACT, quick_spectrum, without, work
from steelyard.numerics.blocks import is_shared
from steelyard.numerics.matrices import matrix_shape
from steelyard.numerics.picture import change, matrix_of, part_of_matrix, picture
from steelyard.text.progress import counted
from steelyard.text.sparkline import Outline

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.numerics.picture import Window
    from steelyard.numerics.summary import Summary

    Pieces = Iterator[bytes | memoryview]

TINY = 240  # cells of the picture in a row of the table
CELLS = 1 << 14  # cells of a picture of a whole weight, and of all its filters together
SINGULAR_VALUES = 128  # singular values shown per weight
WORK_LIMIT = 2e9  # rows times columns times the shorter side of a matrix that is decomposed on request: about a second
MAX_PICTURE_SIDE = 512  # cells in each direction
MAX_TEXTS = 10_000  # numbers of one answer
KEPT_DETAILS = 64
CONCURRENT_READS = 2  # more would compete for memory and for the processor


class Snapshot(NamedTuple):
    """The opened sources, their rows, notes on the pairing, and a stamp of each file at that time."""

    sources: list[OpenedSource]
    rows: list[Row]
    pairing: list[str]
    stamps: dict[str, tuple[int, ...]]


class Api:
    """Answers the requests of a page about one or two sources; thread-safe.

    Raises `SteelyardError` for an invalid request. `stop` makes every reading in progress raise it too.
    """

    __slots__ = ("_kept", "_live", "_lock", "_reading", "_scope", "_slots", "_snapshot", "_sources", "_stopped")

    def __init__(self, sources: Sequence[object], scope: Scope = "model") -> None:
        self._sources = list(sources)
        self._scope = scope
        self._live = not all(isinstance(source, (str, os.PathLike)) for source in self._sources)
        self._lock = Lock()
        self._reading = RLock()
        self._slots = Semaphore(CONCURRENT_READS)
        self._stopped = Event()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._snapshot = self._open()

    @property
    def sources(self) -> list[OpenedSource]:
        """The sources as they were opened last, the newer first."""
        return self._snapshot.sources

    def stop(self) -> None:
        """Make every reading in progress fail."""
        self._stopped.set()

    def index(self) -> bytes:
        """Return the index of the files as they are now."""
        with self._lock:
            if self._live or not _is_unchanged(self._snapshot):
                self._kept.clear()
                self._snapshot = self._open()
            snapshot = self._snapshot
        return pack(compact(index_of(snapshot.sources, snapshot.rows, snapshot.pairing, live=True)))

    def net(self, view: str) -> bytes:
        """Return what a view of the whole net shows: "grid", "size" or "architecture"."""
        snapshot = self._snapshot
        with self._slots:
            return pack(net_record(view, snapshot.sources, snapshot.rows))

    def detail(self, row: int, side: int) -> bytes:
        """Return all details of a weight; recent answers are cached."""
        snapshot = self._snapshot
        weight = self._weight(row, side)
        with self._lock:
            if (row, side) in self._kept:
                self._kept.move_to_end((row, side))
                return self._kept[row, side]
        with self._slots:
            answer = pack(_detail(weight, snapshot.sources[side].weights))
        with self._lock:
            if snapshot is self._snapshot:  # else the files were opened again meanwhile
                self._kept[row, side] = answer
            while len(self._kept) > KEPT_DETAILS:
                self._kept.popitem(last=False)
        return answer

    def statistics(self, row: int, side: int) -> bytes:
        """Return what the row of a weight shows: statistics, outline, a tiny picture, and findings on its numbers."""
        snapshot = self._snapshot
        weight = self._weight(row, side)
        with self._slots:
            seen = look(weight, None, snapshot.sources[side].weights, lambda weight: picture_size(matrix_of(weight.shape), TINY))
        if seen.error is not None:
            raise seen.error
        record = detail_of(seen, small=False)
        return pack({**record, **_outline(seen.summary), "histogram": None, "findings": list(map(finding_record, seen.findings))})

    def heads(self, row: int, side: int, count: int) -> bytes:
        """Return the heads of a kernel of attention, of which the layer has this number."""
        listed, weight = self._source(side).weights, self._weight(row, side)
        with self._slots:
            return pack(
                heads_record(listed, weight.name, count) or {"error": "this is no kernel of attention", "parts": [], "how": ""}
            )

    def picture(self, row: int, side: int, window: Window, height: int, width: int) -> bytes:
        """Return a picture of a part of a weight, with its cells as float32."""
        weight = self._weight(row, side)
        if not (0 < height <= MAX_PICTURE_SIDE and 0 < width <= MAX_PICTURE_SIDE):
            raise ShapeError(f"a picture has 1 to {MAX_PICTURE_SIDE} rows and columns of cells, not {height} and {width}")
        with self._slots:
            return pack({"picture": picture_record(picture(weight, height, width, window), exact=True)})

    def values(self, row: int, side: int, window: Window) -> bytes:
        """Return the numbers of a part of a weight as text, row by row."""
        weight = self._weight(row, side)
        top, left, bottom, right = window
        if max(bottom - top, 0) * max(right - left, 0) > MAX_TEXTS:
            raise ShapeError(f"an answer holds at most {MAX_TEXTS:,} numbers, not {(bottom - top) * (right - left):,}")
        with self._slots:
            return pack({"texts": [str(number) for number in part_of_matrix(weight, window).reshape(-1)]})

    def compare(self, row: int) -> bytes:
        """Return the difference of a row, and the picture of it."""
        from steelyard.measures.diff import differences

        compared = self._row(row)
        if len(compared.weights) < 2:
            raise ShapeError("there is only one source, so there is nothing to compare it with")
        if compared.couple is None:
            return pack({**difference_record(None, compared), "difference": None})
        with self._slots:
            difference = differences([compared.couple])[0]
            before, after = compared.couple.one, compared.couple.other
            drawn = None
            if difference.changed and before is not None and after is not None:
                drawn = picture_record(picture(change(before, after), *picture_size(matrix_of(after.shape), CELLS)))
        return pack({**difference_record(difference, compared), "difference": drawn})

    def download(self, row: int | None, side: int, form: str) -> tuple[str, Pieces]:
        """Return the name of a file with one weight, or with all of a side, and its bytes piece by piece."""
        from steelyard.formats import numpy, safetensors

        if form not in ("npy", "npz", "safetensors"):
            raise ShapeError(f"unknown format {quoted(form)}; choose npy, npz or safetensors")
        if form == "npy" and row is None:
            raise ShapeError("a .npy file holds one array; choose .npz or .safetensors")
        if row is None:
            chosen, name = self._source(side).weights, os.path.splitext(self._source(side).name)[0]
        else:
            weight = self._weight(row, side).replace(tied=None)
            chosen, name = Weights([weight]), weight.name
        watched = chosen.with_weights(map(self._watched, chosen.values()))
        if form == "npy":
            pieces: Pieces = numpy.pieces_of_array(next(iter(watched.values())))
        else:
            pieces = numpy.pieces(watched) if form == "npz" else safetensors.pieces(watched)
        return f"{name or 'weight'}.{form}", pieces

    def _source(self, side: int) -> OpenedSource:
        if not 0 <= side < len(self._snapshot.sources):
            raise ShapeError(f"unknown side {side}")
        return self._snapshot.sources[side]

    def _row(self, row: int) -> Row:
        snapshot = self._snapshot
        if not _is_unchanged(snapshot):
            raise ShapeError("a file changed on the disk since it was opened; reload the page")
        if not 0 <= row < len(snapshot.rows):
            raise ShapeError(f"unknown row {row:,}: there are {len(snapshot.rows):,}")
        return snapshot.rows[row]

    def _weight(self, row: int, side: int) -> Weight:
        self._source(side)
        weight = self._row(row).weights[side]
        if weight is None:
            raise ShapeError(f"row {row:,} has no weight on side {side}")
        return weight

    def _open(self) -> Snapshot:
        """Open the sources. Only headers are read, unless the names leave open which weights belong together."""
        sources, used = [], set()
        for source in self._sources:
            listed, files = _listed(source, self._scope)
            watched = listed.with_weights(map(self._watched, listed.values()))
            sources.append(OpenedSource(source_label(source), watched, source))
            used.update(files)
        rows, pairing = rows_of(sources)
        return Snapshot(sources, [self._watched_row(row) for row in rows], pairing, {file: _stamp(file) for file in used})

    def _watched_row(self, row: Row) -> Row:
        """Guard the reader of a weight that was given the layout of its partner."""
        if row.couple is None or row.couple.one is None or row.couple.why != "layer":
            return row
        before = self._watched(row.couple.one)
        return Row((row.weights[AFTER], before), row.couple._replace(one=before))

    def _watched(self, weight: Weight) -> Weight:
        """Make reading end when the server does, and serialise the readers that are not thread-safe."""
        read = counted(weight, self._go_on)
        return weight.replace(read=read if is_shared(weight) else _locked(read, self._reading))

    def _go_on(self, _count: int) -> None:
        if self._stopped.is_set():
            raise ShapeError("the server was stopped")


def _listed(source: object, scope: Scope) -> tuple[Weights, set[str]]:
    """Return the weights of a source, and the files they are read from."""
    if isinstance(source, (str, os.PathLike)):
        return opened(os.fspath(source), scope)
    return weights(source), set()


def _locked(read: Reader, lock: Any) -> Reader:
    def locked(start: int, stop: int) -> Array:
        with lock:
            return read(start, stop)

    return locked


def _stamp(file: str) -> tuple[int, ...]:
    """Return a version of a file that changes whenever the file does; empty for a missing file."""
    try:
        status = os.stat(file)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_unchanged(snapshot: Snapshot) -> bool:
    return all(_stamp(file) == stamp for file, stamp in snapshot.stamps.items())


def _detail(weight: Weight, listed: Weights) -> dict[str, Any]:
    """Return all details of a weight, which is read once, and once more each for its filters and its spectrum."""
    seen = look(weight, None, listed, lambda weight: picture_size(matrix_of(weight.shape), CELLS))
    record = detail_of(seen, small=False)
    if seen.error is not None:
        return record
    record |= {"filters": filters_record(weight, CELLS), **_outline(seen.summary), **_spectrum(weight, seen.summary)}
    record |= live_panels(weight, listed, CELLS)
    return record | {"findings": [finding_record(each) for each in seen.findings]}


def _outline(summary: Summary) -> dict[str, Any]:
    """Return the outline of which the page draws a small histogram: its axis is known once the other weights are."""
    low, high, counts = Outline(summary).runs
    return {"outline": {"low": low, "high": high, "counts": counts}}


def _spectrum(weight: Weight, summary: Summary) -> dict[str, Any]:
    """Return the spectrum, or the reason why it is left out."""
    if min(matrix_shape(weight) or (0,)) < 2:
        return {"spectrum": None, "spectrum_why": ""}
    reason = without(weight)
    norm = summary.moments.l2
    if not reason and (not summary.finite or norm is None):
        reason = "it contains NaN or Inf"
    elif not reason and (work(weight) > WORK_LIMIT or min(matrix_shape(weight) or (0,)) > EXACT):
        reason = "it is large and would take long; steelyard spectra computes it"
    if reason or norm is None:
        return {"spectrum": None, "spectrum_why": reason}
    try:
        return {"spectrum": spectrum_record(quick_spectrum(weight, norm), SINGULAR_VALUES), "spectrum_why": ""}
    except (SteelyardError, np.linalg.LinAlgError) as error:
        return {"spectrum": None, "spectrum_why": str(error)}
