"""The graph of a network of R: a chain of dense layers, as the object's own facts tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.graph import Graph, Layer, in_line

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

_CHAINS = ("nnet", "neuralnet", "AMORE", "monmlp", "RSNNS")
_WORDS = {"logistic": "sigmoid", "linear": "linear", "tansig": "tansig", "purelin": "linear", "hardlim": "hardlim"}


def graph_of(networks: Mapping[str, Mapping[str, Any]], weights: Iterable[Weight]) -> Graph | None:
    """Return the layers of all networks of an object, or None where one is no chain of dense layers."""
    if any(facts.get("package") not in _CHAINS for facts in networks.values()) or not networks:
        return None
    listed = list(weights)
    layers = [layer for prefix, facts in networks.items() for layer in _chain(prefix, facts, listed)]
    inputs = [facts["units"][0] for facts in networks.values() if facts.get("units")]
    fed = ((_fed(next(iter(networks.values())), inputs[0]),),) if len(inputs) == 1 else None
    return Graph(layers, is_execution_order=True, input_shapes=fed, is_sequential=_is_chain(networks, layers))


def _is_chain(networks: Mapping[str, Mapping[str, Any]], layers: list[Layer]) -> bool:
    """Tell whether an object is one net whose activations are known, and that gets its inputs as they are."""
    facts = next(iter(networks.values()))
    several = len(networks) > 1 or facts.get("repetitions", 1) != 1
    scaled = facts.get("preprocess") or facts.get("targets")
    known = facts.get("package") in ("nnet", "neuralnet") and all("activation" in layer.settings for layer in layers)
    return known and not several and not scaled and in_line(layers)


def _fed(facts: Mapping[str, Any], units: int) -> int:
    """Return how many inputs are given; the column of ones that multinom keeps first is not."""
    return units - ("(Intercept)" in list(facts.get("inputs") or ())[:1])


def _chain(prefix: str, facts: Mapping[str, Any], weights: list[Weight]) -> Iterator[Layer]:
    names = list(dict.fromkeys(w.layer for w in weights if not prefix or w.layer.startswith(f"{prefix}.")))
    before: tuple[str, ...] = ()
    for nth, name in enumerate(names):
        word = facts.get("output") if nth == len(names) - 1 else _nth(facts.get("hidden"), nth)
        settings = {"activation": _activation(str(word), facts)} if word else {}
        yield Layer(name, "dense", str(facts.get("package")), settings, inputs=before)
        if any("skip" in weight.axes for weight in weights if weight.layer == name):
            yield Layer(f"{name}.skip", "dense", str(facts.get("package")), inputs=())
        before = (name,)


def _nth(words: Any, nth: int) -> Any:
    return words[nth] if isinstance(words, (list, tuple)) else words


def _activation(word: str, facts: Mapping[str, Any]) -> str:
    """Return Keras's word for an activation; nnet's logistic is cut off where it is nearly 0 or 1."""
    if word == "logistic" and facts.get("cut"):
        return "nnet_sigmoid"
    return _WORDS.get(word, word)
