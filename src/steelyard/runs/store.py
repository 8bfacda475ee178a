"""The reader of a run's folder: the journal, the records as memory maps, and the paths of the snapshots."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError, WeightNotFoundError, printable
from steelyard.runs.layout import (
    COLUMNS,
    HISTOGRAMS,
    JOURNAL,
    LARGEST,
    LOCK,
    RUN,
    SKETCH,
    SKETCH_BASE_BYTES,
    SKETCH_BYTES,
    SKETCHES,
    SNAPSHOT_NAME,
    SNAPSHOTS,
    STATS,
    Layout,
    histogram_dtype,
    layout_from,
    sketch_dtype,
)
from steelyard.storage.source import from_bytes, open_regular

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Row(NamedTuple):
    """A line of the journal: the step, the epoch if it was given, the time in seconds since 1970, the snapshot, and metrics."""

    step: int
    epoch: float | None
    time: float
    snapshot: str | None
    metrics: Mapping[str, float]


class RecordedRun:
    """A run as it is on the disk when it is opened; a run that is being recorded may be opened again and again.

    `path` is the folder, `layout` the facts of its weights, and `rows` has a `Row` for each record, in order.

    Examples:
        >>> import steelyard, tempfile, numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> with steelyard.record(folder) as rec:
        ...     for step in (1, 2):
        ...         rec(step, {"w": np.full(3, float(step))}, metrics={"loss": 1 / step})
        >>> run = open_run(folder)
        >>> run.steps, run.names, run.metric("loss").tolist()
        ([1, 2], ['w'], [1.0, 0.5])
        >>> run.column("mean")[:, 0].tolist(), run.column("update")[1, 0].item() == 3**0.5
        ([1.0, 2.0], True)
    """

    def __init__(self, path: str, layout: Layout, rows: tuple[Row, ...]) -> None:
        self.path = path
        self.layout = layout
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> list[int]:
        """The step of each record, ascending."""
        return [row.step for row in self.rows]

    @property
    def names(self) -> list[str]:
        """The names of the weights that have records, in the framework's order."""
        return [fact.name for fact in self.layout.recorded]

    def metric(self, name: str) -> Array:
        """Return a metric at each record, NaN where it was not given. Raises `WeightNotFoundError` for an unknown one."""
        import numpy as np

        known = {key for row in self.rows for key in row.metrics}
        if name not in known:
            raise WeightNotFoundError(name, sorted(known), "metric")
        return np.array([row.metrics.get(name, np.nan) for row in self.rows])

    @cached_property
    def stats(self) -> Array:
        """The statistics, as a read-only map of shape (records, weights, columns) in float64."""
        shape = (len(self.rows), len(self.layout.recorded), len(COLUMNS))
        return _map(self._file(STATS), "<f8", shape)

    def column(self, name: str) -> Array:
        """Return one of `COLUMNS`, with a row for each record and a column for each weight."""
        if name not in COLUMNS:
            raise WeightNotFoundError(name, COLUMNS, "column")
        return self.stats[:, :, COLUMNS.index(name)]

    @property
    def histogram_rows(self) -> range:
        """The records that have a histogram."""
        return range(0, len(self.rows), self.layout.histogram)

    @cached_property
    def histograms(self) -> Array:
        """The histograms of the records `histogram_rows`: a read-only map of shape (histograms, weights).

        Its fields are `low` and `high`, the range of the finite numbers, `quantiles`, those of `steelyard.stats`, and `counts`
        in 128 bins of equal width over the range, or over [low, low + 1] if all numbers are equal; NaN without numbers.
        """
        return _map(self._file(HISTOGRAMS), histogram_dtype(), (len(self.histogram_rows), len(self.layout.recorded)))

    def sketches(self) -> Array:
        """Return the sketch at each record: float32, of shape (records, 1024).

        Distances, angles and principal components of sketches estimate those of the vectors of all weights that are floats.
        """
        import numpy as np

        made = np.empty((len(self.rows), SKETCH), np.float32)
        if len(made):
            path = self._file(SKETCHES)
            made[0] = _map(path, "<f4", (SKETCH,))
            made[1:] = _map(path, sketch_dtype(), made.shape, SKETCH_BASE_BYTES)[1:]
        with np.errstate(all="ignore"):  # a damaged record may have any numbers
            summed: Array = np.add.accumulate(made, axis=0)  # in order, as the recorder summed them, to the last bit
        return summed

    def snapshots(self) -> dict[int, str]:
        """Return the path of each snapshot by its step."""
        named = {row.step: self._file(row.snapshot) for row in self.rows if row.snapshot}
        return {step: path for step, path in named.items() if os.path.isfile(path)}

    def _file(self, name: str) -> str:
        return own(self.path, name)


