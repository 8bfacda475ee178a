"""Quantised tensors and layers of PyTorch (`torch.ao.quantization`), in files and live ones.

X                          codes, encoding "qint8" or "quint8 along axis 0"
X.scale, X.zero_point      of all numbers; real = (code - zero point) * scale
X.scales, X.zero_points    of each place along the axis; the zero points of embeddings are fractions
L.scale, L.zero_point      of the outputs of a layer, not of its weight

| stored | effective |
|---|---|
| `L._packed_params._packed_params.0`, `.1` | L.weight, L.bias |
| `L._packed_params._packed_weight` | L.weight of an embedding |
| `L._packed_weight_ih.0`, `.1` | L.weight_ih, L.bias_ih of a cell |
| `L._all_weight_values.1.param.4.0.0`, `.1` | L.weight_ih_l1, L.bias_ih_l1, or those of the reverse direction |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.effective import Derivation, derived, joined, refused
from steelyard.core.roles import layer_of
from steelyard.numerics.along_axis import spread, view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Array, Reader, Weight

_CODES = ("int8", "uint8", "int32")
_PACKED = (
    (r"_packed_params\._packed_params\.0|_packed_params\._packed_weight(\.1\.0)?|_packed_params\.weight", "weight"),
    (r"_packed_params\._packed_params\.1|_packed_params\.bias", "bias"),
    (r"_packed_weight_(?P<kind>ih|hh)\.0", "weight_{kind}"),
    (r"_packed_weight_(?P<kind>ih|hh)\.1", "bias_{kind}"),
)
"""The ends of the names of packed parameters, and the words of plain layers for them."""
_RECURRENT = r"(?:(.*)\.)?_all_weight_values\.(\d{1,4})\.param\.4\.([01])\.([01])"
_SCALES = (("scale", "zero_point"), ("scales", "zero_points"))


class _Packed(NamedTuple):
    """A stored weight: its name, that of the plain layer, its layer, further copies of its numbers, and why it is unknown."""

    stored: str
    name: str
    layer: str
    copies: tuple[str, ...] = ()
    why: str = ""


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of packed layers, and all tensors with a scale and a zero point."""
    found = {each.stored: each for each in (*_tensors(pieces), *_packed(pieces), *_recurrent(pieces))}
    others = [*_activations(pieces, {each.layer for each in found.values()})] if found else []
    for each in found.values():
        stored = pieces.get(each.stored)
        if stored is not None:
            yield _effective(pieces, each, stored, others)
        others = []


def _effective(pieces: Pieces, packed: _Packed, stored: Weight, others: Iterable[str]) -> Weight:
    several = any(pieces.of(stored.name, *_SCALES[1]))
    scale, zero = pieces.of(stored.name, *_SCALES[several])
    parts = (stored.name, *(each.name for each in (scale, zero) if each is not None), *packed.copies)
    outputs = (joined(packed.layer, word) for word in _SCALES[0])
    activations = (*(each for each in outputs if pieces.get(each) and each not in parts), *others)
    word = stored.encoding.partition(" ")[0] or stored.dtype
    coded = stored.dtype in _CODES or stored.encoding.startswith("q")
    scheme = f"torch.ao {word} per {'channel' if several else 'tensor'}" if coded else "packed parameters of torch.ao"
    facts = Derivation(scheme, parts, activations=activations)
    why = packed.why or next((each.unreadable for each in (stored, scale, zero) if each and each.unreadable), None)
    if why:
        return refused(packed.name, facts, why, stored.shape)
    if scale is None and zero is None and not coded:
        return derived(packed.name, stored.shape, stored.read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)
    if scale is None or zero is None:
        return refused(packed.name, facts, f"its {_SCALES[several][scale is not None]} is missing", stored.shape)
    axis = _axis(stored, scale, zero) if several else None
    if isinstance(axis, str) or (axis is None and (scale.size, zero.size) != (1, 1)):
        return refused(packed.name, facts, axis or "it has several scales", stored.shape)
    if axis is not None and str(axis) not in stored.encoding:
        facts = facts._replace(assumed=(f"the scales are along axis {axis}, the only one of their length",))
    read = _dequantised(stored, scale, zero, axis)
    return derived(packed.name, stored.shape, read, facts, role=stored.role, axes=stored.axes)


def _axis(stored: Weight, scale: Weight, zero: Weight) -> int | str:
    """Return the axis along which the scales are, or the reason for which it is not known."""
    told = re.search(r" along axis (\d{1,2})$", stored.encoding)
    fits = [axis for axis, size in enumerate(stored.shape) if (size,) == scale.shape == zero.shape]
    axes = [axis for axis in fits if told is None or axis == int(told[1])]
    if len(axes) == 1:
        return axes[0]
    return f"scales of shape {scale.shape} and zero points of shape {zero.shape} do not fit one axis of {stored.shape}"


