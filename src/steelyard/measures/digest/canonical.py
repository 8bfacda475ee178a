r"""Digests that depend neither on names nor on a framework's order of axes and gates.

As in `transfer`, a net consists of layers of some kind, each with parts for a purpose. A part is one gate of one direction
of a weight that packs several, or the whole weight. This is the exact definition, with H as in `steelyard.measures.digest`.

1. The axes of a part are in this order: out, in, then kd, kh, kw as far as it has them. For a transposed convolution
   the order is in, out, and for an embedding vocab, out. Axes of one word are merged (heads and dim), axes that a
   framework stores backwards are reversed, and a depthwise kernel of in and mult becomes one of in times mult outputs and
   one input. A part with one number for each channel has one axis.
2. The digest of a part is that of a weight of this shape and dtype: H(b"<dtype> <shape>\n" + the digests of its leaves).
3. If a recurrent layer has a bias of the input and one of the state, their sum, in their own dtype, is digested: only the
   sum matters, and some frameworks store nothing else. In a GRU this applies to the gates r and z.
4. The digest of a weight is that of its part, or H(the digests of its parts, sorted) if it has several.
5. The digest of the whole is H(b"canonical\n" + the digests of all parts, sorted). Tied weights count once. Counters,
   and other integers of four bytes or more that belong to no layer (shapes in a graph, the state of a random number
   generator), are left out.

A weight of no known layer is split by its own axes, in the order vocab, out, in and the spatial axes. If its axes are not
known either, it is digested as it is, and named in `unsure`. If a layer could be of either of two kinds with different axis
orders, the first kind is assumed, and its weights are named in `unsure` too, as are dense kernels whose order is assumed from
their names (out-in for a "weight", in-out for a "kernel"), since they are square or have no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from steelyard.core.axes import LABELS, label_of, parsed, parts_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.io import readable_weights, weights
from steelyard.measures.digest import Hash, weight_digests
from steelyard.transfers.orders import assumed
from steelyard.transfers.pairing.net import Net

if TYPE_CHECKING:
    from steelyard.core.axes import Part
    from steelyard.core.weight import Array
    from steelyard.transfers.layers.layer_weights import LayerWeights, PartKey

_SUMMED = {"rnn": None, "lstm": None, "gru": ("r", "z")}
"""The gates whose two biases are only used as a sum."""


class Canonical:
    """The digest of the whole, and of each weight by name; `unsure` names weights whose axes are not known for certain."""

    __slots__ = ("unsure", "weights", "whole")

    def __init__(self, source: object, new: Callable[[], Hash], *, skip_unreadable: bool = False) -> None:
        net = net_of(readable_weights(source, skip_unreadable=skip_unreadable))
        self.unsure: list[str] = []
        digests: dict[str, list[bytes]] = {}
        every: list[bytes] = []
        of_parts = _digests([part for unit in net.layers for part in unit.parts.values() if part.weight.tied is None], new)
        for unit in net.layers:
            own = {slot: (part, next(of_parts)) for slot, part in unit.parts.items() if part.weight.tied is None}
            for part, digest in own.values():
                digests.setdefault(part.weight.name, []).append(digest)
            sums = dict(_summed(unit, new)) if own else {}
            # the sum takes the place of its two terms in the digest of the whole; each weight keeps its own digest
            gone = {(name, gate) for gate in sums for name in ("input bias", "recurrent bias")}
            every += [*sums.values(), *(digest for slot, (_, digest) in own.items() if slot not in gone)]
            self.unsure += dict.fromkeys([*_unsure(unit, own, new), *(name for name, _ in assumed(net, unit))])
        plain = [weight for weight in net.weights.distinct().values() if not _is_known(weight, digests) and not _is_aside(weight)]
        pieces: list[Sequence[Part | Weight]] = [_by_axes(weight) or [weight] for weight in plain]
        of_pieces = _digests(list(chain.from_iterable(pieces)), new)
        for weight, its in zip(plain, pieces, strict=True):
            digests[weight.name] = [next(of_pieces) for _ in its]
            every += digests[weight.name]
            self.unsure += [weight.name] if len(weight.shape) > 1 and its[0] is weight else []
        self.whole = _joined(b"canonical\n", every, new)
        self.weights = {name: own[0] if len(own) == 1 else _joined(b"", own, new) for name, own in digests.items()}


def net_of(source: object) -> Net:
    """Return a net as layers; if its graph does not match its weights, from the names of the weights only."""
    listed = weights(source)
    try:
        return Net(listed, listed.graph)
    except ShapeError:
        return Net(listed, None)


def _by_axes(weight: Weight) -> list[Part]:
    """Return the parts of a weight of no layer, by its axes; none if these are not known."""
    if not weight.axes or len(weight.axes.split()) != len(weight.shape):
        return []
    words = frozenset(factor.word for axis in parsed(weight.axes) for factor in axis)
    labels = {label_of(word, words) for word in words}
    try:
        return list(parts_of(weight, weight.axes, [label for label in LABELS if label in labels] or ["out"]))
    except ShapeError:
        return []


def _is_known(weight: Weight, digests: Mapping[str, object]) -> bool:
    return weight.name in digests or weight.tied in digests


def _is_aside(weight: Weight) -> bool:
    """Whether a weight of no layer is not a parameter of the net, such as a counter."""
    whole = weight.dtype in ("int32", "int64", "uint32", "uint64")
    return weight.role is Role.COUNT or (whole and weight.role is Role.OTHER)


def _joined(head: bytes, digests: list[bytes], new: Callable[[], Hash]) -> bytes:
    top = new()
    top.update(head + b"".join(sorted(digests)))
    return top.digest()


def _digests(pieces: Sequence[Part | Weight], new: Callable[[], Hash]) -> Iterator[bytes]:
    """Yield the digest of each part or weight; a part that its weight stores in canonical layout is not copied."""
    # the bytes of a whole part are those of the weight in the file, so it is hashed block by block as it is read
    whole = [_as_stored(piece) for piece in pieces]
    digests = weight_digests([weight for weight in whole if weight is not None], new)
    for piece, weight in zip(pieces, whole, strict=True):
        if isinstance(piece, Weight) or weight is not None:
            yield next(digests)
        else:
            yield _of_array(piece.read(piece.weight.numpy()), new)


def _as_stored(piece: Part | Weight) -> Weight | None:
    """Return the weight with the numbers of a part in their order; None if the weight of the part has another order."""
    if isinstance(piece, Weight):
        return piece
    weight = piece.weight
    return (weight if weight.shape == piece.shape else weight.replace(shape=piece.shape)) if piece.is_whole else None


def _of_array(array: Array, new: Callable[[], Hash]) -> bytes:
    import numpy as np

    from steelyard.core.readers import from_array

    return next(weight_digests([from_array("", np.ascontiguousarray(array).reshape(array.shape))], new))


def _summed(unit: LayerWeights, new: Callable[[], Hash]) -> Iterator[tuple[str, bytes]]:
    """Yield the gates of a recurrent layer whose two biases are added, and the digest of each sum."""
    if unit.kind not in _SUMMED:
        return
    gates = _SUMMED[unit.kind]
    for (name, gate), one in unit.parts.items():
        other = unit.parts.get(("recurrent bias", gate))
        if name == "input bias" and other is not None and (gates is None or gate in gates):
            yield gate, _of_array(one.read(one.weight.numpy()) + other.read(other.weight.numpy()), new)


def _unsure(unit: LayerWeights, own: dict[PartKey, tuple[Part, bytes]], new: Callable[[], Hash]) -> list[str]:
    """Return the weights of a unit whose digests differ between the kinds of layer that it could be."""
    if unit.is_sure or (unit.pattern is not None and not _differing(unit.pattern)):
        return []
    digests = {digest for _, digest in own.values()}
    other = [part for part in _differing(unit) if part.weight.tied is None]
    return list(
        dict.fromkeys(part.weight.name for part, digest in zip(other, _digests(other, new), strict=True) if digest not in digests)
    )


def _differing(unit: LayerWeights) -> list[Part]:
    """Return the parts of the alternatives that may have other digests than those of the unit.

    Most alternatives differ only in the words for the axes: the same bytes of the same shape have the same digest.
    """
    whole = {(part.weight.name, part.shape) for part in unit.parts.values() if part.is_whole}
    parts = chain.from_iterable(other.parts.values() for other in unit.alternatives)
    return [part for part in parts if not (part.is_whole and (part.weight.name, part.shape) in whole)]
