"""`history`: looking back at a recorded run, or at a pile of checkpoints, as a net along its training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any, Literal

from steelyard.errors import FormatError, ShapeError, WeightNotFoundError, printable
from steelyard.text import tabular
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.runs.checkpoints import CheckpointRun
    from steelyard.runs.comparing import RunComparison
    from steelyard.runs.curves import By, Curves
    from steelyard.runs.events import HistoryRows
    from steelyard.runs.places import Ridgeline, WeightPath
    from steelyard.runs.store import RecordedRun

    Run = RecordedRun | CheckpointRun


def history(source: Any, *, seed: int = 0) -> History:
    """Return the history of a training: of a folder that `steelyard.record` wrote, or of checkpoints.

    `source` is the folder of a run; a folder of checkpoints, such as transformers (`checkpoint-500`), Lightning
    (`epoch=1-step=500.ckpt`), Keras (`ModelCheckpoint`) and Orbax (`500/`) write; a pattern such as "run/*.pt"; a list of paths;
    or a mapping of steps to anything that `steelyard.weights` takes. The steps of checkpoints are the numbers in their names, in
    ascending order; `origin` says which. Their statistics are computed when they are asked for, in one pass over the numbers, and
    kept in memory; `seed` is that of their sketch. A run that is being recorded is read as it is now.

    Raises `FileMissingError`, `FormatError` for a folder without either, and `AmbiguityError` where names do not tell the steps.

    Examples:
        >>> import numpy as np, tempfile, steelyard
        >>> folder = tempfile.mkdtemp()
        >>> with steelyard.record(folder, snapshot=2) as rec:
        ...     for step in range(5):
        ...         rec(step, {"fc": {"weight": np.full((2, 2), 2.0**step)}}, metrics={"loss": abs(step - 2)})
        >>> h = history(folder)
        >>> h.steps, h.norms()["fc.weight"].tolist(), h.ratios()["fc.weight"].tolist()
        ([0, 1, 2, 3, 4], [2.0, 4.0, 8.0, 16.0, 32.0], [nan, 1.0, 1.0, 1.0, 1.0])
        >>> h.best("loss"), h.at(2)["fc.weight"].numpy().tolist()
        (2, [[4.0, 4.0], [4.0, 4.0]])
        >>> history({10: {"w": np.ones(4)}, 20: {"w": np.zeros(4)}}).distances().tolist()
        [[0.0, 2.0], [2.0, 0.0]]
    """
    from steelyard.runs.store import open_run

    if isinstance(source, History):
        return source
    is_run = isinstance(source, (str, os.PathLike)) and _is_run(os.fspath(source))
    return History(open_run(source) if is_run else _pile(source, seed))


def _pile(source: Any, seed: int) -> CheckpointRun:
    from steelyard.runs.checkpoints import CheckpointRun
    from steelyard.runs.steps import by_steps
    from steelyard.runs.store import is_packed

    if isinstance(source, (str, os.PathLike)) and is_packed(os.fspath(source)):
        raise FormatError(os.fspath(source), "is a packed run; steelyard pack --back unpacks it into a folder")
    if isinstance(source, Mapping):
        if not all(isinstance(step, int) and step >= 0 for step in source):
            raise ShapeError("the keys of a mapping must be steps, numbers from 0; steelyard.weights takes a mapping of arrays")
        pile, name = by_steps(source), counted(len(source), "checkpoint")
    else:
        pile, name = _named(source)
    if not pile.checkpoints:
        raise ShapeError("there are no checkpoints; pass at least one")
    return CheckpointRun(name, pile, seed)


def _is_run(path: str) -> bool:
    from steelyard.runs.layout import LOCK, RUN

    return any(os.path.exists(os.path.join(path, name)) for name in (RUN, LOCK))


def _named(source: str | os.PathLike[str] | Iterable[Any]) -> tuple[Any, str]:
    """Return the pile of a folder, a pattern or several paths, and its name."""
    from steelyard.paths import expanded
    from steelyard.runs.steps import by_names, in_folder

    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        found = [path] if os.path.lexists(path) else expanded([path])
        is_one = found == [path] and not os.path.isfile(path)
        return in_folder(path) if is_one else by_names(found), path
    paths = [os.fspath(each) if isinstance(each, (str, os.PathLike)) else None for each in source]
    named = [path for path in paths if path is not None]
    if len(named) < len(paths):
        raise ShapeError("checkpoints without names have no steps; pass a mapping of steps to models, as {1000: net}")
    if not named:
        raise ShapeError("there are no checkpoints; pass at least one")
    return by_names(named), counted(len(named), "checkpoint")


class History:
    """A net along its training, made by `steelyard.history`; printed with its last steps and what a reader should look at.

    `path` is the folder, `steps` the step of each record, and `names` those of the weights. `origin` says where the steps of
    checkpoints are from, blank for a run.
    """

    __slots__ = ("run",)

    def __init__(self, run: Run) -> None:
        self.run = run

    def __len__(self) -> int:
        return len(self.run)

    @property
    def path(self) -> str:
        """The folder of the run."""
        return self.run.path

    @property
    def steps(self) -> list[int]:
        """The step of each record, ascending."""
        return self.run.steps

    @property
    def names(self) -> list[str]:
        """The names of the weights, in the framework's order, tied ones once."""
        return self.run.names

    @property
    def epochs(self) -> list[float | None]:
        """The epoch of each record, None where it was not given."""
        return [row.epoch for row in self.run.rows]

    @property
    def snapshots(self) -> list[int]:
        """The steps of which all weights were kept."""
        return sorted(self.run.snapshots())

    @property
    def metrics(self) -> dict[str, Array]:
        """The metrics by name, each with a number for each record, NaN where it was not given."""
        import numpy as np

        names = dict.fromkeys(name for row in self.run.rows for name in row.metrics)
        return {name: np.array([row.metrics.get(name, np.nan) for row in self.run.rows]) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """What was said of the training: `record(..., settings=)`, or what a callback of a search knew of its fit."""
        return dict(self.run.layout.settings)

    @property
    def origin(self) -> str:
        """Where the steps of checkpoints are from, and which files have none; blank for a recorded run."""
        pile = getattr(self.run, "pile", None)
        if pile is None:
            return ""
        left_out = f"; left out: {', '.join(map(printable, pile.left_out[:3]))}" if pile.left_out else ""
        return f"{pile.origin}{left_out}{', ...' if len(pile.left_out) > 3 else ''}"

    def refresh(self) -> History:
        """Return the history of the same source as it is now, with the records that were added since."""
        from steelyard.runs.store import RecordedRun, open_run

        return History(open_run(self.path)) if isinstance(self.run, RecordedRun) else self

    def curve(self, figure: str, by: By = "weight") -> Curves:
        """Return a figure at each record: one of `steelyard.stats`, such as "mean", or a quantile, such as "median".

        Quantiles are those of the records with histograms, of a recorded run each tenth. "norm", "update" and "ratio" are also
        known `by` "layer" and "all". Raises `WeightNotFoundError` for an unknown figure.
        """
        from steelyard.runs.curves import curve_of

        return curve_of(self.run, figure, by)

    def norms(self, by: By = "weight") -> Curves:
        """Return the Euclidean norm of each weight, layer, or of all weights, at each record."""
        return self.curve("norm", by)

    def updates(self, by: By = "weight") -> Curves:
        """Return the distance to the record before; NaN for the first record, and the first after a run was continued."""
        return self.curve("update", by)

    def ratios(self, by: By = "weight") -> Curves:
        """Return update ratios: the distance to the record before, over the norm of that record.

        With a record for each step of an optimizer a ratio near 1e-3 is usual; a much smaller one hardly learns. Records that
        are many steps apart have larger ones.
        """
        return self.curve("ratio", by)

    def ridgeline(self, name: str) -> Ridgeline:
        """Return the distributions of a weight along the run. Raises `WeightNotFoundError`."""
        from steelyard.runs.places import ridgeline

        return ridgeline(self.run, self._rank(name))

    def distances(self, to: int | None = None) -> Array:
        """Return the distances of all pairs of records, or of all records to that of step `to`, by the sketches of all weights.

        They are off by some percent of themselves, at most 6 in our measurements; `updates` are exact.
        """
        from steelyard.runs.places import distances

        rows = self.run.sketches()
        if to is None:
            return distances(rows, rows)
        row: Array = distances(rows, rows[[self._record(to)]])[:, 0]
        return row

    def pca(self, components: int = 2) -> WeightPath:
        """Return the path of the net on the first principal components of all records, by their sketches."""
        from steelyard.runs.places import path_of

        return path_of(self.run, components)

    def nonfinite(self) -> HistoryRows:
        """Return where NaN and Inf began: for each weight with some the first record, and the index of the first such number."""
        from steelyard.runs.events import nonfinite

        return nonfinite(self.run)

    def blame(self, since: int | None = None, until: int | None = None) -> HistoryRows:
        """Return which weights moved in the records after step `since` up to `until`, the most first, and when they did most."""
        from steelyard.runs.events import blame

        return blame(self.run, since, until)

    def jumps(self, top: int = 10) -> HistoryRows:
        """Return the updates of the whole net that are largest beside those near them, and the weight that moved most."""
        from steelyard.runs.events import jumps

        return jumps(self.run, top)

    def frozen(self, last: int = 10) -> list[str]:
        """Return the weights that did not move in the last records, while others did."""
        from steelyard.runs.events import frozen

        return frozen(self.run, last)

    def alarms(self) -> list[str]:
        """Return a sentence for each thing to look at: NaN and Inf, jumps of ten times and more, frozen weights."""
        from steelyard.runs.events import alarms

        return alarms(self.run)

    def units(self, step: int | None = None, since: int | None = None) -> HistoryRows:
        """Return the units that are dead at a step, or did not move `since` another one while others of their layer did.

        Both are steps of snapshots, by default the last and the first. A dead unit has weights with a norm below 1e-6; so does a
        channel of a norm with such a scale.
        """
        from steelyard.runs.units import units

        kept = self.snapshots
        step = kept[-1] if step is None and kept else step
        since = kept[0] if since is None and kept and kept[0] != step else since
        return units(self.at(-1 if step is None else step), None if since is None else self.at(since))

    def at(self, step: int) -> Weights:
        """Return the weights of the snapshot of a step, with the roles and axes that the model had. Raises `ShapeError`."""
        from steelyard.runs.checkpoints import snapshot_of

        return snapshot_of(self.run, step)

    def best(self, metric: str, *, kept: bool = False) -> int:
        """Return the step with the least value of a metric, or of "max:acc" the greatest; with `kept`, of those with snapshots.

        Raises `WeightNotFoundError` for an unknown metric, `AmbiguityError` for one that may be better when it is greater, and
        `ShapeError` if it has no numbers.
        """
        from steelyard.runs.rules import best_of

        name, greater = best_of(metric, 'best("{}")')
        known = self.metrics
        if name not in known:
            raise WeightNotFoundError(name, known, "metric")
        steps = set(self.snapshots) if kept else set(self.steps)
        found = zip(self.steps, known[name].tolist(), strict=True)
        values = [(value, step) for step, value in found if step in steps and not isnan(value)]
        if not values:
            raise ShapeError(
                f"{printable(self.path)} has no {'snapshot' if kept else 'record'} with a number of {printable(name)}"
            )
        return (max if greater else min)(values, key=lambda each: each[0])[1]

    def restore(self, model: Any, step: int) -> Any:
        """Put the weights of the snapshot of a step into a live model, bit for bit, and return it, as `Weights.assign` does."""
        from steelyard.io import weights

        return weights(model).assign(self.at(step))

    def average(self, steps: Iterable[int] | None = None, *, buffers: Literal["average", "last"] = "last") -> Weights:
        """Return the mean of the snapshots of these steps, by default of all, as `steelyard.swa` does."""
        from steelyard.editing.averaging import swa

        return swa([self.at(step) for step in (self.snapshots if steps is None else steps)], buffers=buffers)

    def directions(self, step: int | None = None, *, seed: int = 0) -> tuple[Weights, Weights]:
        """Return two random directions for a surface of the loss around the snapshot of a step, by default the last.

        Each filter has the norm of the same filter of the net; biases, norms and state are zero (Li et al., "Visualizing the
        Loss Landscape of Neural Nets", 2018). Assign `w + a * one + b * other` to a model, and compute its loss.
        """
        from steelyard.runs.units import directions

        kept = self.snapshots
        return directions(self.at(kept[-1] if step is None and kept else -1 if step is None else step), seed)

    def compare(self, other: Any) -> RunComparison:
        """Compare with another run: whether both began with the same weights, where they part, and how far they are apart."""
        from steelyard.runs.comparing import compare

        return compare(self.run, history(other).run)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page of the run with a slider of steps, as `steelyard.report` does."""
        from steelyard.inspector.report import report

        report(self, path)

    def __repr__(self) -> str:
        from steelyard.text.histories import history_text

        return history_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.histories_html import history_html

        return history_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a record for each step and weight, with its statistics, its update, and the metrics of the step."""
        from steelyard.runs.exporting import records_of

        return records_of(self.run)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        facts = {"path": self.path, "origin": self.origin, "settings": self.settings, "snapshots": self.snapshots}
        return {**facts, "rows": self.to_records()}

    to_columns = tabular.to_columns
    to_frame = tabular.to_frame
    write = tabular.write

    def to_tensorboard(self, folder: str | os.PathLike[str]) -> str:
        """Write an event file of TensorBoard into a folder, and return its path: metrics, norms, ratios, and histograms."""
        from steelyard.runs.tensorboard import write_events

        return write_events(self.run, os.fspath(folder))

    def to_zarr(self, folder: str | os.PathLike[str]) -> None:
        """Write the records into a new folder as a group of zarr 3: steps, metrics, statistics and sketches.

        No library is needed. Raises `ShapeError` for a folder that is not empty.
        """
        from steelyard.runs.zarr import write_zarr

        write_zarr(self.run, os.fspath(folder))

    def _rank(self, name: str) -> int:
        names = self.names
        if name not in names:
            raise WeightNotFoundError(name, names)
        return names.index(name)

    def _record(self, step: int) -> int:
        steps: Sequence[int] = self.steps
        if step not in steps:
            raise ShapeError(f"{printable(self.path)} has no record of step {step:,}")
        return list(steps).index(step)
