"""R's networks that are lists of matrices, each with the bias as one row: neuralnet and monmlp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.layers import FLOATS, Network, by_name, flag, items, matrix, present, texts, whole
from steelyard.codecs.r.values import Opaque, Pairlist, Symbol, Vector, member
from steelyard.core.stacked import PaddedMatrix
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r.values import Value
    from steelyard.core.weight import Array, Weight

_TRAINING = ("data", "covariate", "response", "net.result", "generalized.weights")
_DERIVED = ("net.result", "generalized.weights", "result.matrix")


def neuralnet(fit: Vector, file: str) -> Network:
    """Return the layers of a neuralnet: matrices whose first row is the bias, called `hidden1`, `hidden2`, ..., `output`.

    Repetitions have the prefixes `rep1.`, `rep2.`. Excluded weights are NA, as in R; split into kernel and bias they are
    zeros. Raises `FormatError` for a fit that did not converge, which has no weights.
    """
    network = Network("neuralnet", fit)
    if fit.get("weights") is None:
        raise FormatError(file, "holds a neuralnet without weights: it did not converge; fit it again with a larger stepmax")
    repetitions = items(fit.get("weights"), "weights of a neuralnet", file)
    excluded = fit.get("exclude") is not None
    for nth, repetition in enumerate(repetitions, 1):
        prefix = f"rep{nth}." if len(repetitions) > 1 else ""
        layers = items(repetition, "a repetition of a neuralnet", file)
        for name, layer in zip(_names(len(layers)), layers, strict=True):
            _add(network, f"{prefix}{name}", layer, "1+in out", file)
            if excluded:
                _exclude(network)
    if excluded:
        network.notes.append("excluded weights are NA, as neuralnet keeps them; they are zeros in kernels and biases")
    units = [network.weights[0].shape[0] - 1] if network.weights else []
    units += [weight.shape[1] for weight in network.weights[: len(network.weights) // max(len(repetitions), 1)]]
    network.facts |= {"units": units, "repetitions": len(repetitions)} | _neuralnet_facts(fit)
    network.training = present(fit, _TRAINING)
    network.derived = present(fit, _DERIVED)
    return network


def _names(count: int) -> list[str]:
    hidden = ["hidden"] if count == 2 else [f"hidden{nth}" for nth in range(1, count)]
    return [*hidden, "output"][:count]


def _add(network: Network, name: str, value: Value, axes: str, file: str) -> None:
    vector, shape = matrix(value, f"the layer {name}", file)
    network.add(name, [(vector, 0, vector.length)], shape, axes=axes)


def _exclude(network: Network) -> None:
    """Make the last layer read zeros for excluded weights when it is split into kernel and bias."""
    weight = network.weights[-1]

    def with_zeros(numbers: Array) -> Array:
        import numpy as np

        missing = np.isnan(numbers) & (numbers.view(np.uint64) & 0xFFFFFFFF == 1954)  # NA; any other NaN is a real result
        return np.where(missing, 0.0, numbers).reshape(weight.shape)

    network.weights[-1] = weight.replace(read=PaddedMatrix(weight.read, with_zeros, weight.shape, weight.axes))


def _neuralnet_facts(fit: Vector) -> dict[str, Any]:
    variables = fit.get("model.list")
    hidden = _activation(fit.get("act.fct"))
    output = _activation(fit.get("output.act.fct")) or hidden
    return {
        "hidden": hidden,
        "output": "linear" if flag(fit.get("linear.output")) else output,
        "inputs": texts(member(variables, "variables")),
        "outputs": texts(member(variables, "response")),
    }


def _activation(function: Value) -> str:
    """Return neuralnet's word for an activation; "function" for one that the user wrote."""
    return next(iter(texts(function.attributes.get("type"))), "function") if isinstance(function, Opaque) else ""


def is_monmlp(value: Value) -> bool:
    """Whether a value is the result of monmlp.fit: a list of members with W1, and attributes that scale the data."""
    if not isinstance(value, Vector) or not value.items or not {"x.center", "y.center"} <= value.attributes.keys():
        return False
    return all(isinstance(item, Vector) and item.get("W1") is not None for item in value.items)


def monmlp(fit: Vector, file: str) -> Network:
    """Return the layers of a monmlp: W1, W2 and W3, matrices whose last row is the bias.

    The members of an ensemble are numbered as in R, "1.W1". Raises `FormatError` for a layer that is not a matrix.
    """
    network = Network("monmlp", fit)
    members = items(fit, "a monmlp", file)
    for nth, layers in enumerate(members, 1):
        prefix = f"{nth}." if len(members) > 1 else ""
        for name, layer in layers.pairs() if isinstance(layers, Vector) else ():
            _add(network, f"{prefix}{name}", layer, "in+1 out", file)
    network.facts |= _monmlp_facts(fit, network.weights[: len(network.weights) // len(members)], file)
    network.training = [name for name in ("x", "y", "y.pred") if isinstance(fit.attributes.get(name), Vector)]
    network.derived = ["y.pred"]
    return network


def _monmlp_facts(fit: Vector, layers: list[Weight], file: str) -> dict[str, Any]:
    scaling = fit.attributes
    facts: dict[str, Any] = {
        "units": [layers[0].shape[0] - 1, *(weight.shape[1] for weight in layers)],
        "members": fit.length,
        "hidden": _activation_by_body(scaling.get("Th")),
        "output": _activation_by_body(scaling.get("To")),
        "inputs": list(by_name(scaling.get("x.center"))),
        "outputs": list(by_name(scaling.get("y.center"))),
        "preprocess": {"center": by_name(scaling.get("x.center")), "scale": by_name(scaling.get("x.scale"))},
        "targets": {"center": by_name(scaling.get("y.center")), "scale": by_name(scaling.get("y.scale"))},
    }
    if scaling.get("monotone") is not None:
        facts["monotone"] = whole(scaling.get("monotone"), "monotone of a monmlp", file)
    return facts


_BODIES = {"tanh(*(0.5,x))": "tanh(x/2)", "x": "linear", "/(1,+(1,exp(-(x))))": "logistic"}
"""monmlp's own activations by their bodies, in prefix notation."""
MAX_CALL_DEPTH, MAX_ARGUMENTS = 8, 3  # more than any of these bodies has


def _activation_by_body(function: Value) -> str:
    """Return which of monmlp's activations has the body of this function; "function" for any other."""
    return (
        _BODIES.get(_prefix_notation(function.parts.get("body"), 0), "function") if isinstance(function, Opaque) else "function"
    )


def _prefix_notation(value: Value, depth: int) -> str:
    """Return a short call as text, without evaluating it; "..." for a call longer than an activation."""
    if isinstance(value, Symbol):
        return value.name
    if isinstance(value, Vector) and value.length == 1 and value.dtype in FLOATS:
        return f"{value.plain()[0]:g}"
    call = value.parts if isinstance(value, Opaque) and value.kind == "language" else {}
    function, arguments = call.get("function"), call.get("arguments")
    if not isinstance(function, Symbol) or not isinstance(arguments, Pairlist):
        return "..."
    if len(arguments.values) > MAX_ARGUMENTS or depth > MAX_CALL_DEPTH:
        return "..."
    inner = [_prefix_notation(argument, depth + 1) for argument in arguments.values]
    return inner[-1] if function.name in ("{", "(") else f"{function.name}({','.join(inner)})"
