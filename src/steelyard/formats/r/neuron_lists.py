"""R's networks that are stored neuron by neuron: AMORE's objects, and the SNNS text of RSNNS."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from steelyard.codecs.r.layers import Network, doubles, items, present, reader_of, whole
from steelyard.codecs.r.values import S4, Environment, Vector, member
from steelyard.core.stacked import PaddedMatrix
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from steelyard.codecs.r.layers import VectorSlice
    from steelyard.codecs.r.values import Value
    from steelyard.core.weight import Array

_AMORE = {0: "function", 1: "tansig", 2: "logistic", 3: "linear", 4: "hardlim"}
_SNNS = {"Act_Logistic": "logistic", "Act_Identity": "linear", "Act_IdentityPlusBias": "linear", "Act_TanH": "tanh"}
_WITHOUT_BIAS = "Act_Identity"
ROUNDED = "RSNNS stores its networks as text with 5 decimals: these weights differ from those of the live model by up to 5e-06"


def amore(fit: Vector, file: str) -> Network:
    """Return the layers of an MLPnet: matrices whose last row is the bias, which each neuron stores after its weights.

    A layer whose neurons are not all fed by the whole layer before is listed as a flat vector. Raises `FormatError` for
    inconsistent layers and neurons.
    """
    network = Network("AMORE", fit)
    neurons = items(fit.get("neurons"), "neurons of an MLPnet", file)
    layers = [whole(layer, "a layer of an MLPnet", file) for layer in items(fit.get("layers"), "layers of an MLPnet", file)]
    if len(layers) < 2 or any(not 1 <= place <= len(neurons) for layer in layers[1:] for place in layer):
        raise FormatError(file, "an MLPnet is inconsistent: it has no layers, or a layer refers to a missing neuron")
    kinds = []
    for nth, (before, layer) in enumerate(pairwise(layers), 1):
        name = "output" if nth == len(layers) - 1 else "hidden" if len(layers) == 3 else f"hidden{nth}"
        members = [neurons[place - 1] for place in layer]
        _add_amore(network, name, before, members, file)
        kinds.append(_kinds(members))
    hidden = kinds[:-1]
    network.facts |= {
        "units": [len(layer) for layer in layers],
        "hidden": hidden[0] if hidden and all(kind == hidden[0] for kind in hidden) else hidden,
        "output": kinds[-1],
    }
    return network


def _kinds(neurons: list[Value]) -> str:
    """Return the activation of a layer's neurons; if they differ, all of them."""
    codes = [whole(member(neuron, "activation.function"), "activation.function of a neuron", "AMORE") for neuron in neurons]
    return " ".join(dict.fromkeys(_AMORE.get(code[0] if code else -1, "function") for code in codes))


def _add_amore(network: Network, name: str, before: list[int], neurons: list[Value], file: str) -> None:
    slices: list[VectorSlice] = []
    fed: list[list[int]] = []
    for neuron in neurons:
        weights, bias = (doubles(member(neuron, key), f"{key} of a neuron", file) for key in ("weights", "bias"))
        links = whole(member(neuron, "input.links"), "input.links of a neuron", file)
        if bias.length != 1 or weights.length != len(links) or len(set(links)) < len(links):
            raise FormatError(file, f"a neuron has {weights.length} weights for {len(links)} links, and {bias.length} biases")
        slices += [(weights, 0, weights.length), (bias, 0, 1)]
        fed.append(links)
    shape, axes = (len(before) + 1, len(neurons)), "in+1 out"
    if all(links == before for links in fed):
        network.add(name, slices, shape, axes=axes)
        return
    count = sum(length for _, _, length in slices)
    network.add(name, slices, (count,))
    if {unit for links in fed for unit in links} <= {*before}:
        padded = PaddedMatrix(reader_of(slices, (count,)), _zero_padded(fed, before), shape, axes)
        network.weights[-1] = network.weights[-1].replace(read=padded)


def _zero_padded(fed: list[list[int]], before: list[int]) -> Callable[[Array], Array]:
    """Return the function that makes a matrix of the weights and biases, with zeros for missing connections."""
    row = {unit: nth for nth, unit in enumerate(before)}

    def matrix(numbers: Array) -> Array:
        import numpy as np

        padded = np.zeros((len(before) + 1, len(fed)), numbers.dtype)
        rows = [place for links in fed for place in (*(row[unit] for unit in links), len(before))]
        columns = [nth for nth, links in enumerate(fed) for _ in range(len(links) + 1)]
        padded[rows, columns] = numbers
        return padded

    return matrix


def rsnns(fit: Vector, file: str) -> Network:
    """Return the layers of an RSNNS mlp: matrices whose first row is the bias, in float32 as in SNNS.

    SNNS does not add the bias of a linear unit: split into kernel and bias, it is zero. Raises `FormatError` for other
    networks of SNNS, and for a damaged text.
    """
    network = Network("RSNNS", fit)
    text = _text(fit)
    if "mlp" not in fit.class_ or text is None:
        raise FormatError(file, f"holds an RSNNS {printable(' '.join(fit.class_), 80)}; of RSNNS only mlp can be read")
    units, links = _parsed(text, file)
    layers = _layers(units, file)
    for nth, (before, layer) in enumerate(pairwise(layers), 1):
        name = "output" if nth == len(layers) - 1 else "hidden" if len(layers) == 3 else f"hidden{nth}"
        network.weights.append(_matrix(name, before, layer, links, file))
    hidden = [_kind(layer) for layer in layers[1:-1]]
    network.facts |= {
        "units": [len(layer) for layer in layers],
        "hidden": hidden[0] if len(set(hidden)) == 1 else hidden,
        "output": _kind(layers[-1]),
        "inputs": [unit.name.removeprefix("Input_") for unit in layers[0]],
        "outputs": [unit.name.removeprefix("Output_") for unit in layers[-1]],
    }
    network.notes.append(ROUNDED)
    network.training = present(fit, ("fitted.values", "fittedTestValues"))
    return network


