"""The quantised layers of a Keras file: their variables by name, or by place where the file has only numbers.

A `.weights.h5` has no config, so the variables of a layer are called by their places, in the order of Keras 3.15:
int8, int4    kernel, bias, scale, zero, g_idx    (bias, zero and g_idx may be left out)
float8        kernel, bias, and scale and history of the inputs, of the kernel and of the gradients
gptq          bias, kernel (uint8), scale, zero, g_idx
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs.keras.quantised import Packed, einsum_shape, packs_in_order, real
from steelyard.core.effective import Derivation, derived
from steelyard.core.weight import Role
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Weight

_STEMS = {"kernel": "kernel", "embeddings": "embeddings", "quantized_kernel": "kernel"}
_HISTORIES = 3
_ROWS = 256
_ONE_OR_TWO = "say whether a byte has one number or two"
_ORDER = "the variables of layers are in the order of Keras 3.15, since the file has no config"


def derive(pieces: Pieces, config: object) -> Iterator[Weight]:
    """Yield the plain kernels of quantised layers; `config` is the decoded config.json, None where the file has none."""
    layers: dict[str, list[Weight]] = {}
    for name in [*pieces]:
        weight = pieces.get(name)
        if weight is not None:
            layers.setdefault(name.rpartition("/")[0], []).append(weight)
    configs = dict(_configs(config))
    classes = _classes(pieces)
    mode = _mode_of_dense(layers, classes)
    for layer, held in layers.items():
        known = configs.get(layer.rpartition("/")[2], {}) if config is not None else None
        word = next((classes[weight.name] for weight in held if weight.name in classes), "")
        yield from _layer(layer, held, known, word, mode)


def _mode_of_dense(layers: Mapping[str, list[Weight]], classes: Mapping[str, str]) -> str:
    """Return the mode of the layers whose shapes prove it, which is that of the whole net; blank where there are none, or two."""
    modes = set()
    for layer, held in layers.items():
        parts = _named(layer, held) or _placed(held, classes.get(held[0].name, ""))
        scale, stored = parts.get("scale"), parts.get("kernel")
        if stored is not None and scale is not None and stored.dtype == "int8" and "embedding" not in parts:
            is_embedding = stored.name.endswith("/embeddings")
            modes |= set() if is_embedding or stored.shape[-1] == 1 else {_mode(parts)}
    return modes.pop() if len(modes) == 1 else ""


def _configs(config: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the config of each layer by its name, at any depth."""
    todo = [config]
    while todo:
        entry = todo.pop()
        if isinstance(entry, list):
            todo += entry
        elif isinstance(entry, dict):
            inner = entry.get("config")
            if isinstance(inner, dict) and isinstance(name := inner.get("name"), str):
                build = entry.get("build_config")
                yield name, {**inner, "class_name": entry.get("class_name"), "build_config": build}
            todo += [value for value in entry.values() if isinstance(value, (dict, list))]


def _classes(pieces: Pieces) -> dict[str, str]:
    """Return the word for the class of the layer of each weight, as the group of a file has it ("dense_1" is "dense")."""
    layout = pieces.meta.get("layout")
    found = {}
    for path, group in layout.items() if isinstance(layout, dict) else ():
        word = path.rpartition("/")[2].rstrip("0123456789").rstrip("_")
        listed = group.get("vars") if isinstance(group, dict) and path.startswith("layers/") else None
        for name in listed.values() if isinstance(listed, dict) else ():
            found[name] = word
    return found


