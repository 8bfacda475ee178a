"""What quantising would cost, before anything is written: bytes, the error of each weight, and the change of a net's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, log10, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.computed import held
from steelyard.editing.quantizing.quantize import quantized
from steelyard.editing.quantizing.request import parsed
from steelyard.errors import ShapeError, printable, quoted
from steelyard.io import weights as weights_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.editing.quantizing.request import Request

MAGNITUDES = 1 << 16
"""Bins of magnitudes: a sign, an exponent and seven bits of a float32, so that a quantile is within 1/128."""


class WeightError(NamedTuple):
    """The error of one weight, in its own unit: the largest, the root of the mean square, and what 95 % of all errors are below.

    `sqnr` is the signal to quantisation noise ratio in decibels: 10 log10(sum of squares / sum of squared errors), infinite where
    there is no error. `deviation` is the root of the mean square of the weight itself.
    """

    name: str
    size: int
    max: float
    rms: float
    q95: float
    sqnr: float
    deviation: float


class Choice(NamedTuple):
    """One way to quantise: its name, the bytes of all weights, the errors of the quantised ones, and the reasons for the others.

    `change` is the relative change of a net's outputs for the probe: the root of the sum of squares of the difference, divided by
    that of the outputs; None without a probe. `why` is the reason where a net cannot become so, and there are no errors.
    """

    kind: str
    nbytes: int
    errors: tuple[WeightError, ...]
    left: Mapping[str, str]
    change: float | None = None
    why: str = ""
    hints: tuple[str, ...] = ()

    @property
    def sqnr(self) -> float:
        """The signal to noise ratio of all quantised weights together, in decibels."""
        noise = sum(each.rms**2 * each.size for each in self.errors)
        return _decibels(sum(each.deviation**2 * each.size for each in self.errors), noise)

    @property
    def relative(self) -> float:
        """The root of the mean squared error of all quantised weights, divided by that of these weights."""
        return float(10 ** (-self.sqnr / 20))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON; an infinite ratio is None."""
        errors = [{**each._asdict(), "sqnr": _finite(each.sqnr)} for each in self.errors]
        plain = {"kind": self.kind, "nbytes": self.nbytes, "sqnr": _finite(self.sqnr), "change": self.change, "why": self.why}
        return {**plain, "weights": errors, "left": dict(self.left)}


class WhatIf:
    """Several ways to quantise, in the order in which they were asked for; `nbytes` is the size of the weights as they are."""

    __slots__ = ("choices", "nbytes")

    def __init__(self, choices: Sequence[Choice], nbytes: int) -> None:
        self.choices = list(choices)
        self.nbytes = nbytes

    def __getitem__(self, kind: str) -> Choice:
        """Return a way by its name; raises `ShapeError` if it was not asked for."""
        found = next((choice for choice in self.choices if choice.kind == kind), None)
        if found is None:
            known = ", ".join(choice.kind for choice in self.choices)
            raise ShapeError(f"{quoted(kind)} was not asked for; there are {printable(known)}")
        return found

    def __repr__(self) -> str:
        from steelyard.text.quantized import what_if_lines

        return "\n".join(what_if_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import what_if_html

        return what_if_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"nbytes": self.nbytes, "choices": [choice.to_dict() for choice in self.choices]}


def what_if(
    source: Any, kinds: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]], *, probe: Any = None, **options: Any
) -> WhatIf:
    """Return what each way of quantising would cost: bytes, errors of each weight, and with `probe` the change of outputs.

    `kinds` are those of `quantize`: a word such as "int8", or a mapping with its arguments, ``{"kind": "int4", "group": 32}``.
    `options` are further arguments of `quantize` for all of them. `probe` are inputs for a live net, which is run with its own
    numbers and with those of each quantised net, and has its own again afterwards. Printed, it is a table with a picture.
    A way that the weights or the library do not have has `why`, the reason, in place of errors. Every weight is read once for
    each way, block by block. Raises `ShapeError` for unknown kinds, and for a probe without a net that can be run.

    Examples:
        >>> import numpy as np, steelyard
        >>> w = {"fc": {"weight": np.random.default_rng(0).normal(size=(64, 64)).astype("float32"), "bias": np.zeros(64)}}
        >>> found = steelyard.what_if(w, ["int8", {"kind": "int4", "group": 32}])
        >>> [(choice.kind, round(choice.sqnr), choice.nbytes) for choice in found.choices]
        [('int8', 45, 4864), ('int4 group 32', 20, 3088)]
    """
    requests = [_request(each, options) for each in ([kinds] if isinstance(kinds, (str, Mapping)) else kinds)]
    weights = weights_of(source)
    plain = weights.with_weights(held(weights).values())
    nets = None if probe is None else _Runs(source, probe)
    return WhatIf([_choice(plain, request, nets) for request in requests], weights.nbytes)


