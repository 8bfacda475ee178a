"""nnet and multinom: one vector of weights, and for each unit the units that feed it.

Unit 0 is the bias; the inputs follow, then the hidden units, then the outputs. The weights of unit u are
`wts[nconn[u]:nconn[u + 1]]`, and `conn` is the unit that each of them comes from. R's own functions connect every unit to
all units of the layer before, in an order that makes each layer a column-major matrix. nnet's C code accepts any order and
any subset of the connections.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.layers import Network, doubles, flag, present, reader_of, texts, whole
from steelyard.codecs.r.values import Environment, Opaque, Vector
from steelyard.core.stacked import PaddedMatrix
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.codecs.r.values import Value
    from steelyard.core.weight import Array

SIGMOID_CUTOFF = 15.0  # for inputs beyond this, nnet's C code returns exactly 0 or 1
_TRAINING = ("fitted.values", "residuals", "model", "x", "y")
_DERIVED = ("fitted.values", "residuals", "value", "Hessian", "deviance", "AIC")


class _Units:
    """The sizes of the layers, and the units that feed them in the order of the rows of their matrices."""

    __slots__ = ("hidden", "inputs", "outputs")

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        self.inputs = inputs
        self.hidden = hidden
        self.outputs = outputs

    @property
    def count(self) -> int:
        return 1 + self.inputs + self.hidden + self.outputs

    def into_hidden(self) -> list[int]:
        """Return the units that may feed a hidden unit, in the order of the rows of the matrix."""
        return list(range(1 + self.inputs))

    def into_output(self, *, skip: bool) -> list[int]:
        """Return the units that may feed an output; without hidden units the inputs do."""
        inputs, hidden = range(1, 1 + self.inputs), range(1 + self.inputs, 1 + self.inputs + self.hidden)
        return [0, *hidden, *(inputs if skip or not hidden else ())]


def nnet(fit: Vector, file: str) -> Network:
    """Return the layers of an nnet: `hidden` and `output`, each a matrix whose first row is the bias.

    If the inputs feed the outputs too, their rows come last. A layer whose connections do not form a full matrix is listed
    as a flat vector. Raises `FormatError` for invalid connections.
    """
    network = Network("nnet", fit)
    wts = doubles(fit.get("wts"), "wts of an nnet", file)
    units = _units(fit, file)
    begins, feeding = _connections(fit, units, wts.length, file)
    first = 1 + units.inputs
    for name, low, high in (("hidden", first, first + units.hidden), ("output", first + units.hidden, units.count)):
        if high > low:
            fed = [feeding[begins[u] : begins[u + 1]] for u in range(low, high)]
            _add_layer(network, name, wts, begins[low], fed, units)
    # connections from an input to an output skip the hidden layer
    outputs = begins[first + units.hidden]
    network.facts |= _facts(fit, units, skip=any(1 <= unit <= units.inputs for unit in feeding[outputs:]))
    if any(weight.axes == "" and not isinstance(weight.read, PaddedMatrix) for weight in network.weights):
        network.facts |= {"nconn": begins, "conn": feeding}
    network.training = present(fit, _TRAINING)
    network.derived = present(fit, _DERIVED)
    if _has_data(fit.get("terms")):
        network.training.append("the variables around its formula")
    return network


def _units(fit: Vector, file: str) -> _Units:
    n = whole(fit.get("n"), "n of an nnet", file)
    if len(n) != 3 or min(n) < 0:
        raise FormatError(file, f"n of an nnet has {len(n)} numbers, where inputs, hidden units and outputs are expected")
    return _Units(*n)


def _connections(fit: Vector, units: _Units, length: int, file: str) -> tuple[list[int], list[int]]:
    """Return `nconn`, the first weight of each unit, and `conn`, the unit that each weight comes from, after checks."""
    # a net of 2 inputs, 2 hidden units and 1 output has the units 0 | 1 2 | 3 4 | 5, and
    #   nconn  0 0 0 0 3 6 9          bias and inputs take no weights, the others three each
    #   conn   0 1 2 | 0 1 2 | 0 3 4  the sources of units 3, 4 and 5
    begins = whole(fit.get("nconn"), "nconn of an nnet", file)
    feeding = whole(fit.get("conn"), "conn of an nnet", file)
    if len(begins) != units.count + 1:
        raise FormatError(
            file, f"nconn of an nnet has {len(begins):,} numbers; its {units.count:,} units need {units.count + 1:,}"
        )
    if len(feeding) != length or begins[0] != 0 or begins[-1] != length:
        raise FormatError(file, f"an nnet has {len(feeding):,} connections up to {begins[-1]:,}, but {length:,} weights")
    if any(a > b for a, b in pairwise(begins)) or begins[1 + units.inputs] != 0:
        raise FormatError(file, "nconn of an nnet decreases, or assigns weights to an input")
    for unit in range(1 + units.inputs, units.count):
        fed = feeding[begins[unit] : begins[unit + 1]]
        if fed and (min(fed) < 0 or max(fed) >= unit or len(set(fed)) < len(fed)):
            raise FormatError(file, f"unit {unit:,} of an nnet is fed twice by the same unit, or by one that does not precede it")
    return begins, feeding


def _add_layer(network: Network, name: str, wts: Vector, start: int, fed: list[list[int]], units: _Units) -> None:
    """Add a layer as a matrix, or as a flat vector if its units are not all fed by the same ones in order."""
    feeding = {unit for sources in fed for unit in sources}
    skip = name == "output" and bool(units.hidden) and any(1 <= unit <= units.inputs for unit in feeding)
    rows = units.into_hidden() if name == "hidden" else units.into_output(skip=skip)
    axes = f"1+in:{units.hidden}+skip out" if skip else "1+in out"
    count = sum(map(len, fed))
    if all(sources == rows for sources in fed):
        network.add(name, [(wts, start, count)], (len(rows), len(fed)), axes=axes)
        return
    network.add(name, [(wts, start, count)], (count,))
    if feeding <= {*rows}:
        padded = _zero_padded(fed, {unit: row for row, unit in enumerate(rows)})
        read = PaddedMatrix(reader_of([(wts, start, count)], (count,)), padded, (len(rows), len(fed)), axes)
        network.weights[-1] = network.weights[-1].replace(read=read)


def _zero_padded(fed: list[list[int]], row: dict[int, int]) -> Callable[[Array], Array]:
    """Return the function that makes a matrix of the weights, with zeros for missing connections."""

    def matrix(weights: Array) -> Array:
        import numpy as np

        padded = np.zeros((len(row), len(fed)), weights.dtype)
        places = [row[unit] * len(fed) + column for column, sources in enumerate(fed) for unit in sources]
        padded.reshape(-1)[places] = weights
        return padded

    return matrix


def _facts(fit: Vector, units: _Units, *, skip: bool) -> dict[str, Any]:
    # units from number nsunits on are linear: none, or the outputs
    sigmoid = sum(whole_or_zero(fit.get(name)) * sign for name, sign in (("nunits", 1), ("nsunits", -1))) == 0
    softmax = flag(fit.get("softmax")) is True
    facts: dict[str, Any] = {
        "units": [n for n in (units.inputs, units.hidden, units.outputs) if n],
        "hidden": "logistic" if units.hidden else None,
        "output": "softmax" if softmax else "logistic" if sigmoid else "linear",
        "skip": skip,
        "cut": SIGMOID_CUTOFF,
        "entropy": flag(fit.get("entropy")),
        "censored": flag(fit.get("censored")),
        "inputs": texts(fit.get("coefnames")) or texts(fit.get("xNames")),
        "outputs": texts(fit.get("lev")),
    }
    return {key: value for key, value in facts.items() if value not in (None, [])}


def whole_or_zero(value: Value) -> int:
    """Return a single number, truncated to an integer; 0 for any other value."""
    number = value.plain()[0] if isinstance(value, Vector) and value.length == 1 and value.numbers else None
    return int(number) if isinstance(number, (int, float)) and abs(number) < 1 << 53 else 0  # False for NaN


def _has_data(terms: Value) -> bool:
    """Whether the formula of a fit keeps the variables of the function that created it."""
    environment = terms.attributes.get(".Environment") if isinstance(terms, Opaque) else None
    return isinstance(environment, Environment) and bool(environment.frame)
