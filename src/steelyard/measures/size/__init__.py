"""The size of a net: its parameters by layer, and its bytes in other types; no number is read."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from steelyard.core.effective import replaced
from steelyard.core.packing import packed
from steelyard.core.roles import plain_layer
from steelyard.core.selection import kinds
from steelyard.dtypes import UNKNOWN
from steelyard.errors import ShapeError
from steelyard.io import weights as weights_of
from steelyard.measures.size.beside import Beside, beside
from steelyard.measures.size.encodings import Encoding, encodings
from steelyard.measures.size.tally import Tally, sum_of, tally_of
from steelyard.measures.size.tree import Layer, Node, rest_of, tree_of
from steelyard.measures.stored import stored_bytes
from steelyard.text import tabular
from steelyard.text.order import natural

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.measures.size.tree import Held

    Counted = tuple[Weight, Tally, bool | None]
    """A weight with what it counts, and whether it is a parameter."""

ADAM = 12
"""Bytes of training a parameter in float32 with Adam, beside its own four: the gradient, and two moments."""

_NOTHING = Beside()


class SizeRow(NamedTuple):
    """A layer, or a part of the net with several: what it holds, and what all below it holds.

    `depth` is that in the tree; `label` the name within the part above. Of repeated parts, as in ``h.[0-11]``, there is one row
    with their sums, and `times` counts them. `other` are numbers that may be parameters or buffers, and `share` is that of both
    parameters and others; `nbytes` are the bytes as they are stored; `tied` numbers are shared with an earlier weight, which
    counts them. A row is a `leaf` if there are none below it. `role` is that of its largest layer's largest weight.
    """

    name: str
    label: str
    depth: int
    times: int
    parameters: int
    share: float
    trainable: int
    frozen: int
    buffers: int
    other: int
    nbytes: int
    tied: int
    leaf: bool
    role: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python."""
        return self._asdict()


class Size:
    """The size of a net; printed as a tree of its layers with their shares, and a table of types.

    `parameters`, `trainable`, `frozen`, `buffers` and `other` are numbers of elements, tied ones once; `unknown` are parameters
    of which it is not known whether they are trainable. `nbytes` are the bytes as they are stored, before compression.
    `encodings` have the bytes in each type by its word, by the rules of `steelyard.measures.size.encodings`. `rows` are those of
    the tree, from its top. `beside` counts what a checkpoint holds beside the model.
    """

    __slots__ = ("beside", "encodings", "rows", "tally")

    def __init__(self, tally: Tally, rows: Sequence[SizeRow], encodings: dict[str, Encoding], beside: Beside = _NOTHING) -> None:
        self.tally = tally
        self.rows = tuple(rows)
        self.encodings = encodings
        self.beside = beside

    @property
    def parameters(self) -> int:
        """The number of elements of the parameters, tied ones once."""
        return self.tally.parameters

    @property
    def trainable(self) -> int:
        """The number of parameters that are known to be trainable."""
        return self.tally.trainable

    @property
    def frozen(self) -> int:
        """The number of parameters that are known not to be trainable."""
        return self.tally.frozen

    @property
    def unknown(self) -> int:
        """The number of parameters of which it is not known whether they are trainable."""
        return self.parameters - self.trainable - self.frozen

    @property
    def buffers(self) -> int:
        """The number of elements of running statistics and other buffers."""
        return self.tally.buffers

    @property
    def other(self) -> int:
        """The number of elements of weights that may be parameters or buffers."""
        return self.tally.other

    @property
    def tied(self) -> int:
        """The number of elements that weights share with earlier ones, which count them."""
        return self.tally.tied

    @property
    def nbytes(self) -> int:
        """The bytes of all weights as they are stored, tied ones once, before any compression of the file."""
        return self.tally.nbytes

    @property
    def training(self) -> int:
        """The bytes of training in float32 with Adam, without activations: all weights, and 12 more for each parameter.

        These are the gradient and two moments, four bytes each; parameters known to be frozen have neither.
        """
        return self.encodings["float32"].nbytes + ADAM * (self.parameters + self.other - self.frozen)

    def fits(self, gigabytes: float) -> dict[str, int]:
        """Return the types in which the weights fit into this memory of 10^9 bytes each, and their bytes.

        It is the weights alone that fit: activations, and the cache of a language model, need memory too. Raises `ShapeError`
        for a size that is not positive.

        Examples:
            >>> import numpy as np
            >>> size({"fc.weight": np.zeros((256, 256), "float32")}).fits(0.0001)
            {'int8': 66560, 'q8_0': 69632, 'q4_0': 36864, 'q4_K': 36864}
        """
        if not isinstance(gigabytes, (int, float)) or not gigabytes > 0:
            raise ShapeError(f"{gigabytes!r} gigabytes is no size of a memory; it must be a positive number")
        return {word: each.nbytes for word, each in self.encodings.items() if each.nbytes <= gigabytes * 1e9}

    def __repr__(self) -> str:
        from steelyard.text.sizes import size_text

        return size_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import size_html

        return size_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python, from the top of the tree; what is below a row follows it, one deeper."""
        return [row.to_dict() for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python, for JSON."""
        words = ("parameters", "trainable", "frozen", "unknown", "buffers", "other", "tied", "nbytes", "training")
        types = {word: {"nbytes": each.nbytes, "note": each.note} for word, each in self.encodings.items()}
        totals = {word: getattr(self, word) for word in words}
        return {**totals, "beside": self.beside._asdict(), "encodings": types, "rows": self.to_records()}

    to_columns = tabular.to_columns
    to_frame = tabular.to_frame
    write = tabular.write