def own(folder: str, name: str) -> str:
    """Return the path of a file of a run. Raises `FormatError` for a pipe, and `UnsafeFileError` for a link out of the folder."""
    path = os.path.join(folder, name)
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode) and not _is_inside(folder, path):
            raise UnsafeFileError(folder, f"its {name} is a link that leads out of the folder")
        kind = os.stat(path).st_mode
    except OSError:
        return path  # it is missing, which whoever opens it says
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise FormatError(path, "is a pipe, a socket or a device, not a regular file")
    return path


def _is_inside(folder: str, path: str) -> bool:
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def require_own(folder: str) -> None:
    """Raise the errors of `own` for each file of a run that is there."""
    for name in (RUN, JOURNAL, STATS, HISTOGRAMS, SKETCHES, SNAPSHOTS, LOCK):
        own(folder, name)


def open_run(path: str | os.PathLike[str]) -> RecordedRun:
    """Open a run's folder. Raises `FileMissingError` if it is none, and `FormatError` if it is damaged."""
    folder = os.fspath(path)
    require_own(folder)
    layout = read_layout(folder)
    rows = read_journal(folder)
    return RecordedRun(folder, layout, rows[: complete(folder, layout, len(rows))])


def is_packed(path: str) -> bool:
    """Whether a file is an archive of `steelyard pack`: a ZIP whose first entry is the layout of a run."""
    try:
        with open_regular(path) as file:
            head = file.read(30 + len(RUN))
    except (OSError, ValueError):
        return False
    return head[:4] == b"PK\x03\x04" and head[26:28] == len(RUN).to_bytes(2, "little") and head[30:] == RUN.encode()


def read_layout(folder: str) -> Layout:
    """Read run.json; raises as `open_run` does."""
    path = os.path.join(folder, RUN)
    try:
        with open_regular(path) as file:
            content = file.read(limits.JSON + 1)
        if len(content) > limits.JSON:
            raise ValueError(f"it has more than {limits.JSON:,} bytes")
        check_json(content, from_bytes(content, path))
        return layout_from(json.loads(content))
    except FileNotFoundError:
        raise FileMissingError(f"{printable(folder)} is no recorded run: it has no {RUN}") from None
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(path, f"is not the layout of a run ({printable(error)})") from None


def read_journal(folder: str) -> tuple[Row, ...]:
    """Read all complete lines of the journal; a last line without its end was being written when the recorder was killed."""
    path = os.path.join(folder, JOURNAL)
    try:
        with open_regular(path) as file:
            return _rows(_lines(file, path), path)
    except FileNotFoundError:
        return ()


def _lines(file: BinaryIO, path: str) -> Iterator[bytes]:
    """Yield the complete lines; a damaged journal may have no ends of lines for gigabytes."""
    while (line := file.readline(limits.TEXT)).endswith(b"\n"):
        yield line
    if len(line) == limits.TEXT:
        raise FormatError(path, f"has a line of more than {limits.TEXT:,} bytes")


def _rows(lines: Iterable[bytes], path: str) -> tuple[Row, ...]:
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise FormatError(path, f"line {number:,} is not a record of a run") from None
        if number > 1 and rows[-1].step <= rows[-2].step:
            raise FormatError(path, f"line {number:,} has step {rows[-1].step:,}, after step {rows[-2].step:,}")
    return tuple(rows)


def _row(found: Mapping[str, object]) -> Row:
    step, snapshot, metrics, epoch = found["step"], found["snapshot"], found["metrics"], found["epoch"]
    if not isinstance(step, int) or not 0 <= step <= LARGEST or not isinstance(metrics, dict):
        raise TypeError(step)
    if snapshot is not None and (not isinstance(snapshot, str) or not SNAPSHOT_NAME.fullmatch(snapshot)):
        raise ValueError(snapshot)
    values = {key: float(value) for key, value in metrics.items()}  # JSON has no NaN and Inf, which are written as words
    return Row(step, None if epoch is None else float(str(epoch)), float(str(found["time"])), snapshot, values)


def complete(folder: str, layout: Layout, rows: int) -> int:
    """Return how many of the journal's rows have all of their records."""
    if not rows:
        return 0
    size = {name: _size(os.path.join(folder, name)) for name in (STATS, HISTOGRAMS, SKETCHES)}
    whole = min(rows, max(size[SKETCHES] - SKETCH_BASE_BYTES, 0) // SKETCH_BYTES)
    if layout.stats_bytes:
        histograms = size[HISTOGRAMS] // layout.histogram_bytes
        whole = min(whole, size[STATS] // layout.stats_bytes, histograms * layout.histogram)
    return whole


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _map(path: str, dtype: object, shape: tuple[int, ...], offset: int = 0) -> Array:
    """Map a file read-only; an empty one cannot be mapped."""
    import numpy as np

    if 0 in shape:
        return np.empty(shape, np.dtype(dtype))  # type: ignore[call-overload]
    return np.memmap(path, np.dtype(dtype), "r", offset, shape)  # type: ignore[call-overload,no-any-return]