def _dequantised(stored: Weight, scale: Weight, zero: Weight, axis: int | None) -> Reader:
    """Return a reader of the real numbers, which PyTorch rounds to float32 once; one scale for all is rounded before, too."""
    whole = view(stored.shape, axis)

    def read(start: int, stop: int) -> Array:
        import numpy as np

        codes = stored.read(start, stop)
        if stop <= start:
            return codes.astype(np.float32)
        zeros, scales = zero.read(0, zero.size), scale.read(0, scale.size)
        if axis is None:
            scales = scales.astype(np.float32)
        else:
            zeros, scales = (spread(values, whole, start, stop) for values in (zeros, scales))
        kind = np.float32 if zeros.dtype.kind == "f" else np.int64 if codes.itemsize > 1 else np.int32
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = np.subtract(codes, zeros, dtype=kind, casting="unsafe").astype(np.float32)
            real: Array = (shifted * scales).astype(np.float32, copy=False)
        return real

    return read


def _tensors(pieces: Pieces) -> Iterator[_Packed]:
    """Yield the codes that have a scale and a zero point of their own."""
    for words in _SCALES:
        for word in words:
            for stem in pieces.stems(word):
                stored = pieces.get(stem)
                other = pieces.of(stem, *words)
                if stored is not None and stored.dtype in _CODES and (all(other) or stored.encoding.startswith("q")):
                    yield _Packed(stem, stem, layer_of(stem))


def _packed(pieces: Pieces) -> Iterator[_Packed]:
    for name in pieces:
        for end, word in _PACKED if "_packed_" in name else ():
            found = re.fullmatch(rf"(?:(?P<layer>.*)\.)?(?:{end})", name, re.DOTALL)
            if found is not None:
                layer = found["layer"] or ""
                yield _Packed(name, joined(layer, word.format(**found.groupdict())), layer)


class _Place(NamedTuple):
    """The place of a weight in a recurrent net: layer and direction, 1 for that of the hidden state, 1 for a bias."""

    number: int
    hidden: int
    bias: int


def _recurrent(pieces: Pieces) -> Iterator[_Packed]:
    """Yield the weights of recurrent layers, each of which has a pair of packed matrices for each direction."""
    nets: dict[str, dict[_Place, str]] = {}
    for name in pieces:
        found = re.fullmatch(_RECURRENT, name, re.DOTALL) if "_all_weight_values" in name else None
        if found is not None:
            layer, *places = found.groups()
            nets.setdefault(layer or "", {})[_Place(*map(int, places))] = name
    for layer, held in nets.items():
        directions = _directions({place: pieces.get(name) for place, name in held.items()})
        for place, name in held.items():
            if not directions and place.number:
                unknown = "it may be of a second layer or of the reverse direction, and only the module says which"
                yield _Packed(name, name, layer, (), unknown)
                continue
            number, turned = divmod(place.number, directions or 1)
            word = f"{'bias' if place.bias else 'weight'}_{'hh' if place.hidden else 'ih'}_l{number}{'_reverse' * turned}"
            copy = joined(layer, f"_all_weight_values.{place.number}.param.1.{place.hidden}")
            yield _Packed(name, joined(layer, word), layer, (copy,) if place.bias and pieces.get(copy) else ())


def _directions(held: dict[_Place, Weight | None]) -> int:
    """Return the number of directions of a recurrent net, as the shapes of its matrices show; 0 if these fit both."""
    widths = {place: weight.shape[-1] for place, weight in held.items() if weight and weight.shape and not place.bias}
    inputs = {place.number: width for place, width in widths.items() if not place.hidden}
    state = next((width for place, width in widths.items() if place.hidden), 0)
    if not inputs:
        return 0
    if len(inputs) % 2 or sorted(inputs) != [*range(len(inputs))]:
        return 1
    if len(inputs) > 2:
        return 2 if inputs[2] == 2 * state else 1
    return 1 if inputs.get(0) != inputs.get(1) else 0 if inputs.get(0) == state else 2


def _activations(pieces: Pieces, layers: set[str]) -> Iterator[str]:
    """Yield the scales and zero points of inputs and outputs that belong to no packed layer."""
    for stem in pieces.stems("scale"):
        names = [joined(stem, word) for word in _SCALES[0]]
        stored = [pieces.get(name) for name in names]
        if stem not in layers and stem not in pieces and all(each is not None and each.size == 1 for each in stored):
            yield from names
    for leaf in [*pieces.leaves]:
        for stem in pieces.stems(leaf) if re.fullmatch(r"\w*_(scale|zero_point)_\d+", leaf) else ():
            yield joined(stem, leaf)
