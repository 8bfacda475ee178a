"""What live layers of Keras multiply with: quantised kernels as real numbers, with the change of `enable_lora` added.

A layer with LoRA adds lora_alpha / lora_rank times a b to its kernel in each call. `save` merges the two, and quantises the sum
anew, so the file of a quantised layer with LoRA has other numbers than the live one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs.keras.quantised import Packed, packs_in_order, real
from steelyard.core.effective import Derivation, derived
from steelyard.core.merging import applying
from steelyard.core.weight import Refused, Role
from steelyard.errors import printable
from steelyard.numerics.low_rank import Delta, fitting
from steelyard.numerics.row_changes import numbers, plus, product

if TYPE_CHECKING:
    import keras

    from steelyard.core.weight import Weight

_REVERSE = "reverse_embeddings"
"""The kernel by which an embedding gives logits, where it has one of its own."""
_KERNELS = {
    **dict.fromkeys(("Dense", "EinsumDense", "BaseConv"), ("kernel",)),
    "Embedding": ("embeddings", _REVERSE),
}
_MODES = ("int8", "int4", "float8", "gptq")
_HIDDEN = (
    "inputs_scale",
    "inputs_amax_history",
    "kernel_amax_history",
    "outputs_grad_scale",
    "outputs_grad_amax_history",
)


def layer_weights(layer: keras.Layer, variables: Mapping[int, Weight]) -> Iterator[Weight]:
    """Yield the effective kernels of a layer that is quantised or has LoRA; `variables` has weights by their identity."""
    words = next((_KERNELS[base.__name__] for base in type(layer).__mro__ if base.__name__ in _KERNELS), ())
    mode = getattr(layer, "quantization_mode", None)
    for word in words if mode in _MODES or getattr(layer, "lora_enabled", False) else ():
        yield from _kernel(layer, word, mode, variables)


def _kernel(layer: Any, word: str, mode: str | None, variables: Mapping[int, Weight]) -> Iterator[Weight]:
    held = {name: id(getattr(layer, name, None)) for name in _names(word)}
    found = {name: variables[key] for name, key in held.items() if key in variables}
    if word == _REVERSE and word in found:
        found[f"_{word}"] = found.pop(word)
    stored = found.get(f"_{word}") or found.get("quantized_kernel")
    if stored is None:
        return
    name = f"{stored.name.rpartition('/')[0]}/{word}".strip("/")
    plain = stored if mode is None else _dequantised(layer, name, mode, word, found)
    hidden = tuple(found[each].name for each in _HIDDEN if each in found)
    made = _with_lora(layer, name, word, plain, found) if getattr(layer, "lora_enabled", False) else plain
    if made.derivation is not None:
        yield made.replace(derivation=made.derivation._replace(activations=hidden))


def _names(word: str) -> list[str]:
    own = [f"_{word}", f"{word}_scale", f"{word}_zero", f"lora_{word}_a", f"lora_{word}_b"]
    # the order of the groups belongs to both kernels of an embedding, of which the first replaces it
    return [*own, *([word] if word == _REVERSE else ["quantized_kernel"]), "g_idx", *_HIDDEN]


def _dequantised(layer: Any, name: str, mode: str, word: str, found: Mapping[str, Weight]) -> Weight:
    """Return the real numbers of a quantised kernel."""
    stored = found["quantized_kernel"] if mode == "gptq" and "quantized_kernel" in found else found[f"_{word}"]
    is_embedding = word == "embeddings"
    shape = getattr(layer, "original_kernel_shape", None)
    equation = getattr(layer, "equation", None)
    if is_embedding:
        shape = (layer.input_dim, layer.output_dim)
    elif word == _REVERSE:
        shape = (layer.output_dim, layer.input_dim)
    elif shape is None and hasattr(layer, "units") and mode == "int4":
        shape = (stored.shape[0], layer.units)
    packed = Packed(
        name,
        mode,
        stored,
        found.get(f"{word}_scale"),
        found.get(f"{word}_zero"),
        found.get("g_idx"),
        is_embedding=is_embedding,
        shape=None if shape is None else tuple(map(int, shape)),
    )
    if word == _REVERSE and mode != "int8":
        packed = packed._replace(
            refusal="Keras packs this kernel along its first axis, and only kernels along their last are read"
        )
    if isinstance(equation, str) and not packs_in_order(equation):
        packed = packed._replace(refusal=f"the equation {printable(equation)} has other axes in its kernel than Steelyard reads")
    return real(packed, Role.KERNEL if word == "kernel" else Role.EMBEDDING)


def _with_lora(layer: Any, name: str, word: str, plain: Weight, found: Mapping[str, Weight]) -> Weight:
    """Return a kernel with the product of its factors, whose last axis is that of the second factor, added."""
    down, up = found.get(f"lora_{word}_a"), found.get(f"lora_{word}_b")
    if down is None or up is None or isinstance(plain.read, Refused):
        return plain
    height, width, rank = down.size // max(down.shape[-1], 1), up.shape[-1], up.shape[0]
    scale = float(layer.lora_alpha) / float(layer.lora_rank)
    rows = product(numbers(down, (height, rank)), numbers(up))
    matrix = plain.replace(shape=(height, width))
    read = applying(matrix, [plus(fitting(Delta(rows, height, width, rank), matrix.shape), scale)])
    facts = plain.derivation or Derivation("", (plain.name,))
    scheme = " and ".join(filter(None, (facts.scheme, "LoRA of Keras")))
    settings = {"lora_rank": int(layer.lora_rank), "lora_alpha": float(layer.lora_alpha)}
    merged = Derivation(scheme, (*facts.parts, down.name, up.name), settings)
    return derived(name, plain.shape, read, merged, dtype=plain.dtype, role=plain.role, axes=plain.axes)
