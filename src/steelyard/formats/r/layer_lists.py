"""R's networks that are lists of matrices, bias and kernel together: neuralnet and monmlp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.layers import FLOATS, Net, by_name, flag, items, matrix, present, texts, whole
from steelyard.codecs.r.values import Opaque, Pairlist, Symbol, Vector
from steelyard.core.stacked import PaddedMatrix
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight

_DATA = ("data", "covariate", "response", "net.result", "generalized.weights")
_MADE = ("net.result", "generalized.weights", "result.matrix")


def neuralnet(fit: Vector, file: str) -> Net:
    """Return the layers of a neuralnet: matrices whose first row is the bias; `hidden`, `output`, several numbered.

    Several repetitions are told apart by `rep1.`, `rep2.`. Weights that were excluded are NA, as R keeps them; split
    into kernel and bias they are zeros. Raises `FormatError` for a fit that did not converge, which has no weights.
    """
    net = Net("neuralnet", fit)
    if fit.get("weights") is None:
        raise FormatError(file, "holds a neuralnet without weights: it did not converge; fit it again with a larger stepmax")
    repetitions = items(fit.get("weights"), "weights of a neuralnet", file)
    excluded = fit.get("exclude") is not None
    for nth, repetition in enumerate(repetitions, 1):
        prefix = f"rep{nth}." if len(repetitions) > 1 else ""
        layers = items(repetition, "a repetition of a neuralnet", file)
        for name, layer in zip(_names(len(layers)), layers, strict=True):
            _add(net, f"{prefix}{name}", layer, "1+in out", file)
            if excluded:
                _exclude(net)
    if excluded:
        net.notes.append("excluded weights are NA, as neuralnet keeps them; they are zeros in kernels and biases")
    units = [net.weights[0].shape[0] - 1] if net.weights else []
    units += [weight.shape[1] for weight in net.weights[: len(net.weights) // max(len(repetitions), 1)]]
    net.facts |= {"units": units, "repetitions": len(repetitions)} | _neuralnet_facts(fit)
    net.training = present(fit, _DATA)
    net.derived = present(fit, _MADE)
    return net


def _names(count: int) -> list[str]:
    hidden = ["hidden"] if count == 2 else [f"hidden{nth}" for nth in range(1, count)]
    return [*hidden, "output"][:count]


def _add(net: Net, name: str, value: Any, axes: str, file: str) -> None:
    vector, shape = matrix(value, f"the layer {name}", file)
    net.add(name, [(vector, 0, vector.length)], shape, axes=axes)


def _exclude(net: Net) -> None:
    """Let the last layer be read with zeros for what was excluded, where it is split."""
    weight = net.weights[-1]

    def without(run: Array) -> Array:
        import numpy as np

        missing = np.isnan(run) & (run.view(np.uint64) & 0xFFFFFFFF == 1954)  # NA; any other NaN is a number gone wrong
        return np.where(missing, 0.0, run).reshape(weight.shape)

    net.weights[-1] = weight.replace(read=PaddedMatrix(weight.read, without, weight.shape, weight.axes))


def _neuralnet_facts(fit: Vector) -> dict[str, Any]:
    used = fit.get("model.list")
    hidden = _activation(fit.get("act.fct"))
    output = _activation(fit.get("output.act.fct")) or hidden
    return {
        "hidden": hidden,
        "output": "linear" if flag(fit.get("linear.output")) else output,
        "inputs": texts(used.get("variables")) if isinstance(used, Vector) else [],
        "outputs": texts(used.get("response")) if isinstance(used, Vector) else [],
    }


def _activation(function: Any) -> str:
    """Return what neuralnet calls an activation; one that the user wrote is a "function"."""
    return next(iter(texts(function.attributes.get("type"))), "function") if isinstance(function, Opaque) else ""


def is_monmlp(value: Any) -> bool:
    """Tell whether a list is what monmlp.fit returns: members with W1, and the scaling of the data beside them."""
    if not isinstance(value, Vector) or not value.items or not {"x.center", "y.center"} <= value.attributes.keys():
        return False
    return all(isinstance(member, Vector) and member.get("W1") is not None for member in value.items)


def monmlp(fit: Vector, file: str) -> Net:
    """Return the layers of a monmlp: W1, W2 and W3, matrices whose last row is the bias.

    The members of an ensemble are numbered as in R, "1.W1". Raises `FormatError` for what is no matrix.
    """
    net = Net("monmlp", fit)
    members = items(fit, "a monmlp", file)
    for nth, member in enumerate(members, 1):
        prefix = f"{nth}." if len(members) > 1 else ""
        for name, layer in member.pairs():
            _add(net, f"{prefix}{name}", layer, "in+1 out", file)
    net.facts |= _monmlp_facts(fit, net.weights[: len(net.weights) // len(members)], file)
    net.training = [name for name in ("x", "y", "y.pred") if isinstance(fit.attributes.get(name), Vector)]
    net.derived = ["y.pred"]
    return net


def _monmlp_facts(fit: Vector, layers: list[Weight], file: str) -> dict[str, Any]:
    held = fit.attributes
    facts: dict[str, Any] = {
        "units": [layers[0].shape[0] - 1, *(weight.shape[1] for weight in layers)],
        "members": fit.length,
        "hidden": _shape_of(held.get("Th")),
        "output": _shape_of(held.get("To")),
        "inputs": _scaled(held.get("x.center")),
        "outputs": _scaled(held.get("y.center")),
        "preprocess": {"center": by_name(held.get("x.center")), "scale": by_name(held.get("x.scale"))},
        "targets": {"center": by_name(held.get("y.center")), "scale": by_name(held.get("y.scale"))},
    }
    if held.get("monotone") is not None:
        facts["monotone"] = whole(held.get("monotone"), "monotone of a monmlp", file)
    return facts


def _scaled(value: Any) -> list[str]:
    return list(by_name(value))


_BODIES = {"tanh(*(0.5,x))": "tanh(x/2)", "x": "linear", "/(1,+(1,exp(-(x))))": "logistic"}
"""The activations that monmlp comes with, as their bodies are written."""


def _shape_of(function: Any) -> str:
    """Return which of monmlp's activations a function is, by its body; any other is a "function"."""
    return _BODIES.get(_written(function.parts.get("body"), 0), "function") if isinstance(function, Opaque) else "function"


def _written(value: Any, depth: int) -> str:
    """Write a short call as text: nothing of it is run, and what is longer than an activation is left out."""
    if isinstance(value, Symbol):
        return value.name
    if isinstance(value, Vector) and value.length == 1 and value.dtype in FLOATS:
        return f"{value.plain()[0]:g}"
    function = value.parts.get("function") if isinstance(value, Opaque) and value.kind == "language" else None
    arguments = value.parts.get("arguments") if function is not None else None
    if not isinstance(function, Symbol) or not isinstance(arguments, Pairlist) or len(arguments.values) > 3 or depth > 8:
        return "..."
    inner = [_written(argument, depth + 1) for argument in arguments.values]
    return inner[-1] if function.name in ("{", "(") else f"{function.name}({','.join(inner)})"