def _layer(layer: str, held: list[Weight], config: Mapping[str, object] | None, word: str, mode: str) -> Iterator[Weight]:
    parts = _named(layer, held) or _placed(held, word)
    stored = parts.get("kernel")
    if stored is None:
        return
    leaf = "embeddings" if word == "embedding" or stored.name.endswith("/embeddings") else "kernel"
    name = f"{layer}/{leaf}" if layer else leaf
    packed = Packed(
        name, _mode(parts), stored, parts.get("scale"), parts.get("zero"), parts.get("g_idx"), is_embedding=leaf == "embeddings"
    )
    made = real(_shaped(packed, config, word, mode))
    by_place = config is None and "name" not in parts
    hidden = tuple(weight.name for key, weight in parts.items() if key.startswith("hidden"))
    if made.derivation is not None:
        assumed = (_ORDER,) if by_place else ()
        made = made.replace(derivation=made.derivation._replace(activations=hidden, assumed=assumed))
    yield made if leaf == "kernel" else made.replace(role=Role.EMBEDDING)
    bias = parts.get("bias")
    if bias is not None and not bias.name.endswith("/bias"):
        facts = Derivation(f"{packed.mode} of Keras", (bias.name,), assumed=made.derivation.assumed if made.derivation else ())
        yield derived(f"{layer}/bias", bias.shape, bias.read, facts, dtype=bias.dtype, role=Role.BIAS)


def _mode(parts: Mapping[str, Weight]) -> str:
    stored = parts["kernel"]
    if stored.dtype == "uint8":
        return "gptq"
    if stored.dtype != "int8":
        return "float8"
    scale = parts.get("scale")
    whole = scale is None or "zero" in parts or scale.shape[-1:] != stored.shape[-1:]
    if stored.name.endswith("/embeddings") or "embedding" in parts:
        return "int4" if "zero" in parts else "int8"
    return "int4" if whole else "int8"


def _named(layer: str, held: list[Weight]) -> dict[str, Weight]:
    """Return the parts of a layer whose variables have their names; empty for another."""
    own = {weight.name.rpartition("/")[2]: weight for weight in held}
    for leaf, stem in _STEMS.items():
        stored = own.get(leaf)
        if stored is None or stored.dtype not in ("int8", "uint8") or f"{stem}_scale" not in own:
            continue
        parts = {"kernel": stored, "scale": own[f"{stem}_scale"], "zero": own.get(f"{stem}_zero"), "g_idx": own.get("g_idx")}
        return {"name": stored, **{key: weight for key, weight in parts.items() if weight is not None}}
    return {}


def _placed(held: list[Weight], word: str) -> dict[str, Weight]:
    """Return the parts of a layer whose variables have only places; empty for one that is not quantised."""
    first = held[0]
    if any("." in weight.name.rpartition("/")[2] for weight in held):
        return {}  # `kernel.codes` and `kernel.scale`, which `quantize` makes, are no variables of Keras
    if first.dtype == "int8" and len(first.shape) > 1 and len(held) > 1:
        return {"kernel": first, **_after_kernel(held[1:]), **({"embedding": first} if word == "embedding" else {})}
    at = next((place for place, weight in enumerate(held[:2]) if weight.dtype == "uint8" and len(weight.shape) > 1), None)
    if at is not None and len(held) > at + 1:
        return {**({"bias": held[0]} if at else {}), "kernel": held[at], **_after_scale(held[at + 1 :])}
    histories = [place for place, weight in enumerate(held) if weight.shape == () and weight.dtype == "float32"]
    start = len(held) - 2 * _HISTORIES
    if start in (1, 2) and histories == [start, start + 2, start + 4] and len(first.shape) > 1:
        hidden = {f"hidden{place}": weight for place, weight in enumerate(held[start:]) if place != 2}
        return {"kernel": first, **({"bias": held[1]} if start == 2 else {}), "scale": held[start + 2], **hidden}
    return {}


def _after_kernel(rest: list[Weight]) -> dict[str, Weight]:
    zero = next((place for place, weight in enumerate(rest) if weight.dtype == "int8"), None)
    scale = (len(rest) if zero is None else zero) - 1
    parts = {"bias": rest[0]} if scale == 1 else {}
    return {**parts, **_after_scale(rest[scale:])} if scale in (0, 1) else {}


