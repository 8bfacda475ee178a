"""Whether the weights of a merged net are those of its base plus a low-rank adapter (LoRA), layer by layer, and by what scale.

An adapter of PEFT has two factors for a layer, A of shape (rank, inputs) and B of shape (outputs, rank), and a merge adds
scale * B @ A to the kernel. Source: Hu et al. 2021, arXiv:2106.09685. The scale is that of least squares,
<merged - base, B @ A> / <B @ A, B @ A>, and the residual |merged - base - scale * B @ A| / |merged - base|.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs.peft import CONFIG, PREFIX, number, of_layer, part_of
from steelyard.codecs.quantization_config import json_beside
from steelyard.core.effective import Pieces
from steelyard.errors import ShapeError, printable
from steelyard.io import readable_weights

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights

RECEIVED, UNCHANGED, OTHER, UNDECIDED, MISSING = (
    "received",
    "unchanged",
    "changed otherwise",
    "too small to see",
    "no such weight",
)
"""What a merge did to a layer of the adapter."""

_PARTS = {
    "lora_A": "A",
    "lora_B": "B",
    "lora_embedding_A": "A",
    "lora_embedding_B": "B",
    "lora_magnitude_vector": "magnitude",
}
_EPSILONS = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Half the distance between neighbouring numbers, relative to them: how much rounding changes a number at most."""
_SMALLEST = {"float16": 2.0**-25}
"""Half the distance between the smallest numbers, which rounding changes by more."""
_ROUNDINGS = 3
"""Steps of a merge that each round: the product, the scale, the sum."""


class LayerMerge(NamedTuple):
    """One layer: what the merge did, the `scale` and the relative `residual`, and the scale in the adapter's own config."""

    layer: str
    verdict: str
    scale: float | None = None
    residual: float | None = None
    expected: float | None = None

    @property
    def has_expected_scale(self) -> bool:
        """Whether the scale is that of the config to 1 percent; true without a config."""
        return self.expected is None or self.scale is None or abs(self.scale - self.expected) <= 0.01 * abs(self.expected)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return self._asdict()


