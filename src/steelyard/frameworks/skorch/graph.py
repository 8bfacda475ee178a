"""skorch: the graph of the module that `infer` calls.

If several parts hold weights, layers have the same prefixes as their weights (`module_.fc`), and the layers of the other
parts come last, marked as unused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skorch import NeuralNet

from steelyard.core.graph import Graph, Layer, Run
from steelyard.core.members import dotted
from steelyard.core.plugins import framework_of, load
from steelyard.errors import NotFittedError, UnknownModelError, printable

if TYPE_CHECKING:
    from torch import nn

    from steelyard.core.weight import Array

_OWN = "module_"


def graph(model: NeuralNet, inputs: Sequence[Array] | None) -> Graph:
    """Return the graph of the module; raises `NotFittedError` for a net that is neither fitted nor initialised."""
    inner: Graph = load("frameworks", "torch").graph(_module(model), inputs)
    before = _prefix(model)
    names = {layer.name: dotted(before, layer.name) for layer in inner.layers}
    for layer in inner.layers:
        layer.name = names[layer.name]
        layer.inputs = None if layer.inputs is None else tuple(names.get(name, name) for name in layer.inputs)
    inner.layers += _others(model, before)
    return inner


def run(model: NeuralNet, inputs: Sequence[Array]) -> Run:
    """Run the module; its output lacks the nonlinearity that `predict_proba` applies to it."""
    inner: Run = load("frameworks", "torch").run(_module(model), inputs)
    before = _prefix(model)
    return Run(inner.outputs, {dotted(before, name): array for name, array in inner.layers.items()})


def _module(net: object) -> nn.Module:
    if not isinstance(net, NeuralNet):
        raise UnknownModelError(f"a skorch {printable(type(net).__name__)} has no layers; pass the net itself")
    module = vars(net).get(_OWN)
    if module is None:
        raise NotFittedError(
            f"this {printable(type(net).__name__)} has no {_OWN}; call .fit(), or .initialize() for untrained weights"
        )
    return module


def _prefix(net: NeuralNet) -> str:
    """Return the prefix of the names of the module's weights: blank if no other part has weights."""
    own, of_module = ({weight.name for weight in framework_of(each).weights(each)} for each in (net, _module(net)))
    return "" if own <= of_module else _OWN


def _others(net: NeuralNet, before: str) -> list[Layer]:
    """List the layers of the other parts, which the module does not run."""
    foreign = [w.layer for w in framework_of(net).weights(net) if before and not w.name.startswith(f"{before}.")]
    return [Layer(name, "other", settings={"unused": True}) for name in dict.fromkeys(foreign)]
