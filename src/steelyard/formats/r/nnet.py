"""nnet and multinom: one vector of weights, and for each unit the units that feed it.

Unit 0 is the bias; the inputs follow, then the hidden units, then the outputs. The weights of unit u are
`wts[nconn[u]:nconn[u + 1]]`, and `conn` says which unit each comes from. R's own functions always connect all units
of a layer to all of the layer before, and list them so that each layer is a matrix column by column; the C code takes
any order, and leaves any connection out.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.layers import Net, doubles, flag, present, reader_of, texts, whole
from steelyard.codecs.r.values import Environment, Opaque, Vector
from steelyard.core.stacked import PaddedMatrix
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array

CUT = 15.0
"""Beyond this, nnet's C code takes the sigmoid for exactly 0 or 1."""
_DATA = ("fitted.values", "residuals", "model", "x", "y")
_MADE = ("fitted.values", "residuals", "value", "Hessian", "deviance", "AIC")


class _Units:
    """How many units each layer has, and the rows that each feeding unit has in the matrix of a layer."""

    __slots__ = ("hidden", "inputs", "outputs")

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        self.inputs = inputs
        self.hidden = hidden
        self.outputs = outputs

    @property
    def count(self) -> int:
        return 1 + self.inputs + self.hidden + self.outputs

    def into_hidden(self) -> list[int]:
        """Return the units that may feed a hidden unit, by the rows of its matrix."""
        return list(range(1 + self.inputs))

    def into_output(self, *, skip: bool) -> list[int]:
        """Return the units that may feed an output; without hidden units the inputs do."""
        inputs, hidden = range(1, 1 + self.inputs), range(1 + self.inputs, 1 + self.inputs + self.hidden)
        return [0, *hidden, *(inputs if skip or not hidden else ())]


def nnet(fit: Vector, file: str) -> Net:
    """Return the layers of an nnet: `hidden` and `output`, each a matrix whose first row is the bias.

    An output that is fed by the inputs too has their rows last. A layer that does not lie as a matrix is listed as the
    run of numbers that it is. Raises `FormatError` for connections that no net can have.
    """
    net = Net("nnet", fit)
    wts = doubles(fit.get("wts"), "wts of an nnet", file)
    units = _units(fit, file)
    begins, feeding = _connections(fit, units, wts.length, file)
    first = 1 + units.inputs
    for name, low, high in (("hidden", first, first + units.hidden), ("output", first + units.hidden, units.count)):
        if high > low:
            fed = [feeding[begins[u] : begins[u + 1]] for u in range(low, high)]
            _add_layer(net, name, wts, begins[low], fed, units)
    outputs = begins[first + units.hidden]
    net.facts |= _facts(fit, units, skip=any(1 <= unit <= units.inputs for unit in feeding[outputs:]))
    if any(weight.axes == "" and not isinstance(weight.read, PaddedMatrix) for weight in net.weights):
        net.facts |= {"nconn": begins, "conn": feeding}
    net.training = present(fit, _DATA)
    net.derived = present(fit, _MADE)
    if _holds_data(fit.get("terms")):
        net.training.append("the variables around its formula")
    return net


def _units(fit: Vector, file: str) -> _Units:
    n = whole(fit.get("n"), "n of an nnet", file)
    if len(n) != 3 or min(n) < 0:
        raise FormatError(file, f"n of an nnet has {len(n)} numbers, where inputs, hidden units and outputs are expected")
    return _Units(*n)


def _connections(fit: Vector, units: _Units, length: int, file: str) -> tuple[list[int], list[int]]:
    """Return where the weights of each unit begin, and the unit that each comes from, checked."""
    begins = whole(fit.get("nconn"), "nconn of an nnet", file)
    feeding = whole(fit.get("conn"), "conn of an nnet", file)
    if len(begins) != units.count + 1:
        raise FormatError(
            file, f"nconn of an nnet has {len(begins):,} numbers, its {units.count:,} units need one more than they"
        )
    if len(feeding) != length or begins[0] != 0 or begins[-1] != length:
        raise FormatError(file, f"an nnet has {len(feeding):,} connections up to {begins[-1]:,}, but {length:,} weights")
    if any(a > b for a, b in pairwise(begins)) or begins[1 + units.inputs] != 0:
        raise FormatError(file, "nconn of an nnet decreases, or gives weights to an input")
    for unit in range(1 + units.inputs, units.count):
        fed = feeding[begins[unit] : begins[unit + 1]]
        if fed and (min(fed) < 0 or max(fed) >= unit or len(set(fed)) < len(fed)):
            raise FormatError(file, f"unit {unit:,} of an nnet is fed twice by one unit, or by one that does not come before it")
    return begins, feeding


def _add_layer(net: Net, name: str, wts: Vector, start: int, fed: list[list[int]], units: _Units) -> None:
    """Add a layer as the matrix that it is, or as its run of numbers where units are fed in another way."""
    met = {unit for sources in fed for unit in sources}
    skip = name == "output" and bool(units.hidden) and any(1 <= unit <= units.inputs for unit in met)
    rows = units.into_hidden() if name == "hidden" else units.into_output(skip=skip)
    axes = f"1+in:{units.hidden}+skip out" if skip else "1+in out"
    count = sum(map(len, fed))
    if all(sources == rows for sources in fed):
        net.add(name, [(wts, start, count)], (len(rows), len(fed)), axes=axes)
        return
    net.add(name, [(wts, start, count)], (count,))
    if met <= {*rows}:
        spread = _spread(fed, {unit: row for row, unit in enumerate(rows)})
        read = PaddedMatrix(reader_of([(wts, start, count)], (count,)), spread, (len(rows), len(fed)), axes)
        net.weights[-1] = net.weights[-1].replace(read=read)


def _spread(fed: list[list[int]], row: dict[int, int]) -> Callable[[Array], Array]:
    """Make the function that puts each weight where its connection is in the matrix."""

    def matrix(run: Array) -> Array:
        import numpy as np

        made = np.zeros((len(row), len(fed)), run.dtype)
        places = [row[unit] * len(fed) + column for column, sources in enumerate(fed) for unit in sources]
        made.reshape(-1)[places] = run
        return made

    return matrix


def _facts(fit: Vector, units: _Units, *, skip: bool) -> dict[str, Any]:
    sigmoid = sum(whole_or_zero(fit.get(name)) * sign for name, sign in (("nunits", 1), ("nsunits", -1))) == 0
    softmax = flag(fit.get("softmax")) is True
    facts: dict[str, Any] = {
        "units": [n for n in (units.inputs, units.hidden, units.outputs) if n],
        "hidden": "logistic" if units.hidden else None,
        "output": "softmax" if softmax else "logistic" if sigmoid else "linear",
        "skip": skip,
        "cut": CUT,
        "entropy": flag(fit.get("entropy")),
        "censored": flag(fit.get("censored")),
        "inputs": texts(fit.get("coefnames")) or texts(fit.get("xNames")),
        "outputs": texts(fit.get("lev")),
    }
    return {key: value for key, value in facts.items() if value not in (None, [])}


def whole_or_zero(value: Any) -> int:
    """Return a single whole number; 0 for anything else."""
    found = value.plain() if isinstance(value, Vector) and value.length == 1 and value.numbers else [None]
    return int(found[0]) if isinstance(found[0], (int, float)) and found[0] == found[0] and abs(found[0]) < 1 << 53 else 0


def _holds_data(terms: Any) -> bool:
    """Tell whether the formula of a fit keeps the variables of the function that it was written in."""
    around = terms.attributes.get(".Environment") if isinstance(terms, Opaque) else None
    return isinstance(around, Environment) and bool(around.frame)
