"""The proof of a transfer: given the same inputs, both nets must return the same outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import printable
from steelyard.transfers.probes import spoken, to_channels

if TYPE_CHECKING:
    from steelyard.core.graph import Run
    from steelyard.core.weight import Array
    from steelyard.transfers.pairing.net import Net
    from steelyard.transfers.plan import TransferPlan


class LayerError(NamedTuple):
    """The error of one layer: the largest difference of its outputs, divided by the largest output of the source."""

    source: str
    target: str
    error: float


class Proof:
    """The comparison of the outputs of both nets.

    `max_abs` is the largest absolute difference of their outputs, `max_rel` is this divided by the largest absolute output of
    the source. `layers` has the error of every layer whose outputs both nets expose, in the order of execution. `proven` is
    whether `max_rel` is within `tolerance`. If nothing was compared, `why` is the reason, and `proven` is false.
    """

    __slots__ = ("layers", "max_abs", "max_rel", "proven", "tolerance", "why")

    def __init__(
        self,
        why: str = "",
        *,
        max_abs: float = float("nan"),
        max_rel: float = float("nan"),
        layers: Sequence[LayerError] = (),
        tolerance: float = 0.0,
    ) -> None:
        self.why = why
        self.max_abs = max_abs
        self.max_rel = max_rel
        self.layers = list(layers)
        self.tolerance = tolerance
        self.proven = not why and max_rel <= tolerance

    def __repr__(self) -> str:
        if self.why:
            return f"not proven: {self.why}"
        verdict = "proven" if self.proven else "refuted"
        apart = f"the outputs differ by {self.max_abs:.2g}, which is {self.max_rel:.2g} of the largest"
        return f"{verdict}: {apart} (tolerance {self.tolerance:g})"

    def _repr_html_(self) -> str:
        from steelyard.text.results import proof_html

        return proof_html(self)

    @property
    def first_apart(self) -> LayerError | None:
        """The first layer whose error exceeds the tolerance; None if there is none."""
        return next((each for each in self.layers if not each.error <= self.tolerance), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as plain Python, for JSON; values that were not measured are None."""
        facts: dict[str, Any] = {"proven": self.proven, "why": self.why, "tolerance": self.tolerance}
        facts |= {"max_abs": _plain(self.max_abs), "max_rel": _plain(self.max_rel)}
        return facts | {"layers": [{**each._asdict(), "error": _plain(each.error)} for each in self.layers]}


def not_run(names: Iterable[str]) -> Proof:
    """Return the proof of a transfer whose nets were not compared, since these ends cannot be run."""
    return Proof(f"{' and '.join(names)} cannot be run, so the outputs were not compared")


def _plain(number: float) -> float | None:
    return None if number != number else number  # noqa: PLR0124 - only NaN is not itself


def compared(plan: TransferPlan, before: Run, after: Run, tolerance: float) -> Proof:
    """Compare the outputs of two nets for the same inputs."""
    mine, theirs = _outputs(before), _outputs(after)
    if len(mine) != len(theirs):
        return Proof(f"the source has {len(mine)} outputs, the target {len(theirs)}")
    # both nets compute the same function, but an output that is an image has its channels where its framework has them
    pairs = [(one, _alike(one, other, plan.source, plan.target)) for one, other in zip(mine, theirs, strict=True)]
    if any(one.shape != other.shape for one, other in pairs):
        shapes = spoken([one.shape for one in mine]), spoken([other.shape for other in theirs])
        return Proof(f"the outputs of the source have shapes {shapes[0]}, those of the target {shapes[1]}")
    errors = [_error(one, other) for one, other in pairs]
    return Proof(
        max_abs=max(each[0] for each in errors),
        max_rel=max(each[1] for each in errors),
        layers=list(_layers(plan, before, after)),
        tolerance=tolerance,
    )


def are_constant(run: Run, inputs: Sequence[Array]) -> bool:
    """Whether the outputs do not depend on the inputs, as those of a dead net or a head of zeros: equal ones prove nothing.

    Samples are along the first axis. Where only one is given, or all are the same, zeros or one repeated number are constant.
    """
    samples = len(inputs[0]) if inputs and inputs[0].ndim else 0
    vary = any(array.ndim and len(array) == samples and not _are_equal(array) for array in inputs)
    return all(_is_constant(array, samples if vary else 0) for array in _outputs(run))


def _is_constant(array: Array, samples: int) -> bool:
    if samples > 1 and array.ndim and len(array) == samples:
        return _are_equal(array)
    flat = array.reshape(-1)
    return not flat.any() or (flat.size > 1 and _are_equal(flat))


def _are_equal(array: Array) -> bool:
    """Whether all parts along the first axis are the same."""
    import numpy as np

    return bool(np.array_equal(array, np.broadcast_to(array[:1], array.shape), equal_nan=array.dtype.kind in "fc"))


def _outputs(run: Run) -> list[Array]:
    return [array for array in run.outputs if array.dtype.kind in "fiubc"]


def _alike(one: Array, other: Array, source: Net, target: Net) -> Array:
    """Return an output of the target in the layout of the source, whose images may have their channels elsewhere."""
    if one.ndim < 3 or one.ndim != other.ndim:
        return other
    if one.shape != other.shape:
        return next((way for way in _ways(other) if way.shape == one.shape), other)
    apart = source.channels and target.channels and source.channels != target.channels
    return to_channels(other, source.channels) if apart and _image_at_the_end(target) else other


def _ways(array: Array) -> list[Array]:
    """Return an array as it is, and with its channels moved to the end and to the front."""
    return [array, to_channels(array, "last"), to_channels(array, "first")] if array.ndim > 2 else [array]


def _image_at_the_end(net: Net) -> bool:
    last = next((layer.kind for layer in reversed(net.layers) if layer.kind not in ("batch norm", "group norm", "prelu")), "")
    return last in ("conv", "conv transpose")


def _error(one: Array, other: Array) -> tuple[float, float]:
    """Return the largest absolute difference, and this divided by the largest number."""
    import numpy as np

    if not one.size:
        return 0.0, 0.0
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        same = np.array_equal(one, other, equal_nan=True)
        return (0.0, 0.0) if same else (float("inf"), float("inf"))
    # relative to the largest output: single ones may be near zero by cancellation
    largest = float(np.abs(one).max()) or 1.0
    apart = float(np.abs(one.astype(np.float64) - other).max())
    return apart, apart / largest


def _layers(plan: TransferPlan, before: Run, after: Run) -> Iterator[LayerError]:
    names = {own: other for own, other in plan.layer_names() if own in before.layers and other in after.layers}
    for own in before.layers:
        if own in names:
            one, other = before.layers[own], after.layers[names[own]]
            errors = [_error(one, way)[1] for way in _ways(other) if way.shape == one.shape]
            if errors:
                yield LayerError(printable(own), printable(names[own]), min(errors))