class AdapterMerge:
    """The result: a `LayerMerge` for each layer of the adapter, and the names of `others`, which changed without one."""

    __slots__ = ("layers", "others")

    def __init__(self, layers: list[LayerMerge], others: list[str]) -> None:
        self.layers = layers
        self.others = others

    @property
    def complete(self) -> bool:
        """Whether every layer received the adapter by the scale of its config, if it has one, and no other weight changed."""
        return not self.others and all(layer.verdict == RECEIVED and layer.has_expected_scale for layer in self.layers)

    def __repr__(self) -> str:
        from steelyard.text.adapters import adapter_lines

        return "\n".join(adapter_lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {"complete": self.complete, "layers": [layer.to_dict() for layer in self.layers], "others": self.others}


def adapter_merge(adapter: object, base: object, merged: object) -> AdapterMerge:
    """Return which layers of `merged` are those of `base` plus the adapter, and by what scale.

    The sources are anything that `weights` takes; the adapter has the names of PEFT. Differences that rounding to the type of
    `merged` explains are none. Raises `ShapeError` if the adapter has no pair of factors, or factors that do not fit.

    Examples:
        >>> import numpy as np
        >>> a, b, kernel = np.ones((1, 3)), np.ones((2, 1)), np.zeros((2, 3))
        >>> lora = {"base_model.model.fc.lora_A.weight": a, "base_model.model.fc.lora_B.weight": b}
        >>> adapter_merge(lora, {"fc.weight": kernel}, {"fc.weight": kernel + 2 * b @ a})
        layer  scale  residual
        fc         2         0  received
        1 layer: 1 received
    """
    held = readable_weights(adapter)
    factors = _factors(held)
    before, after = readable_weights(base), readable_weights(merged)
    config = _Config(held)
    layers, touched = [], set()
    for layer, (down, up, magnitude, is_embedding) in factors.items():
        name, other = _named(before, layer), _named(after, layer)
        expected = config.scale(layer, down.shape[0])
        if name is None or other is None:
            layers.append(LayerMerge(layer, MISSING, expected=expected))
            continue
        touched.add(name)
        product = _product(layer, down, up, before[name].shape, transposed=is_embedding or config.is_transposed)
        if magnitude is None:
            layers.append(_judged(layer, before[name], after[other], product, expected))
        else:
            inputs = 0 if config.is_transposed else 1
            layers.append(_judged_by_magnitude(layer, before[name], after[other], product, magnitude, expected, inputs))
    untouched = {name: weight for name, weight in before.items() if name not in touched}
    replaced = {name.removeprefix(PREFIX): weight for name, weight in held.items() if part_of(name) is None}
    others = [name for name, weight in untouched.items() if _changed(weight, name, after)]
    return AdapterMerge(layers, [name for name in others if name not in replaced or _changed(replaced[name], name, after)])


def _factors(adapter: Weights) -> dict[str, tuple[Weight, Weight, Weight | None, bool]]:
    """Return A, B and, for DoRA, the magnitudes of each layer, and whether it is an embedding, whose product is transposed."""
    found: dict[str, dict[str, Weight]] = {}
    embeddings = set()
    for name, weight in adapter.items():
        part = part_of(name)
        if part is not None and part.part in _PARTS and part.leaf != "bias":
            found.setdefault(part.layer, {})[_PARTS[part.part]] = weight
            embeddings |= {part.layer} if part.part.startswith("lora_embedding_") else set()
    pairs = {
        layer: (own["A"], own["B"], own.get("magnitude"), layer in embeddings)
        for layer, own in found.items()
        if "A" in own and "B" in own
    }
    if not pairs:
        raise ShapeError("the adapter has no pair of weights named ....lora_A.weight and ....lora_B.weight, as PEFT names them")
    return pairs


def _named(weights: Weights, layer: str) -> str | None:
    """Return the name of the kernel of a layer: that name, or the only one that ends so."""
    for tail in (f"{layer}.weight", f"{layer}.base_layer.weight", layer):
        if tail in weights:
            return tail
        near = [name for name in weights if name.endswith(f".{tail}")]
        if len(near) == 1:
            return near[0]
    return None


def _product(layer: str, down: Weight, up: Weight, shape: tuple[int, ...], *, transposed: bool) -> Array:
    """Return B @ A in the shape of the kernel, which may have its inputs first; the factors of a convolution are flattened."""
    import numpy as np

    a = np.asarray(down.numpy(), np.float64).reshape(down.shape[0], -1)
    b = np.asarray(up.numpy(), np.float64).reshape(up.shape[0], -1)
    if a.shape[0] == b.shape[1]:
        product: Array = b @ a
        if transposed or (product.shape != shape and product.shape == shape[::-1]):
            product = product.T
        if shape and product.shape[0] == shape[0] and product.size == prod(shape):
            return product.reshape(shape)
    raise ShapeError(f"the factors of {printable(layer)}, {list(down.shape)} and {list(up.shape)}, do not fit {list(shape)}")


def _judged(layer: str, base: Weight, merged: Weight, product: Array, expected: float | None) -> LayerMerge:
    import numpy as np

    if base.shape != merged.shape:
        return LayerMerge(layer, OTHER, expected=expected)
    after = np.asarray(merged.numpy(), np.float64)
    change = after - np.asarray(base.numpy(), np.float64)
    size, length = float(np.sum(product * product)), float(np.linalg.norm(change))
    rounding = _ROUNDINGS * _EPSILONS.get(merged.dtype, 0.0) * float(np.linalg.norm(after))
    if not length:
        seen = size and abs(expected or 1.0) * size**0.5 > rounding
        return LayerMerge(layer, UNCHANGED if seen else UNDECIDED, 0.0, None, expected)
    scale = float(np.sum(change * product)) / size if size else 0.0
    left = float(np.linalg.norm(change - scale * product))
    seen = abs(scale) * size**0.5 > rounding
    verdict = OTHER if left > rounding + 1e-6 * length else RECEIVED if seen else UNDECIDED
    return LayerMerge(layer, verdict, scale, left / length, expected)


def _judged_by_magnitude(
    layer: str, base: Weight, merged: Weight, product: Array, magnitude: Weight, expected: float | None, inputs: int
) -> LayerMerge:
    """Judge a layer of DoRA: the sum of kernel and product, whose norm over the inputs is set to the magnitude of each output.

    The scale is that of the config, since the norm leaves none to be measured.
    """
    import numpy as np

    if base.shape != merged.shape or len(base.shape) != 2 or expected is None or magnitude.size != base.shape[1 - inputs]:
        return LayerMerge(layer, OTHER, expected=expected)
    before, after = (np.asarray(each.numpy(), np.float64) for each in (base, merged))
    added = before + expected * product
    norms = np.linalg.norm(added, axis=inputs, keepdims=True)
    wanted = added * (np.asarray(magnitude.numpy(), np.float64).reshape(norms.shape) / np.where(norms, norms, 1.0))
    length, left = float(np.linalg.norm(after - before)), float(np.linalg.norm(after - wanted))
    if not length:
        return LayerMerge(layer, UNCHANGED, 0.0, None, expected)
    rounding = 2 * _ROUNDINGS * _EPSILONS.get(merged.dtype, 0.0) * float(np.linalg.norm(after))  # the norm rounds too
    received = left <= rounding + 1e-6 * length
    return LayerMerge(layer, RECEIVED if received else OTHER, expected if received else None, left / length, expected)


def _changed(weight: Weight, name: str, after: Weights) -> bool:
    """Whether a weight differs by more than rounding to another type explains."""
    import numpy as np

    other = after.get(name)
    if other is None:
        return False
    if other.shape != weight.shape:
        return True
    before, now = (np.asarray(each.numpy(), np.float64) for each in (weight, other))
    rounding = _EPSILONS.get(other.dtype, 0.0) if other.dtype != weight.dtype else 0.0
    return not np.allclose(now, before, rtol=rounding, atol=_SMALLEST.get(other.dtype, 0.0) if rounding else 0.0, equal_nan=True)


class _Config:
    """The config next to an adapter's file; `is_transposed` is true for kernels that have their inputs first."""

    __slots__ = ("_config", "is_transposed")

    def __init__(self, adapter: Weights) -> None:
        self._config = json_beside(Pieces(adapter), CONFIG)
        self.is_transposed = self._config.get("fan_in_fan_out") is True

    def scale(self, layer: str, rank: int) -> float | None:
        """Return alpha / rank, or alpha / sqrt(rank) for rsLoRA; None where the config does not have it."""
        try:
            alpha = number(of_layer(self._config, "alpha_pattern", layer, "lora_alpha"))
        except ShapeError:  # a pattern that Steelyard does not read
            return None
        if alpha is None or not rank:
            return None
        return alpha / (rank**0.5 if self._config.get("use_rslora") is True else rank)