# Row of the unit definition section: cells separated by "|"
#   no. | type name | unit name | activation | bias | type: i input, h hidden, o output | x,y,z | activation function | ...
# y is the number of the layer. An empty activation function is the one of the unit default section.
class _SnnsUnit:
    """A unit of SNNS: its number, name and bias, its type, the layer of its position, and its activation function."""

    __slots__ = ("act", "bias", "kind", "layer", "name", "number")

    def __init__(self, cells: list[str], act: str) -> None:
        self.number = int(cells[0])
        self.name = cells[2]
        self.bias = _number(cells[4])
        self.kind = cells[5]
        self.layer = int(cells[6].split(",")[1])
        self.act = (cells[7] if len(cells) > 7 else "") or act


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _text(fit: Vector) -> str | None:
    snns = fit.get("snnsObject")
    variables = snns.get("variables") if isinstance(snns, S4) else None
    text = variables.get("serialization") if isinstance(variables, Environment) else None
    return text.strings[0] if isinstance(text, Vector) and text.strings else None


# The SNNS text of a network: tables with a title, a head and a line of dashes
#   unit default section :           act | bias | type | subnet | layer | act func | out func
#   unit definition section :        one row a unit (see `_SnnsUnit`)
#   connection definition section :  target unit | site | source:weight, source:weight, ...
def _parsed(text: str, file: str) -> tuple[list[_SnnsUnit], dict[int, dict[int, float]]]:
    """Return the units, and the weight of each link by its target and its source."""
    act, links = "Act_Logistic", dict[int, dict[int, float]]()
    try:
        for cells in _rows(text, "unit default section"):
            act = cells[5]
        units = [_SnnsUnit(cells, act) for cells in _rows(text, "unit definition section")]
        target = 0
        for cells in _rows(text, "connection definition section"):
            target = int(cells[0]) if cells[0] else target  # a long list continues in the next line
            pairs = [pair.split(":") for pair in cells[-1].split(",") if pair.strip()]
            links.setdefault(target, {}).update((int(source), _number(weight)) for source, weight in pairs)
    except (ValueError, IndexError) as error:
        raise FormatError(file, f"the SNNS text of an RSNNS network is damaged: {printable(error, 80)}") from None
    return units, links


def _rows(text: str, title: str) -> Iterator[list[str]]:
    """Yield the cells of each row of a table, which a line of dashes separates from its head."""
    _, separator, rest = text.partition(f"{title} :")
    ruled = 0
    for line in rest.splitlines() if separator else ():
        if line.startswith("---"):
            ruled += 1
        elif ruled > 1 or (ruled and not line.strip()):
            return
        elif ruled:
            yield [cell.strip() for cell in line.split("|")]


def _layers(units: list[_SnnsUnit], file: str) -> list[list[_SnnsUnit]]:
    """Return the units of each layer, by their positions."""
    units_of: dict[int, list[_SnnsUnit]] = {}
    for unit in units:
        units_of.setdefault(unit.layer, []).append(unit)
    layers = [units_of[place] for place in sorted(units_of)]
    kinds = [{unit.kind for unit in layer} for layer in layers]
    if len(layers) < 2 or kinds[0] != {"i"} or kinds[-1] != {"o"} or any(kind != {"h"} for kind in kinds[1:-1]):
        raise FormatError(file, "the units of an RSNNS network do not form layers of inputs, hidden units and outputs")
    return layers


def _matrix(name: str, before: list[_SnnsUnit], layer: list[_SnnsUnit], links: dict[int, dict[int, float]], file: str) -> Weight:
    sources = [unit.number for unit in before]
    for unit in layer:
        if not links.get(unit.number, {}).keys() <= {*sources}:
            raise FormatError(file, f"unit {unit.number} of an RSNNS network is fed by a unit that is not in the layer before")
    values = [unit.bias for unit in layer]
    values += [links.get(unit.number, {}).get(source, 0.0) for source in sources for unit in layer]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        return np.array(values[start:stop], np.float32)

    shape, axes = (len(before) + 1, len(layer)), "1+in out"
    matrix = Weight(name=name, shape=shape, dtype="float32", read=read, role=Role.KERNEL, layer=name, axes=axes, encoding="text")
    unused = [place for place, unit in enumerate(layer) if unit.act == _WITHOUT_BIAS]
    return matrix.replace(read=PaddedMatrix(read, _without_bias(shape, unused), shape, axes)) if unused else matrix


def _without_bias(shape: tuple[int, int], units: list[int]) -> Callable[[Array], Array]:
    def matrix(numbers: Array) -> Array:
        zeroed = numbers.reshape(shape).copy()
        zeroed[0, units] = 0
        return zeroed

    return matrix


def _kind(layer: list[_SnnsUnit]) -> str:
    return " ".join(dict.fromkeys(_SNNS.get(unit.act, unit.act) for unit in layer))