def size(source: object, *, scope: Literal["model", "all"] = "all") -> Size:
    """Return the size of a model, a file, or any other source of `weights`: parameters by layer, and bytes in other types.

    Parameters are those of the net: packed weights count as the numbers that they stand for, tied ones once, and buffers, such as
    running statistics, are counted apart. With `scope` "all" the tensors of a checkpoint beside the model are counted too, in
    `Size.beside`. No number is read but those that packed weights need for their shapes. Raises the errors of `weights`.

    Bytes in other types, from `float32` down to `q4_K`, follow the rules of the quantisers: matrices have the type, biases and
    norms stay floats. `steelyard.measures.size.encodings` has them all.

    Examples:
        >>> import numpy as np
        >>> net = {f"layers.{n}": {"weight": np.zeros((64, 64), "float32"), "bias": np.zeros(64, "float32")} for n in range(4)}
        >>> found = size(net)
        >>> found.parameters, found.nbytes, found.encodings["float16"].nbytes, found.encodings["q8_0"].nbytes
        (16640, 66560, 33280, 18432)
        >>> [(row.name, row.times, row.share) for row in found.rows]
        [('layers.[0-3]', 4, 1.0)]
    """
    if scope not in ("model", "all"):
        raise ShapeError(f'scope is {scope!r}; it must be "model" or "all"')
    stored = weights_of(source)
    return size_of(stored, beside(source, stored) if scope == "all" and isinstance(source, (str, os.PathLike)) else _NOTHING)


def size_of(stored: Weights, aside: Beside = _NOTHING, places: Sequence[int] | None = None) -> Size:
    """Return the size of weights; `aside` is what their file has beside them, `places` their natural order, where it is known."""
    counted = list(counted_weights(stored))
    same = places is not None and [weight.name for weight, _, _ in counted] == [*stored]  # none are packed
    nodes = tree_of(layers_of(counted, places if same else None))
    total = total_of(counted)
    known = ((weight, is_parameter) for weight, _, is_parameter in counted if weight.tied is None)
    return Size(total, _rows(nodes, total, counted), encodings(known), aside)


