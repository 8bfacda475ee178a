"""Bounds of activations: by how much each spreads an error, and what the rounding of its own computation adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward.bound.bounded import DOUBLE, Bounded, Roundings
from steelyard.device.program.activations import SELU_ALPHA, SELU_SCALE, activated

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.program.activations import Activation

    Settings = Mapping[str, float]


class Curve(NamedTuple):
    """An activation: its Lipschitz constant, and how it is computed.

    `steps` is the number of its roundings, `calls` that of elementary functions. They are relative to its value, and to `inner`,
    the largest number inside the computation that cancels: of the input's reach and the settings. `width` is the difference of
    its largest and its least value. `edges` are places where it jumps by at most `leap`.
    """

    slope: Callable[[Settings], float]
    steps: int = 0
    calls: int = 0
    inner: Callable[[Array, Settings], Array | float] = lambda _reach, _settings: 0.0
    width: Callable[[Settings], float] = lambda _: math.inf
    edges: Callable[[Settings], Sequence[float]] = lambda _: ()
    leap: Callable[[Array, Settings], Array | float] = lambda _reach, _settings: 0.0


def activation(operation: Activation, inputs: Sequence[Bounded], roundings: Roundings) -> Bounded:
    """Return the bound of an activation of each number."""
    return curved(operation.word, operation.settings, inputs[0], roundings)


def curved(word: str, settings: Settings, x: Bounded, roundings: Roundings) -> Bounded:
    """Return the bound of an activation by its word."""
    import numpy as np

    value = activated(word, settings, x.value, DOUBLE)
    if word == "exponential":
        spread = np.abs(value) * np.expm1(x.error)
        return Bounded(value, spread + roundings.function * (np.abs(value) + spread) + roundings.tiny)
    if word == "square_root":
        return _root(x, value, roundings)
    if (curve := CURVES.get(word)) is None:
        return Bounded(value, np.full(value.shape, np.inf))
    spread = curve.slope(settings) * x.error
    own = roundings.growth(curve.steps) + curve.calls * roundings.function
    error = spread + own * (np.abs(value) + spread + curve.inner(x.reach, settings)) + roundings.tiny * bool(own)
    for edge in curve.edges(settings):
        near = np.abs(x.value - edge) <= x.error + roundings.growth(2) * (abs(edge) + x.reach)
        error = error + np.where(near, curve.leap(x.reach, settings), 0)
    return Bounded(value, np.minimum(error, curve.width(settings) * (1 + own)))


def _root(x: Bounded, value: Array, roundings: Roundings) -> Bounded:
    """Return the bound of a square root; it is infinite where a device may have the root of a negative number."""
    import numpy as np

    spread = np.where(x.error > 0, np.where(x.value > x.error, x.error / np.sqrt(np.abs(x.value)), np.inf), 0)
    return Bounded(value, spread + roundings.growth(1) * (value + spread))


def _one(_: Settings) -> float:
    return 1.0


def _itself(reach: Array, _: Settings) -> Array:
    return reach


def _slope(word: str) -> Callable[[Settings], float]:
    return lambda settings: max(1.0, abs(settings[word]))


CURVES: dict[str, Curve] = {
    "linear": Curve(_one),
    "relu": Curve(_one),
    "relu6": Curve(_one, width=lambda _: 6),
    "clipped_relu": Curve(_one, 1, width=lambda s: s["highest"]),
    "leaky_relu": Curve(_slope("negative_slope"), 2),
    "elu": Curve(_slope("alpha"), 2, 1),
    "celu": Curve(lambda s: 1.0 if s["alpha"] > 0 else math.inf, 4, 1),
    "selu": Curve(lambda _: SELU_SCALE * SELU_ALPHA, 4, 1),
    "gelu": Curve(lambda _: 1.13, 6, 1, _itself),
    "gelu_tanh": Curve(lambda _: 1.13, 12, 1, _itself),
    "silu": Curve(lambda _: 1.1, 3, 1),
    "mish": Curve(lambda _: 1.1, 3, 3),
    "tanh": Curve(_one, 0, 1, width=lambda _: 2),
    "sigmoid": Curve(lambda _: 0.25, 2, 1, width=lambda _: 1),
    "nnet_sigmoid": Curve(
        lambda _: 0.25, 2, 1, width=lambda _: 1, edges=lambda _: (-15, 15), leap=lambda _reach, _s: math.exp(-15)
    ),
    "log_sigmoid": Curve(_one, 2, 2),
    "softplus": Curve(
        _one, 6, 2, lambda _reach, s: 1 / abs(s["beta"]), edges=lambda s: (s["threshold"] / s["beta"],),
        leap=lambda _reach, s: math.exp(-s["threshold"]) / abs(s["beta"]),
    ),
    "softsign": Curve(_one, 2, width=lambda _: 2),
    "tanh_shrink": Curve(_one, 1, 1, _itself),
    "soft_shrink": Curve(_one, 2, 0, lambda reach, s: reach + abs(s["threshold"])),
    "hard_shrink": Curve(
        _one, edges=lambda s: (-s["threshold"], s["threshold"]), leap=lambda reach, s: reach + abs(s["threshold"])
    ),
    "hard_sigmoid": Curve(
        lambda s: abs(s["alpha"]), 4, 0, lambda reach, s: abs(s["alpha"]) * reach + abs(s["beta"]), width=lambda _: 1
    ),
    "hard_silu": Curve(lambda _: 1.5, 5, 0, _itself),
    "hard_tanh": Curve(_one, 1, width=lambda s: abs(s["highest"] - s["lowest"])),
    "erf": Curve(lambda _: 1.13, 0, 1, width=lambda _: 2),
    "absolute": Curve(_one),
    "threshold": Curve(
        _one, 1, edges=lambda s: (s["threshold"],), leap=lambda reach, s: reach + abs(s["value"])
    ),
    "thresholded_relu": Curve(_one, edges=lambda s: (s["alpha"],), leap=lambda reach, _s: reach),
}  # fmt: skip
"""The curves of `program.activations`, in its order, but those without a Lipschitz constant."""
