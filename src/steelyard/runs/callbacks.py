"""Recorders as callbacks: of Keras and skorch, as hooks of PyTorch's optimizers, and around a fit of scikit-learn.

No framework is imported: a callback has the methods that the framework calls. A copy of a callback, which a search makes for
each of its fits, records each fit into a folder of its own, `fit-000`, `fit-001`, ..., in the folder of the run.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from steelyard.errors import ShapeError, UnknownModelError, quoted
from steelyard.runs.layout import is_setting, scalar

if TYPE_CHECKING:
    from steelyard.runs.recording import Recorder

    Each = Literal["epoch", "batch"]
    Record = Callable[..., Recorder]
    """Opens a recorder in a folder, with `settings`; it can be pickled."""

_COUNTED = re.compile(r"^epoch|^batches|^dur|_batch_count$")
"""What is in the history of skorch beside its metrics."""
_ASIDE = re.compile(r"^(callbacks|verbose|name$|jit_compile|is_legacy)|__verbose$")
"""Settings that do not tell one fit from another."""


class Callback:
    """Records a model of Keras or of skorch after each epoch or batch; made by `Recorder.keras` and `Recorder.skorch`.

    Keras calls it with the metrics, after `set_model`; skorch with the net, which has a history. It ignores all other events.
    """

    def __init__(self, rec: Recorder | None, each: Each, path: str, record: Record) -> None:
        if each not in ("epoch", "batch"):
            raise ShapeError(f'each is {quoted(each)}; it must be "epoch" or "batch"')
        self._rec, self._each, self._path, self._record = rec, each, path, record
        self._is_copy = rec is None
        self._epoch = 0.0
        self._fit: Mapping[str, object] = {}
        self.model: object = None

    @property  # type: ignore[misc]  # it is read only
    def __class__(self) -> Any:
        """Keras's own class while SciKeras is there, which takes no other callbacks, and calls the same methods."""
        keras = sys.modules.get("keras") if "scikeras" in sys.modules else None
        known = getattr(getattr(keras, "callbacks", None), "Callback", None)
        return known if isinstance(known, type) else Callback

    def __reduce__(self) -> tuple[Any, ...]:  # what copy.deepcopy and pickle make is the callback of another fit
        return Callback, (None, self._each, self._path, self._record)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)

    def _implements_train_batch_hooks(self) -> bool:  # Keras 2 asks for these three
        return self._each == "batch"

    def _implements_test_batch_hooks(self) -> bool:
        return False

    _implements_predict_batch_hooks = _implements_test_batch_hooks

    def initialize(self) -> Callback:
        """Begin a fit of skorch."""
        return self

    def set_params(self, params: Mapping[str, object] | None = None, **_others: object) -> None:
        """Take the settings of a fit."""
        self._fit = _plain(params or {})

    def set_model(self, model: object) -> None:
        """Take the model of a fit of Keras."""
        self.model = model

    def on_train_begin(self, *args: Any, **_others: object) -> None:
        """Begin a fit; a copy opens a run of its own, with the settings of the fit."""
        if self._is_copy:
            net = next((each for each in args if hasattr(each, "get_params")), None)
            settings = _plain(net.get_params(deep=False)) if net is not None else _settings(self.model, self._fit)
            self._rec = self._record(_new_folder(self._path), settings=settings)

    def on_train_end(self, *_args: object, **_others: object) -> None:
        """End a fit, when all its records are written; a copy closes its run."""
        if self._rec is None:
            return
        if not self._is_copy:
            self._rec.flush()
            return
        self._rec.close()
        self._rec = None

    def on_epoch_begin(self, where: object, *_args: object, **_others: object) -> None:
        """Note the epoch, which Keras counts from 0 and skorch from 1."""
        self._epoch = float(where) if isinstance(where, int) else _last(where)["epoch"]

    def on_epoch_end(self, where: object, logs: object = None, **_others: object) -> None:
        """Record after an epoch; Keras calls it with the number of the epoch, skorch with the net."""
        if self._each != "epoch":
            return
        if isinstance(where, int):
            self._add(self.model, _numbers(logs))
        else:
            metrics = {key: value for key, value in _last(where).items() if not _COUNTED.search(key)}
            self._add(where, metrics)

    def on_train_batch_end(self, _batch: int, logs: object = None) -> None:
        """Record after a batch of Keras."""
        if self._each == "batch":
            self._add(self.model, _numbers(logs))

    def on_batch_end(self, where: object, *_args: object, training: bool = False, **others: object) -> None:
        """Record after a batch of skorch; Keras calls it with a number, and `on_train_batch_end` too."""
        if self._each == "batch" and training and not isinstance(where, int):
            self._add(where, {"train_loss": others.get("loss")} if "loss" in others else {})

    def _add(self, model: object, metrics: Mapping[str, Any]) -> None:
        assert self._rec is not None
        self._rec(self._rec.next_step, model, epoch=self._epoch, metrics=metrics)