def counted_weights(stored: Weights) -> Iterator[Counted]:
    """Yield the weights of the net, those that are packed as the net has them, with what they count."""
    made = {weight.name: weight for weight in packed(stored) if weight.dtype != UNKNOWN}
    listed = replaced(stored, [*made.values()]) if made else stored
    spent: set[str] = set()
    known: dict[object, Tally] = {}  # weights that are alike count the same
    for weight, is_parameter in kinds(listed, listed.orders.get("parameters")):
        if weight.name in made and weight.derivation is not None:
            parts = [stored[name] for name in (*weight.derivation.parts, *weight.derivation.activations)]
            new = {part.tied or part.name: part for part in parts if (part.tied or part.name) not in spent}
            spent.update(new)
            found = weight.replace(trainable=parts[0].trainable)
            yield found, tally_of(found, sum(map(stored_bytes, new.values())), is_parameter=is_parameter), is_parameter
            continue
        facts = weight.shape, weight.dtype, weight.encoding, weight.trainable, weight.tied is None
        alike = *facts, type(weight.read), is_parameter
        tally = known.get(alike)
        if tally is None:
            tally = known[alike] = tally_of(weight, stored_bytes(weight), is_parameter=is_parameter)
        yield weight, tally, is_parameter


def total_of(counted: Sequence[Counted]) -> Tally:
    """Return the sums of all weights."""
    return sum_of(tally for _, tally, _ in counted)


def layers_of(counted: Sequence[Counted], places: Sequence[int] | None = None) -> list[Layer]:
    """Return the layers by name, without the collections of Flax; a weight that is in no layer is one of its own.

    `places` is the natural order of the weights, where it is known.
    """
    layers: dict[str, list[tuple[str, Tally]]] = {}
    pairs: dict[tuple[str, Tally], tuple[str, Tally]] = {}
    for place in natural([weight.name for weight, _, _ in counted]) if places is None else places:
        weight, tally, _ = counted[place]
        name = _layer_of(weight) or weight.name
        pair = rest_of(weight.name, name), tally
        layers.setdefault(name, []).append(pairs.setdefault(pair, pair))
    known: dict[tuple[int, ...], Held] = {}
    return [Layer(name, known.setdefault(tuple(map(id, own)), tuple(own))) for name, own in layers.items()]


def _layer_of(weight: Weight) -> str:
    layer = weight.layer
    return plain_layer(layer) if "/" in layer else layer


def _rows(nodes: Sequence[Node], total: Tally, counted: Sequence[Counted]) -> list[SizeRow]:
    walked = [found for top in nodes for found in top.walk()]
    largest = [_largest(node) for _, node in walked]
    roles = _roles(counted, set(largest))
    return [_row(node, depth, total, roles.get(name, "")) for (depth, node), name in zip(walked, largest, strict=True)]


def _largest(node: Node) -> str:
    """Return the name of the largest layer in a node, of which the node shows the role."""
    while node.children:
        node = max(node.children, key=lambda child: child.tally.parameters + child.tally.other)
    return node.first


def _roles(counted: Sequence[Counted], names: Container[str]) -> dict[str, str]:
    """Return the roles of some layers, which are those of their largest weights, and of weights, by their names."""
    largest: dict[str, Weight] = {}
    for weight, _, _ in counted:
        for name in (_layer_of(weight) or weight.name, weight.name):
            if name in names and (name not in largest or weight.size > largest[name].size):
                largest[name] = weight
    return {name: str(weight.role) for name, weight in largest.items()}


def _row(node: Node, depth: int, total: Tally, role: str) -> SizeRow:
    own = node.tally
    share = (own.parameters + own.other) / max(total.parameters + total.other, 1)
    counts = own.trainable, own.frozen, own.buffers, own.other, own.nbytes, own.tied
    names = node.name, node.label, depth, node.times
    return SizeRow(*names, own.parameters, share, *counts, leaf=not node.has_children, role=role)
