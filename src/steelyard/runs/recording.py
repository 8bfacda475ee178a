"""`record`: the weights of a model in training, step by step, into the folder of a run."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from steelyard.errors import RecordingWarning, ShapeError, printable
from steelyard.io import weights
from steelyard.runs.appending import Appender
from steelyard.runs.copying import Copier, require_same
from steelyard.runs.layout import LOCK, RUN, Layout, facts_of, settings_of, snapshot_name
from steelyard.runs.rules import Rule
from steelyard.runs.store import Row
from steelyard.runs.working import Job, Worker

if TYPE_CHECKING:
    from types import TracebackType

    from steelyard.runs.callbacks import Callback, Each
    from steelyard.runs.copying import Copy
    from steelyard.runs.trainers import LightningCallback, Pace, TransformersCallback

HISTOGRAM = 10
"""The records from one histogram to the next."""
LISTED = 64
"""The records after which the weights of a model are listed anew, so that a new one is found."""


def record(
    path: str | os.PathLike[str],
    *,
    every: int = 1,
    snapshot: str | int | None = None,
    dtype: str | None = None,
    back_to: int | None = None,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
) -> Recorder:
    """Return a recorder of weights along training, `rec(step, model)`, which writes into the folder `path`.

    A record has the statistics of `steelyard.stats` of each weight, its distance to the previous record, and the sketch of
    all weights, from which distances and principal components follow; each tenth has the histograms too. 200 records of a
    usual net take less than a megabyte. Steps that are not multiples of `every` are passed over.

    `snapshot` is when all weights are kept as well, as a safetensors file in the folder "w": "epoch" at the first record of each
    epoch, a number of steps, or "best:val_loss", which keeps that of the least value of a metric alone ("best:max:val_acc" of
    the greatest). `dtype`, such as "bfloat16", casts the floats of snapshots.

    A run in `path` is continued; its records stay, and steps must ascend. `back_to` drops the records after this step, for
    training that goes on from an older checkpoint. What was committed survives if the process is killed. `seed` is that of
    the sketch. `settings` are numbers and texts to know the run by, such as {"lr": 0.1}; a continued run keeps its own.

    Raises `ShapeError` for options that do not fit, for a folder with other files, and if another recorder has it open;
    `AmbiguityError` if it is not known whether a metric is better when it is greater.

    Examples:
        >>> import tempfile, torch
        >>> net = torch.nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(net.parameters(), 0.1)
        >>> with record(tempfile.mkdtemp(), snapshot=2) as rec:
        ...     for step in range(4):
        ...         loss = net(torch.ones(3, 4)).square().mean()
        ...         optimizer.zero_grad(), loss.backward(), optimizer.step()
        ...         rec(step, net, metrics={"loss": loss})
        (None, None, None)
        ...
        >>> from steelyard.runs.store import open_run
        >>> run = open_run(rec.path)
        >>> run.steps, run.names, sorted(run.snapshots())
        ([0, 1, 2, 3], ['weight', 'bias'], [0, 2])
    """
    if every < 1 or seed < 0:
        raise ShapeError(f"every is {every} and seed {seed}; every must be at least 1, and seed at least 0")
    rule, folder, said = Rule(snapshot), os.fspath(path), settings_of(settings)
    if dtype is not None:
        weights({}).astype(dtype)  # raises for a type that floats cannot be cast to
    _require_own(folder)
    appender = Appender(folder)
    if back_to is not None and appender.layout is not None:
        appender.cut(sum(row.step <= back_to for row in appender.rows))
    options = {"every": every, "snapshot": snapshot, "dtype": dtype, "seed": seed, "settings": said}
    return Recorder(appender, rule, options)


class Recorder:
    """Records the weights of a model; made by `record`.

    It is a context manager, which closes it. Only the copy of the weights is made when it is called; a thread does the rest.
    Two copies may wait for it, and then a call waits too: no record is ever dropped. An error of the thread is raised by the
    next call, or by `close`; a full disk only stops recording, with one `RecordingWarning`.
    """

    __slots__ = (
        "__weakref__", "_appender", "_best", "_copier", "_end", "_held", "_last", "_model", "_options", "_rule", "_seen",
        "_stopped", "_uses", "_worker", "path",
    )  # fmt: skip

    def __init__(self, appender: Appender, rule: Rule, options: Mapping[str, Any]) -> None:
        self.path = appender.path
        self._appender, self._rule, self._options = appender, rule, options
        self._best = rule.follow(appender.rows)
        self._last = self._seen = appender.rows[-1].step if appender.rows else -1
        self._model: object = None
        self._copier: Copier | None = None
        self._held: Job | None = None
        self._uses = 0
        self._stopped = False
        self._worker: Worker | None = Worker(appender, options["dtype"])
        self._end = finalize(self, self._worker.stop)  # also at the end of the process

    def __call__(
        self,
        step: int,
        model: Any,
        *,
        epoch: float | None = None,
        metrics: Mapping[str, Any] | None = None,
        snapshot: bool = False,
    ) -> None:
        """Record the weights of `model`, anything that `steelyard.weights` takes, at this step.

        `metrics` are numbers by name, such as losses. With `snapshot` this step gets one, whatever the rule. Numbers that are not
        finite count as 0 in distances and in the sketch; integers are not in the sketch. Raises `ShapeError` if the step is not
        after the last one or the model has other weights than the run, and `UnreadableError` for weights that cannot be read.
        """
        self._hold(step, model, epoch, always=snapshot)
        self.put(metrics, snapshot=snapshot)

    def hold(self, step: int, model: Any, *, epoch: float | None = None, always: bool = False) -> None:
        """Copy the weights of `model` at this step, and wait for `put`: for metrics that are known before the next step only.

        What an earlier call holds is put first. Raises as a call of the recorder does; `always` is whatever `every` is.

        Examples:
            >>> import tempfile, numpy as np
            >>> with record(tempfile.mkdtemp(), snapshot="best:val_loss") as rec:
            ...     for step, loss in enumerate([2.0, 1.0]):
            ...         rec.hold(step, {"w": np.full(3, float(step))})
            ...         rec.put({"val_loss": loss})
        """
        self._hold(step, model, epoch, always=always)

    def _hold(self, step: int, model: Any, epoch: float | None, *, always: bool) -> None:
        self.put()
        self._seen = max(self._seen, step)
        if step % self._options["every"] and not always:
            return
        worker = self._working()
        if worker is None:
            return
        if step <= self._last:
            raise ShapeError(
                f"{printable(self.path)}: step {step:,} is not after step {self._last:,}; "
                f"steelyard.record(..., back_to={step - 1}) drops the later records"
            )
        row = Row(int(step), None if epoch is None else float(epoch), time.time(), None, {})
        copier, copy = self._copied(worker, model)
        self._held = Job(copy, row, copier, None)

    def put(self, metrics: Mapping[str, Any] | None = None, *, snapshot: bool = False) -> None:
        """Record what `hold` copied, with these metrics; does nothing if it copied nothing."""
        held, self._held = self._held, None
        if held is None:
            return
        worker = self._worker
        assert worker is not None  # `close` puts what is held before it ends the worker
        try:
            values = {str(name): _number(value) for name, value in metrics.items()} if metrics else {}
            worker.put(self._job(held.copy, held.copier, held.row._replace(metrics=values), forced=snapshot))
        except BaseException:
            worker.give_back(held.copy)
            raise
        self._last = held.row.step

    def keras(self, *, each: Each = "epoch") -> Callback:
        """Return a callback for `fit` of Keras, which records after each epoch, or each batch, with the metrics of Keras.

        A copy of it, such as SciKeras makes for each fit of a search, records that fit into a folder of its own in `path`.

        Examples:
            >>> model.fit(x, y, callbacks=[rec.keras()])  # doctest: +SKIP
        """
        return self._callback(each)

    def skorch(self, *, each: Each = "epoch") -> Callback:
        """Return a callback of skorch, which records after each epoch, or each batch, with the losses of the net's history.

        A copy of it, such as a search makes for each candidate and fold, records that fit into a folder of its own in `path`.
        Nets of skorch copy their callbacks in `sklearn.base.clone` only.

        Examples:
            >>> NeuralNetClassifier(module, callbacks=[rec.skorch()])  # doctest: +SKIP
        """
        return self._callback(each)

    def lightning(self, *, each: Pace = "step") -> LightningCallback:
        """Return a callback for the trainer of Lightning, which records after each step of the optimizer, or each epoch.

        Steps and metrics are the trainer's: its `global_step`, the loss, what the module logged, and a validation of the weights.
        It is for lists, `callbacks=[...]`, of both `lightning` and `pytorch_lightning`. Only the first process records.

        Examples:
            >>> Trainer(callbacks=[rec.lightning()]).fit(module, loader)  # doctest: +SKIP
        """
        from steelyard.runs.trainers import LightningCallback

        return LightningCallback(self, each)

    def transformers(self, *, each: Pace = "step") -> TransformersCallback:
        """Return a callback for the `Trainer` of transformers, which records after each step of the optimizer, or each epoch.

        Steps and metrics are the trainer's: its `global_step`, and what it logs of a step, with the evaluation of the weights.
        Only the first process records.

        Examples:
            >>> Trainer(model, arguments, train_dataset=data, callbacks=[rec.transformers()]).train()  # doctest: +SKIP
        """
        from steelyard.runs.trainers import TransformersCallback

        return TransformersCallback(self, each)

    def torch_hook(self, optimizer: Any, model: Any) -> Any:
        """Record `model` after each step of an optimizer of PyTorch; returns the hook's handle, whose `remove` ends it.

        Raises `UnknownModelError` for anything but an optimizer of `torch.optim`.
        """
        from steelyard.runs.callbacks import hook

        return hook(self, optimizer, model)

    def watch(self, estimator: Any) -> AbstractContextManager[Any]:
        """Record a multilayer perceptron of scikit-learn after each epoch of the fits in a `with` block.

        The fit is the same, to the last bit. With `early_stopping` the perceptron has the weights of its best epoch afterwards,
        which need not be those of the last record. Raises `ShapeError` for the solver "lbfgs", which has no epochs, and
        `UnknownModelError` for other estimators.

        Examples:
            >>> import tempfile, warnings
            >>> from sklearn.neural_network import MLPClassifier
            >>> mlp = MLPClassifier([4], max_iter=3)
            >>> with record(tempfile.mkdtemp()) as rec, rec.watch(mlp), warnings.catch_warnings(action="ignore"):
            ...     mlp.fit([[0.0], [1.0]], [0, 1])
            MLPClassifier(...)
            >>> rec.next_step
            4
        """
        from steelyard.runs.callbacks import watching

        return watching(self, estimator)

    def _callback(self, each: Each) -> Callback:
        from steelyard.runs.callbacks import Callback

        return Callback(self, each, self.path, partial(record, **self._options))

    @property
    def next_step(self) -> int:
        """The step after the last one; the first is 1."""
        return max(self._seen, 0) + 1

    def flush(self) -> None:
        """Wait until everything that was recorded is written; an error is raised by the next call, or by `close`."""
        if self._worker is not None:
            self.put()
            self._worker.flush()

    def close(self) -> None:
        """Wait until everything is written, and close the run. Raises the error of the last records, if there was one."""
        if self._worker is None:
            return
        try:
            self.put()
        finally:
            worker, self._worker = self._worker, None
            self._end.detach()
            worker.stop()
        self._model = self._copier = None
        self._surface(worker, 4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"the recorder of {printable(self.path)} had failed too: {printable(failure)}")

    def _working(self) -> Worker | None:
        """Return the worker; None if a full disk stopped it."""
        worker = self._worker
        if worker is None:
            raise ShapeError(f"the recorder of {printable(self.path)} is closed; steelyard.record(...) continues the run")
        if worker.failure is not None:
            self._surface(worker, 5)
            return None
        if worker.forked:
            raise ShapeError(f"{printable(self.path)} is recorded by the process of which this is a fork; record another folder")
        return worker

    def _surface(self, worker: Worker, level: int) -> None:
        """Raise the error of the thread; one of the system is a warning, once, for the caller at a level of the stack."""
        failure = worker.failure
        if failure is None or self._stopped:
            return
        if not isinstance(failure, OSError):
            worker.failure = None
            raise failure
        self._stopped = True
        rows = self._appender.rows
        after = f"after step {rows[-1].step:,}" if rows else "before its first record"
        reason = printable(failure.strerror or failure)
        what = f"{printable(self.path)}: {reason}; recording stopped {after}, and training goes on"
        warnings.warn(what, RecordingWarning, stacklevel=level)

    def _copied(self, worker: Worker, model: object) -> tuple[Copier, Copy]:
        """Copy the weights of a model, and list them first if it is another one, or if the last listing is old."""
        copier = self._copier
        is_new = copier is None or model is not self._model or self._uses >= LISTED
        if copier is None or is_new:
            copier = self._listed(worker, model)
        self._uses += 1
        copy = worker.take(copier)
        try:
            try:
                copier.copy_into(copy)
            except ShapeError:  # the model holds another array for a weight than was listed
                if is_new:
                    raise
                copier = self._listed(worker, model)
                copier.copy_into(copy)
        except BaseException:
            worker.give_back(copy)
            raise
        return copier, copy

    def _listed(self, worker: Worker, model: object) -> Copier:
        """List the weights, and begin the run with them or compare them with its own."""
        copier = Copier(weights(model))
        facts = facts_of(copier.listed.values())
        layout = self._appender.layout
        if layout is None:
            layout = Layout(facts, HISTOGRAM, self._options["seed"], self._options["settings"])
            try:
                self._appender.begin(layout)
            except OSError as error:  # as in the thread: training goes on
                worker.failure = error
        elif facts != layout.weights:
            require_same(layout.weights, facts, self.path)
        if worker.measurer is None:
            from steelyard.runs.measuring import Measurer

            worker.measurer = Measurer(layout, self._appender.last_sketch())
        self._uses = 0
        # arrays that are copied out of a device are not kept alive, since training replaces them
        self._model, self._copier = (model, copier) if copier.is_live else (None, None)
        return copier

    def _job(self, copy: Copy, copier: Copier, row: Row, *, forced: bool) -> Job:
        wanted = self._rule.wants(row)
        if not wanted and not forced:
            return Job(copy, row, copier, None)
        copier.listed.meta  # noqa: B018 - read here, since the thread must not read the model
        replaced, name = None, snapshot_name(row.step)
        if wanted and self._rule.keeps_one:
            replaced, self._best = self._best, None if forced else name
        return Job(copy, row._replace(snapshot=name), copier, replaced)


def _number(value: Any) -> float:
    """Return a metric as a float; a tensor that has a gradient warns when `float` takes it."""
    return float(value.item() if hasattr(value, "item") else value)


def _require_own(folder: str) -> None:
    """Raise `ShapeError` for a folder with files that are not those of a run."""
    if not os.path.isdir(folder) or any(os.path.exists(os.path.join(folder, name)) for name in (RUN, LOCK)):
        return
    files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    if files:
        raise ShapeError(f"{printable(folder)} holds other files, such as {printable(min(files))}; record into a new folder")
