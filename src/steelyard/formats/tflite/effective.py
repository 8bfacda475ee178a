"""The real numbers of quantised constants: (stored - zero_point) * scale, for the tensor or along its quantised dimension.

A model with float16 weights stores these as they are, and has an operator DEQUANTIZE (code 6) that makes float32 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.core.casting import casting
from steelyard.core.effective import Derivation, derived, refused
from steelyard.numerics.affine import affine
from steelyard.numerics.row_changes import kept

if TYPE_CHECKING:
    from steelyard.codecs.flatbuffers import Table
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Derive
    from steelyard.core.weight import Array, Weight
    from steelyard.formats.tflite import Scheme

_DEQUANTIZE = 6


def effective(schemes: Mapping[str, Scheme], places: Mapping[tuple[int, int], str], model: Callable[[], Table]) -> Derive:
    """Return what makes real numbers of the constants with a scheme, and of those that the model casts."""

    def derive(pieces: Pieces) -> Iterator[Weight]:
        halves: set[str] | None = None
        for name in [*pieces]:
            weight = pieces.get(name)
            if weight is None:
                continue
            if name in schemes:
                yield _real(weight, schemes[name])
            elif weight.dtype == "float16":
                halves = _cast(model(), places) if halves is None else halves
                if name in halves:
                    facts = Derivation("float16 of TensorFlow Lite", (name,))
                    yield derived(name, weight.shape, casting(weight, "float32"), facts, role=weight.role, axes=weight.axes)

    return derive


def _cast(model: Table, places: Mapping[tuple[int, int], str]) -> set[str]:
    """Return the names of the constants that an operator DEQUANTIZE takes."""
    codes = [max(code.number(4, "b"), code.number(10, "i")) for code in model.tables(6)]
    found = set()
    for place, subgraph in enumerate(model.tables(8)):
        for operator in subgraph.tables(10):
            code, inputs = operator.number(4, "I"), operator.numbers(6, "i")
            if code < len(codes) and codes[code] == _DEQUANTIZE and inputs:
                found.add(places.get((place, inputs[0]), ""))
    return found


def _real(weight: Weight, scheme: Scheme) -> Weight:
    scales, zeros, axis = scheme["scale"], scheme["zero_point"], scheme["axis"]
    facts = Derivation(f"{weight.encoding} of TensorFlow Lite", (weight.name,))
    channels = 1 if axis is None else weight.shape[axis] if 0 <= axis < len(weight.shape) else -1
    if weight.unreadable:
        return refused(weight.name, facts, weight.unreadable, weight.shape)
    if scheme.get("details") or len(scales) != channels or len(zeros) not in (1, channels):
        reason = f"it has {len(scales)} scales and {len(zeros)} zero points, which do not fit its shape {list(weight.shape)}"
        return refused(weight.name, facts, reason, weight.shape)
    shape = tuple(channels if place == axis else 1 for place in range(max(len(weight.shape), 1)))
    groups = tuple(1 if place == axis else size for place, size in enumerate(weight.shape or (1,)))
    read = affine(weight, _array(scales, shape), _array(zeros, shape), groups)
    return derived(weight.name, weight.shape, read, facts, role=weight.role, axes=weight.axes)


def _array(values: list[float] | list[int], shape: tuple[int, ...]) -> Callable[[], Array]:
    def made() -> Array:
        import numpy as np

        array = np.array(values, np.float64)
        return array.reshape(shape) if array.size > 1 else array.reshape((1,) * len(shape))

    return kept(made)