def _after_scale(rest: list[Weight]) -> dict[str, Weight]:
    """Return the scale, the zero if there is one, and the groups."""
    parts = {"scale": rest[0]}
    integers = [weight for weight in rest[1:] if weight.dtype in ("int8", "uint8")]
    groups = [weight for weight in rest[1:] if weight.dtype == "float32"]
    parts |= {"zero": integers[0]} if integers else {}
    return parts | ({"g_idx": groups[0]} if groups else {})


def _shaped(packed: Packed, config: Mapping[str, object] | None, word: str, net: str) -> Packed:
    """Return a packed kernel with what the config says, or what the shapes prove without one."""
    if config is None:
        return _without_config(packed, word, net)
    mode = _policy(config)
    packed = packed._replace(mode=mode) if mode in ("int8", "int4") and packed.mode in ("int8", "int4") else packed
    width, height = config.get("output_dim"), packed.stored.shape[0]
    if packed.is_embedding and packed.mode == "int4" and isinstance(width, int):
        packed = packed._replace(shape=(height, width))
    equation = config.get("equation")
    if config.get("class_name") != "EinsumDense" or not isinstance(equation, str):
        return packed
    build = config.get("build_config")
    inputs = build.get("input_shape") if isinstance(build, dict) else None
    outputs = config.get("output_shape")
    shape = einsum_shape(equation, _lengths(inputs), _lengths(outputs)) if packed.mode == "int4" else packed.stored.shape
    reason = "" if shape else "the config does not have the shape of its kernel"
    if not packs_in_order(equation):
        reason = f"the equation {printable(equation)} has other axes in its kernel than Steelyard reads"
    return packed._replace(shape=shape, refusal=reason)


def _has_last_halves(stored: Weight) -> bool:
    """Whether a row has a number in the last half of its last byte, which a row of an odd length has not."""
    width = stored.shape[1]
    for first in range(0, stored.shape[0] if width else 0, _ROWS):
        last = min(first + _ROWS, stored.shape[0])
        if (stored.read(first * width, last * width).view("u1")[width - 1 :: width] >> 4).any():
            return True
    return False


def _lengths(found: object) -> list[int | None]:
    listed = found if isinstance(found, list) else [found]
    return [each if type(each) is int else None for each in listed]


def _policy(config: Mapping[str, object]) -> str:
    """Return the mode of a layer's dtype policy: "int8", "int4", or blank."""
    policy = config.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    mode = inner.get("mode") if isinstance(inner, dict) else None
    return mode.partition("/")[0] if isinstance(mode, str) else ""


def _without_config(packed: Packed, word: str, net: str) -> Packed:
    """Refuse what shapes alone cannot say; a net has one mode, so that its dense layers say that of embeddings."""
    stored, scale = packed.stored, packed.scale
    if scale is None or packed.mode not in ("int8", "int4"):
        return packed
    if packed.is_embedding:
        return packed if packed.zero is not None or net == "int8" else _embedding(packed, net)
    square = scale.shape == (stored.shape[0],) == (stored.shape[-1],)
    reason = ""
    if packed.mode == "int4" and word == "einsum_dense":
        reason = "have the shape of the kernel of EinsumDense"
    elif word not in ("dense", "einsum_dense") and square:
        reason = "say whether its scales are of rows or of columns"
    elif packed.zero is None and stored.shape[-1] == 1:
        reason = _ONE_OR_TWO
    return packed._replace(refusal=f"a file without config does not {reason}") if reason else packed


def _embedding(packed: Packed, net: str) -> Packed:
    """Return an embedding in a net of int4, whose rows have an even length if the last half of their bytes is used."""
    reason = _ONE_OR_TWO if not net else "" if _has_last_halves(packed.stored) else "say whether its rows have an odd length"
    shape = packed.stored.shape[0], 2 * packed.stored.shape[1]
    return packed._replace(mode="int4", shape=shape, refusal=reason and f"a file without config does not {reason}")