def _plain(found: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that are numbers or texts, without those of callbacks and of what is printed."""
    numbers = {key: scalar(value) for key, value in found.items() if value is not None and not _ASIDE.search(key)}
    return {key: value for key, value in numbers.items() if is_setting(value)}


def _settings(model: Any, fit: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a fit of Keras, and of the optimizer of its model."""
    optimizer: Any = getattr(model, "optimizer", None)
    config = optimizer.get_config() if hasattr(optimizer, "get_config") else {}
    return {**fit, **({"optimizer": type(optimizer).__name__} if config else {}), **_plain(config)}


def _last(net: Any) -> dict[str, float]:
    """Return the numbers of the last epoch in the history of skorch."""
    return _numbers(net.history[-1])


def _numbers(found: object) -> dict[str, float]:
    items = found.items() if isinstance(found, Mapping) else ()
    return {
        key: float(value)
        for key, value in items
        if not isinstance(value, bool) and (isinstance(value, (int, float)) or hasattr(value, "item"))
    }


def _new_folder(path: str) -> str:
    """Make the next folder of a fit; that of another process is never taken."""
    os.makedirs(path, exist_ok=True)
    number = 0
    while True:
        folder = os.path.join(path, f"fit-{number:03}")
        try:
            os.mkdir(folder)
        except FileExistsError:
            number += 1
        else:
            return folder


def hook(rec: Recorder, optimizer: Any, model: Any) -> Any:
    """Record after each step of an optimizer of PyTorch, and return the handle, whose `remove` ends it."""
    if not hasattr(optimizer, "register_step_post_hook"):
        raise UnknownModelError(f"a {type(optimizer).__name__} has no hooks; pass an optimizer of torch.optim")

    def after(*_: object) -> None:
        rec(rec.next_step, model)

    return optimizer.register_step_post_hook(after)


@contextmanager
def watching(rec: Recorder, estimator: Any) -> Iterator[Any]:
    """Record a multilayer perceptron of scikit-learn after each epoch of a fit, which gives the numbers of any other fit."""
    method = "_update_no_improvement_count"  # scikit-learn calls it after each epoch, and has no hook of its own
    own = getattr(estimator, method, None)
    if own is None:
        what = f"a {type(estimator).__name__} has no epochs to watch"
        raise UnknownModelError(f"{what}; record it after each partial_fit: rec(step, estimator)")
    if getattr(estimator, "solver", "") == "lbfgs":
        raise ShapeError('the solver "lbfgs" has no epochs to watch; use "adam" or "sgd", or record once after the fit')

    def after(*args: Any, **others: Any) -> None:
        own(*args, **others)
        scores = getattr(estimator, "validation_scores_", None)
        metrics = {"loss": estimator.loss_curve_[-1]} | ({"validation_score": scores[-1]} if scores else {})
        rec(rec.next_step, estimator, epoch=len(estimator.loss_curve_), metrics=metrics)

    setattr(estimator, method, after)
    try:
        yield estimator
    finally:
        delattr(estimator, method)
