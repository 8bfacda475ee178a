"""Recorders as callbacks of trainers that count their own steps: those of Lightning and of transformers.

No framework is imported: a callback has the methods that the trainer calls. Weights are copied when a step ends; their record
waits until the next step begins, for what the trainer tells of them meanwhile, such as the loss of a validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.runs.recording import Recorder

    Pace = Literal["step", "epoch"]
    Ignored = Callable[..., None]

_SPENT = ("_runtime", "_per_second", "total_flos", "epoch")
"""How the names of numbers end that transformers logs, and that do not tell of the weights."""


class LightningCallback:
    """Records the module of a trainer of Lightning; made by `Recorder.lightning`. It ignores all other events.

    The trainer keeps a metric until it is logged again. So a record has those that changed since the last one, and those of an
    event that has happened again: a batch, a validation, or the end of an epoch.
    """

    def __init__(self, rec: Recorder, each: Pace) -> None:
        self._rec, self._each = rec, _known(each)
        self._step = -1
        self._values: dict[str, float] = {}
        self._events: dict[str, set[str]] = {}
        self._fresh: dict[str, float] = {}

    def __getattr__(self, name: str) -> Ignored:
        return _ignored(name, ("setup", "teardown"))

    @property
    def state_key(self) -> str:
        """The name of the state of this callback in a checkpoint, which must not be that of another one."""
        return f"steelyard.record({self._rec.path!r}).lightning({self._each!r})"

    @property
    def _legacy_state_key(self) -> str:  # the trainer asks for it when it loads a checkpoint
        return self.state_key

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, which is empty: the run is on the disk."""
        return {}

    def on_train_start(self, trainer: Any, _module: object) -> None:
        """Begin a fit, perhaps from a checkpoint."""
        self._step = trainer.global_step

    def on_train_epoch_start(self, trainer: Any, _module: object) -> None:
        """Record what is held of the last epoch."""
        self._put(trainer)

    def on_train_batch_start(self, trainer: Any, *_others: object) -> None:
        """Record what is held, since the weights are about to change."""
        if self._each == "step":
            self._put(trainer)

    def on_train_batch_end(self, trainer: Any, module: object, outputs: object = None, *_others: object) -> None:
        """Copy the weights, unless gradients were only added up."""
        self._see(trainer, "batch")
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._fresh.update(_numbers({"loss": loss}.items()))
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            if self._each == "step":
                self._hold(trainer, module)

    def on_validation_end(self, trainer: Any, _module: object) -> None:
        """Take the metrics of a validation of the weights that are held."""
        if not trainer.sanity_checking:
            self._see(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, module: object) -> None:
        """Take the metrics of an epoch."""
        self._see(trainer, "epoch")
        if self._each == "epoch":
            self._hold(trainer, module)

    def on_train_end(self, trainer: Any, _module: object) -> None:
        """Record what is held."""
        self._put(trainer)

    def on_exception(self, trainer: Any, _module: object, _error: BaseException) -> None:
        """Record what is held: the last step before training was interrupted."""
        self._put(trainer)

    def _hold(self, trainer: Any, module: object) -> None:
        if trainer.is_global_zero:
            self._rec.hold(trainer.global_step, module, epoch=trainer.current_epoch)

    def _see(self, trainer: Any, event: str | None) -> None:
        """Take the metrics that changed, and those that changed at this event before."""
        now = _numbers(trainer.callback_metrics.items())
        names = {name for name, value in now.items() if self._values.get(name) != value}
        if event is not None:
            names = self._events[event] = self._events.get(event, set()) | names
        self._values = now
        self._fresh.update({name: now[name] for name in names if name in now})

    def _put(self, trainer: Any) -> None:
        self._see(trainer, None)  # what the module itself logs at the end of a batch or an epoch
        self._rec.put(self._fresh)
        self._fresh = {}


class TransformersCallback:
    """Records the model of a `Trainer` of transformers; made by `Recorder.transformers`. It ignores all other events."""

    def __init__(self, rec: Recorder, each: Pace) -> None:
        self._rec, self._each = rec, _known(each)
        self._metrics: dict[str, float] = {}

    def __getattr__(self, name: str) -> Ignored:
        return _ignored(name)

    def on_step_begin(self, *_events: object, **_others: object) -> None:
        """Record what is held, since the weights are about to change."""
        self._put()

    def on_step_end(self, _arguments: object, state: Any, _control: object, *, model: object, **_others: object) -> None:
        """Copy the weights after a step of the optimizer."""
        if self._each == "step":
            self._hold(state, model)

    def on_epoch_end(self, _arguments: object, state: Any, _control: object, *, model: object, **_others: object) -> None:
        """Copy the weights after an epoch; the step is that of its end."""
        if self._each == "epoch":
            self._hold(state, model)

    def on_log(self, _arguments: object, _state: object, _control: object, *, logs: Any = None, **_others: object) -> None:
        """Take what is logged of a step or of an evaluation; the summary of a training is not of its last step."""
        if isinstance(logs, Mapping) and "train_runtime" not in logs:
            self._metrics |= _numbers((name, value) for name, value in logs.items() if not str(name).endswith(_SPENT))

    def on_train_end(self, *_events: object, **_others: object) -> None:
        """Record what is held."""
        self._put()

    def _hold(self, state: Any, model: object) -> None:
        if state.is_world_process_zero:
            self._rec.hold(state.global_step, model, epoch=state.epoch)

    def _put(self) -> None:
        self._rec.put(self._metrics)
        self._metrics = {}


def _known(each: Pace) -> Pace:
    if each not in ("step", "epoch"):
        raise ShapeError(f'each is {quoted(each)}; it must be "step" or "epoch"')
    return each


def _ignored(name: str, others: Iterable[str] = ()) -> Ignored:
    """Return what does nothing at an event; raises `AttributeError` for other names."""
    if name.startswith("on_") or name in others:
        return lambda *_, **__: None
    raise AttributeError(name)


def _numbers(items: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Return the numbers among metrics; a tensor with one element is one."""
    found = {}
    for name, value in items:
        if getattr(value, "numel", lambda: 1)() == 1 and (isinstance(value, (int, float)) or hasattr(value, "item")):
            found[str(name)] = float(value.item() if hasattr(value, "item") else value)
    return found
