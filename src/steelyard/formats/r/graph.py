"""The graph of a network of R: a chain of dense layers, derived from the facts of the object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Graph, Layer, in_line, names_of_inputs

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

_CHAINS = ("nnet", "neuralnet", "AMORE", "monmlp", "RSNNS")
_INPUT = "x"
_WORDS = {"logistic": "sigmoid", "linear": "linear", "tansig": "tansig", "purelin": "linear", "hardlim": "hardlim"}


def graph_of(networks: Mapping[str, Mapping[str, Any]], weights: Iterable[Weight]) -> Graph | None:
    """Return the layers of all networks of an object; None if one of them is not a chain of dense layers."""
    if any(facts.get("package") not in _CHAINS for facts in networks.values()) or not networks:
        return None
    listed = list(weights)
    layers = [layer for prefix, facts in networks.items() for layer in _dense_layers(prefix, facts, listed)]
    inputs = [facts["units"][0] for facts in networks.values() if facts.get("units")]
    shapes = ((_input_size(next(iter(networks.values())), inputs[0]),),) if len(inputs) == 1 else None
    input_names = names_of_inputs([_INPUT], [layer.name for layer in layers])
    for layer in layers:
        layer.inputs = tuple(input_names[0] if name == _INPUT else name for name in layer.inputs or ())
    chain = _is_sequential(networks, layers, input_names)
    return Graph(layers, is_execution_order=True, input_names=input_names, input_shapes=shapes, is_sequential=chain)


def _is_sequential(networks: Mapping[str, Mapping[str, Any]], layers: list[Layer], input_names: Iterable[str]) -> bool:
    """Whether an object is one network with known activations and without scaling of its inputs or outputs."""
    facts = next(iter(networks.values()))
    several = len(networks) > 1 or facts.get("repetitions", 1) != 1
    scaled = facts.get("preprocess") or facts.get("targets")
    known = facts.get("package") in ("nnet", "neuralnet") and all("activation" in layer.settings for layer in layers)
    return known and not several and not scaled and in_line(layers, input_names)


def _input_size(facts: Mapping[str, Any], units: int) -> int:
    """Return the number of inputs that a user gives, without the column of ones that multinom adds first."""
    return units - ("(Intercept)" in list(facts.get("inputs") or ())[:1])


def _dense_layers(prefix: str, facts: Mapping[str, Any], weights: list[Weight]) -> Iterator[Layer]:
    names = list(dict.fromkeys(w.layer for w in weights if not prefix or w.layer.startswith(f"{prefix}.")))
    inputs: tuple[str, ...] = (_INPUT,)
    for nth, name in enumerate(names):
        hidden = facts.get("hidden")  # one word, or one for each hidden layer
        word = facts.get("output") if nth == len(names) - 1 else hidden[nth] if isinstance(hidden, (list, tuple)) else hidden
        settings = {"activation": _activation(str(word), facts)} if word else {}
        yield Layer(name, "dense", str(facts.get("package")), settings, inputs=inputs)
        if any("skip" in weight.axes for weight in weights if weight.layer == name):
            yield Layer(f"{name}.skip", "dense", str(facts.get("package")), inputs=(_INPUT,))
        inputs = (name,)


def _activation(word: str, facts: Mapping[str, Any]) -> str:
    """Return Keras's word for an activation; nnet's logistic function, which has a cutoff, has a word of its own."""
    if word == "logistic" and facts.get("cut"):
        return "nnet_sigmoid"
    return _WORDS.get(word, word)