def _request(kind: object, options: Mapping[str, Any]) -> Request:
    said: dict[str, Any] = {**options, **kind} if isinstance(kind, Mapping) else {**options, "kind": kind}
    unknown = set(said) - {"kind", "axis", "group", "scheme", "like", "calibrate", "skip", "double_quant"}
    if unknown or "kind" not in said:
        what = f"{quoted(min(map(str, unknown)))} is not an argument of quantize" if unknown else "a mapping needs its 'kind'"
        raise ShapeError(f"{what}; write a way as 'int8' or as {{'kind': 'int4', 'group': 32}}")
    return parsed(said.pop("kind"), **said)


def _choice(weights: Weights, request: Request, nets: _Runs | None) -> Choice:
    try:
        made = quantized(weights, request)
    except ShapeError as error:
        return Choice(request.shown, weights.nbytes, (), {}, why=str(error))
    record = made.meta["quantized"]
    effective = made.effective()
    changed = [name for name, weight in effective.items() if weight.derivation is not None and name in weights]
    errors = tuple(error_of(weights[name], effective[name]) for name in changed if not weights[name].tied)
    change = None if nets is None else nets.change(effective, changed)
    hints: tuple[str, ...] = ()
    if request.like == "onnx" and request.kind == "int8":
        from steelyard.editing.quantizing.onnx import TRAP

        hints = (TRAP,)
    return Choice(request.shown, made.nbytes, errors, record["left"], change, hints=hints)


def error_of(before: Weight, after: Weight) -> WeightError:
    """Return the error of one weight, read block by block."""
    import numpy as np

    signal = noise = largest = 0.0
    counts = np.zeros(MAGNITUDES, np.int64)
    for one, other in zip(before.blocks(), after.blocks(), strict=True):
        with np.errstate(all="ignore"):
            numbers = one.astype(np.float64)
            error = np.abs(other.astype(np.float64) - numbers)
        signal, noise = signal + float(numbers @ numbers), noise + float(error @ error)
        largest = max(largest, float(error.max(initial=0)))
        counts += np.bincount(error.astype(np.float32).view(np.uint32) >> np.uint32(16), minlength=MAGNITUDES)
    size = max(before.size, 1)
    rms, deviation = sqrt(noise / size), sqrt(signal / size)
    return WeightError(
        before.name, before.size, largest, rms, min(_quantile(counts), largest), _decibels(signal, noise), deviation
    )


def _quantile(counts: Array) -> float:
    """Return the magnitude that 95 % of the binned ones do not exceed, the upper end of its bin."""
    import numpy as np

    reached = np.cumsum(counts)
    place = int(np.searchsorted(reached, 0.95 * reached[-1])) if reached[-1] else 0
    return float(np.array((place << 16) | (0xFFFF if place else 0), np.uint32).view(np.float32))


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal and noise < inf else -inf


def _finite(number: float) -> float | None:
    return number if abs(number) < inf else None


class _Runs:
    """A live net that is run with its own numbers, and with others."""

    __slots__ = ("_before", "_end", "_inputs")

    def __init__(self, source: Any, probe: Any) -> None:
        from steelyard.transfers.endpoints import Endpoint

        self._end = Endpoint(source)
        if not self._end.runs:
            raise ShapeError(f"a probe needs a live net that can be run, which {self._end.name} is not; pass probe=None")
        self._inputs = _arrays(probe)
        self._before = self._outputs(self._end)

    def _outputs(self, end: Any) -> list[Array]:
        import numpy as np

        found = end.run(self._inputs).outputs
        return [np.array(each, np.float64) for each in found if each.dtype.kind in "fiub"]

    def change(self, effective: Weights, names: Sequence[str]) -> float:
        """Return the relative change of the outputs with other numbers."""
        import numpy as np

        weights = weights_of(self._end.model)
        own = {name: weights[name].numpy().copy() for name in names}
        made = weights.assign({name: effective[name].numpy().astype(own[name].dtype) for name in names}, verify=False)
        try:
            after = self._outputs(self._end.with_model(made))
        finally:
            if made is self._end.model:
                weights.assign(own, verify=False)
        pairs = list(zip(self._before, after, strict=True))
        apart = sqrt(sum(float(np.square(one - other).sum()) for one, other in pairs))
        return apart / (sqrt(sum(float(np.square(one).sum()) for one, _ in pairs)) or 1.0)


def _arrays(probe: Any) -> list[Array]:
    import numpy as np

    from steelyard.core.assign import plain

    return [np.asarray(plain(each)) for each in (probe if isinstance(probe, (list, tuple)) else [probe])]
