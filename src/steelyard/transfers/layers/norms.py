"""Kernels that are stored in pieces: weight norm (a direction and a length) and spectral norm (divided by its sigma).

Weight norm: kernel = g * v / |v|, the length taken over all axes but one (Salimans and Kingma, 2016). Spectral norm:
kernel = W / (u' W v), with the vectors of the last power iteration (Miyato et al., 2018). Other frameworks store the
kernel itself, so it is computed; in the other direction, a kernel becomes g = |w| and v = w. The raw kernel of a spectral norm
does not follow from the kernel, so that direction is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.core.axes import Part

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.transfers.layers.layer_weights import LayerWeights

    Arrays = Callable[[str], Array]


class ComputedPart:
    """A part that is computed from others, with the interface of `Part`."""

    __slots__ = ("_compute", "labels", "parts", "shape")

    def __init__(self, parts: tuple[Part, ...], shape: tuple[int, ...], compute: Callable[[Arrays], Array]) -> None:
        self.parts = parts
        self.shape = shape
        self.labels = parts[0].labels
        self._compute = compute

    @property
    def weight(self) -> Weight:
        """The weight with the same axes and dtype: the kernel among its parts."""
        return self.parts[0].weight

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights from which it is computed."""
        return tuple(part.weight for part in self.parts)

    def values(self, arrays: Arrays) -> Array:
        """Return the numbers, computed in float64."""
        return self._compute(arrays)


def norm_purpose(leaf: str) -> str:
    """Return the purpose of a weight in a layer with weight norm or spectral norm; blank for any other.

    >>> norm_purpose("parametrizations.weight.original0"), norm_purpose("weight_orig"), norm_purpose("kernel")
    ('norm', 'raw kernel', '')
    """
    last = leaf.rpartition("parametrizations.weight.")[2]
    # g and v of weight norm, then W, u, v and sigma of spectral norm: in PyTorch's parametrizations (original0, 0._u) and
    # its older hooks (weight_g, weight_u), in Equinox (g, u), in Flax (kernel/scale, kernel/u) and in Keras (vector_u)
    known = {
        "original0": "norm", "weight_g": "norm", "g": "norm", "kernel/scale": "norm",
        "original1": "direction", "original": "raw kernel", "weight_orig": "raw kernel",
        "0._u": "u vector", "weight_u": "u vector", "0._v": "v vector", "u": "u vector", "sigma": "sigma", "vector_u": "u vector",
        "kernel/u": "u vector", "kernel/sigma": "sigma",
    }  # fmt: skip
    return known.get(last, "")


def complete(layer: LayerWeights) -> None:
    """Add to a layer the kernel that is computed from its pieces."""
    if ("norm", "") in layer.parts:
        direction = layer.parts.pop(("kernel", ""), None) or layer.parts.get(("direction", ""))
        if direction is not None:
            layer.parts["direction", ""] = direction
            layer.computed["kernel", ""] = _weight_normed(direction, layer.parts["norm", ""])
    elif layer.settings.get("spectral_norm") and ("kernel", "") in layer.parts and ("sigma", "") in layer.parts:
        layer.parts["raw kernel", ""] = layer.parts.pop(("kernel", ""))
    # PyTorch stores u and v, from which sigma follows; Flax stores sigma itself
    raw, u, v = (layer.parts.get((purpose, "")) for purpose in ("raw kernel", "u vector", "v vector"))
    if raw is not None and u is not None and v is not None:
        layer.computed["kernel", ""] = _spectral_normed(raw, u, v)
        layer.computed["sigma", ""] = _sigma(raw, u, v)
    elif raw is not None and ("sigma", "") in layer.parts:
        layer.computed["kernel", ""] = _divided(raw, layer.parts["sigma", ""])


def length_of(kernel: Array, norm: Part, direction: Part) -> Array:
    """Return the norm of each slice of a kernel along the axis that weight norm keeps, in float64."""
    import numpy as np

    axis = _kept(direction, norm)
    kernel = kernel.astype(np.float64)
    squares: Array = (kernel * kernel).sum(axis=tuple(each for each in range(kernel.ndim) if each != axis))
    return np.sqrt(squares)


def _kept(direction: Part, norm: Part) -> int:
    """Return the canonical axis along which the lengths `g` run; PyTorch keeps the first axis of its tensor."""
    shape = norm.weight.shape
    if len(shape) == len(direction.weight.shape):
        # the lengths have all axes of the kernel, and all but one of them are 1
        kept = next((nth for nth, length in enumerate(shape) if length != 1), 0)
        words = direction.weight.axes.split()
        return direction.labels.index(words[kept]) if words and words[kept] in direction.labels else 0
    return direction.labels.index("out")


def _weight_normed(direction: Part, norm: Part) -> ComputedPart:
    import numpy as np

    def compute(arrays: Arrays) -> Array:
        v = direction.values(arrays).astype(np.float64)
        axis = _kept(direction, norm)
        shape = tuple(-1 if nth == axis else 1 for nth in range(v.ndim))
        g = norm.values(arrays).astype(np.float64).reshape(shape)
        return np.asarray(g * v / length_of(v, norm, direction).reshape(shape))

    return ComputedPart((direction, norm), direction.shape, compute)


def _spectral_normed(raw: Part, u: Part, v: Part) -> ComputedPart:
    def compute(arrays: Arrays) -> Array:
        return raw.values(arrays) / _sigma(raw, u, v).values(arrays)

    return ComputedPart((raw, u, v), raw.shape, compute)


def _sigma(raw: Part, u: Part, v: Part) -> ComputedPart:
    """Return sigma = u' W v, the largest singular value as of the last power iteration.

    W    (out, in, *space), moved to (in, out, ...) for a transposed convolution: the first axis is the one of `u`
    u    (rows)
    v    (columns), all other axes of W in order
    """
    import numpy as np

    def compute(arrays: Arrays) -> Array:
        matrix = arrays(raw.weight.name).astype(np.float64)
        first, second = u.values(arrays).astype(np.float64), v.values(arrays).astype(np.float64)
        # PyTorch takes axis 1 as the rows of a transposed convolution, whose kernel is (in, out, ...)
        rows = matrix if len(first) == matrix.shape[0] else np.moveaxis(matrix, 1, 0)
        return np.asarray(np.einsum("i,ij,j->", first, rows.reshape(len(first), -1), second)).reshape(1)

    return ComputedPart((raw, u, v), (1,), compute)


def _divided(raw: Part, sigma: Part) -> ComputedPart:
    return ComputedPart((raw, sigma), raw.shape, lambda arrays: raw.values(arrays) / sigma.values(arrays)[0])
