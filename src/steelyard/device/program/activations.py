"""Activations by the words of `core.graph`, each number by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.core.weight import Array
    from steelyard.device.program.arithmetic import Arithmetic, Functions

    Curve = Callable[[Array, Mapping[str, Any], Functions], Array]
    """Computes an activation of numbers with its settings, by elementary functions."""

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Activation(NamedTuple):
    """An activation by its word, with all of its settings."""

    word: str
    settings: Mapping[str, float]

    def run(self, inputs: Sequence[Array], arithmetic: Arithmetic) -> Array:
        """Return the activation of each number."""
        return activated(self.word, self.settings, inputs[0], arithmetic)


def activated(word: str, settings: Mapping[str, float], x: Array, arithmetic: Arithmetic) -> Array:
    """Return the activation of numbers, computed in their type."""
    import numpy as np

    x = arithmetic.cast(x)
    values = {name: np.asarray(value, arithmetic.numbers) for name, value in settings.items()}
    with np.errstate(over="ignore"):  # a branch that is not taken may overflow
        return arithmetic.cast(CURVES[word](x, values, arithmetic.functions))


def known_settings(word: str, given: Mapping[str, object]) -> dict[str, float]:
    """Return all settings of an activation; those that are not given have their usual values.

    >>> known_settings("elu", {"activation": "elu", "alpha": 0.5}), known_settings("relu", {"activation": "relu"})
    ({'alpha': 0.5}, {})
    """
    made = {}
    for name, usual in SETTINGS.get(word, {}).items():
        value = given.get(name, usual)
        made[name] = float(value) if isinstance(value, (int, float)) else usual
    return made


def _relu(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > 0, x, x.dtype.type(0))


def _clipped_relu(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.minimum(_relu(x, settings, functions), settings["highest"])


def _relu6(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.minimum(_relu(x, _, functions), x.dtype.type(6))  # type: ignore[no-any-return]


def _leaky(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > 0, x, x * settings["negative_slope"])


def _elu(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > 0, x, settings["alpha"] * functions.expm1(x))


def _celu(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > 0, x, settings["alpha"] * functions.expm1(x / settings["alpha"]))


def _selu(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return x.dtype.type(SELU_SCALE) * np.where(x > 0, x, x.dtype.type(SELU_ALPHA) * functions.expm1(x))  # type: ignore[no-any-return]


def _sigmoid(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    return 1 / (1 + functions.exp(-x))


def _nnet_sigmoid(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    """R's nnet cuts the logistic function off at +-15."""
    import numpy as np

    return np.where(x < -15, x.dtype.type(0), np.where(x > 15, x.dtype.type(1), _sigmoid(x, settings, functions)))


def _softplus(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    scaled = x * settings["beta"]
    smooth = (np.maximum(scaled, 0) + functions.log1p(functions.exp(-np.abs(scaled)))) / settings["beta"]
    return np.where(scaled > settings["threshold"], x, smooth)


def _log_sigmoid(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.minimum(x, 0) - functions.log1p(functions.exp(-np.abs(x)))


def _mish(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return x * functions.tanh(np.maximum(x, 0) + functions.log1p(functions.exp(-np.abs(x))))


def _gelu(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    made: Array = x * (1 + functions.erf(x / x.dtype.type(math.sqrt(2)))) / 2
    return made


def _gelu_tanh(x: Array, _: Mapping[str, float], functions: Functions) -> Array:
    factor, cubic = x.dtype.type(math.sqrt(2 / math.pi)), x.dtype.type(0.044715)
    made: Array = x * (1 + functions.tanh(factor * (x + cubic * x * x * x))) / 2
    return made


def _clipped(x: Array, lowest: float, highest: float) -> Array:
    import numpy as np

    return np.minimum(np.maximum(x, x.dtype.type(lowest)), x.dtype.type(highest))  # type: ignore[no-any-return]


def _hard_sigmoid(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    return _clipped(x * settings["alpha"] + settings["beta"], 0, 1)


def _soft_shrink(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    edge = settings["threshold"]
    return np.where(x > edge, x - edge, np.where(x < -edge, x + edge, x.dtype.type(0)))


def _hard_shrink(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(np.abs(x) > settings["threshold"], x, x.dtype.type(0))


def _threshold(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > settings["threshold"], x, settings["value"])


def _thresholded_relu(x: Array, settings: Mapping[str, float], functions: Functions) -> Array:
    import numpy as np

    return np.where(x > settings["alpha"], x, x.dtype.type(0))


def _square_root(x: Array, _: Mapping[str, float], __: Functions) -> Array:
    import numpy as np

    made: Array = np.sqrt(x)
    return made


CURVES: dict[str, Curve] = {
    "linear": lambda x, _, __: x,
    "relu": _relu,
    "relu6": _relu6,
    "clipped_relu": _clipped_relu,
    "leaky_relu": _leaky,
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x, settings, functions: x * _sigmoid(x, settings, functions),
    "mish": _mish,
    "tanh": lambda x, _, functions: functions.tanh(x),
    "exponential": lambda x, _, functions: functions.exp(x),
    "sigmoid": _sigmoid,
    "nnet_sigmoid": _nnet_sigmoid,
    "log_sigmoid": _log_sigmoid,
    "softplus": _softplus,
    "softsign": lambda x, _, __: x / (1 + abs(x)),
    "tanh_shrink": lambda x, _, functions: x - functions.tanh(x),
    "soft_shrink": _soft_shrink,
    "hard_shrink": _hard_shrink,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x, _, __: x * _clipped(x * x.dtype.type(1 / 6) + x.dtype.type(0.5), 0, 1),
    "hard_tanh": lambda x, settings, __: _clipped(x, settings["lowest"], settings["highest"]),
    "erf": lambda x, _, functions: functions.erf(x),
    "absolute": lambda x, _, __: abs(x),
    "square_root": _square_root,
    "threshold": _threshold,
    "thresholded_relu": _thresholded_relu,
}
SETTINGS: dict[str, dict[str, float]] = {
    "clipped_relu": {"highest": math.inf},
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
    "softplus": {"beta": 1.0, "threshold": math.inf},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "hard_tanh": {"lowest": -1.0, "highest": 1.0},
    "threshold": {"threshold": 0.0, "value": 0.0},
    "thresholded_relu": {"alpha": 1.0},
}
"""The settings of activations and their usual values."""
