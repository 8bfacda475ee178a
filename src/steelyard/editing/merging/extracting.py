"""`extract_adapter`: the change of a net as an adapter of low rank, in the names and the layout of PEFT's LoRA.

    base_model.model.<layer>.lora_A.weight            (r, in) or, of a convolution, (r, in, kh, kw)
    base_model.model.<layer>.lora_B.weight            (out, r) or (out, r, 1, 1)
    base_model.model.<layer>.lora_embedding_A         (r, rows), of an embedding, whose change is (B A)'
    base_model.model.<layer>.lora_embedding_B         (length, r)
    base_model.model.<layer>.<weight or bias>         whole, of a layer in "modules_to_save"

With the singular values S of the change U S V', A = sqrt(S) V' and B = U sqrt(S), and alpha is r, so that the change is B A.
"""

from __future__ import annotations

import json
import os
import warnings
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.codecs.peft import CONFIG, PREFIX
from steelyard.core.net_facts import with_beside
from steelyard.core.readers import from_array
from steelyard.core.selection import NAMED
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.editing.merging.pairing import like_first
from steelyard.errors import FileMissingError, FormatError, LeftOutWarning, ShapeError, first_of, printable
from steelyard.io import readable_weights, write
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from steelyard.core.weight import Array, Weight
    from steelyard.storage.source import Source

FILE = "adapter_model.safetensors"
_KERNEL, _BLOCK = ".weight", 1 << 20


class _Part(NamedTuple):
    """The factors of one layer."""

    layer: str
    rank: int
    weights: list[Weight]


def extract_adapter(
    before: Any,
    after: Any,
    *,
    rank: int,
    epsilon: float = 0.0,
    out: str | os.PathLike[str] | None = None,
    base_name: str | None = None,
) -> Weights:
    """Return the change from one net to another as a LoRA of PEFT of at most this rank: the inverse of `merge_adapter`.

    Dense and convolutional kernels and embeddings get factors, from the singular value decomposition of their change in float32;
    singular values up to `epsilon` are left out. Of all factors of a rank these are the nearest. Other layers that changed, such
    as norms, are kept whole, as "modules_to_save"; biases next to factors are left out with a `LeftOutWarning`, since PEFT has no
    place for them. `out` is a folder into which the adapter is written, with its adapter_config.json, as PEFT loads it;
    `base_name` is the name of the base in it. The config is also in `meta["adapter_config"]`, and `merge_adapter` finds it.

    Rank r saves space below rows * columns / (rows + columns). One change at a time is in memory. Raises `ShapeError` for nets of
    other names or shapes, for a rank below 1, and where nothing changed.

    Examples:
        >>> import numpy as np, steelyard
        >>> before = {"fc.weight": np.zeros((2, 3), "float32")}
        >>> after = {"fc.weight": np.array([[1, 2, 3], [2, 4, 6]], "float32")}
        >>> lora = extract_adapter(before, after, rank=1)
        >>> [*lora]
        ['base_model.model.fc.lora_A.weight', 'base_model.model.fc.lora_B.weight']
        >>> steelyard.merge_adapter(before, lora)["fc.weight"].numpy().round(5).tolist()
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    """
    if not isinstance(rank, int) or rank < 1:
        raise ShapeError(f"rank is {printable(rank)}; it must be a whole number of at least 1")
    first, second = (readable_weights(source, effective=True) for source in (before, after))
    second, _ = like_first(first, second, 2, "error", "error")
    parts, whole = _parts(first, second, rank, epsilon)
    if not parts and not whole:
        raise ShapeError("no weight has changed, so there is nothing to extract")
    config = _config(parts, whole, rank, base_name)
    made = [weight for part in parts for weight in part.weights] + [_whole(weight) for own in whole.values() for weight in own]
    text = json.dumps(config, indent=2).encode()
    adapter = with_beside(Weights(made, meta={"format": "pt", "adapter_config": config}), lambda name: _beside(name, text))
    if out is not None:
        _save(adapter, os.fspath(out), text)
    return adapter


def _parts(first: Weights, second: Weights, rank: int, epsilon: float) -> tuple[list[_Part], dict[str, list[Weight]]]:
    """Return the factors of the layers that have some, and the weights of the others that changed, by layer."""
    changed = [name for name in first.distinct() if is_floating(first[name].dtype) and _differs(first[name], second[name])]
    parts = [part for name in changed if (part := _factors(first[name], second[name], rank, epsilon)) is not None]
    named = {f"{part.layer}{_KERNEL}" for part in parts}
    layers = {part.layer for part in parts}
    rest = [name for name in changed if name not in named]
    left = [name for name in rest if _layer(name) in layers or not _layer(name)]
    if left:
        what = first_of(left, NAMED)
        warnings.warn(f"left out, since an adapter of PEFT has no place for them: {what}", LeftOutWarning, stacklevel=3)
    kept = dict.fromkeys(_layer(name) for name in rest if name not in left)
    whole = {layer: [weight for name, weight in second.items() if _layer(name) == layer] for layer in kept}
    return parts, whole


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _differs(one: Weight, other: Weight) -> bool:
    blocks = zip(one.blocks(_BLOCK), other.blocks(_BLOCK), strict=True)
    return any(not np.array_equal(a, b, equal_nan=True) for a, b in blocks)


def _factors(one: Weight, other: Weight, rank: int, epsilon: float) -> _Part | None:
    """Return the factors of the change of a kernel; None for a weight that gets none, or whose change is below `epsilon`."""
    is_embedding = one.role is Role.EMBEDDING
    if not one.name.endswith(_KERNEL) or len(one.shape) < 2 or one.role not in (Role.KERNEL, Role.EMBEDDING, Role.OTHER):
        return None
    if one.axes.startswith("in "):
        raise ShapeError(
            f"{printable(one.name)} has its inputs first, and an adapter of PEFT is for kernels that have their outputs first"
        )
    change = other.numpy().astype(np.float32) - one.numpy().astype(np.float32)
    if not np.isfinite(change).all():
        raise ShapeError(f"the change of {printable(one.name)} has NaN or Inf, so it has no singular values")
    matrix = change.reshape(one.shape[0], -1)
    left, values, right = np.linalg.svd(matrix.T if is_embedding else matrix, full_matrices=False)
    own = min(rank, int(np.count_nonzero(values > epsilon)))
    if own == 0:
        return None
    root = np.sqrt(values[:own])
    return _part(one, np.ascontiguousarray(root[:, None] * right[:own]), np.ascontiguousarray(left[:, :own] * root))


def _part(weight: Weight, a: Array, b: Array) -> _Part:
    """Return factors under the names of PEFT and in its shapes."""
    layer = weight.name.removesuffix(_KERNEL)
    key = f"{PREFIX}{layer}."
    if weight.role is Role.EMBEDDING:
        named = {f"{key}lora_embedding_A": a, f"{key}lora_embedding_B": b}
    else:
        places = weight.shape[2:]
        ones = (1,) * len(places)
        a, b = a.reshape(len(a), prod(weight.shape[1:]) // prod(places), *places), b.reshape(*b.shape, *ones)
        named = {f"{key}lora_A.weight": a, f"{key}lora_B.weight": b}
    return _Part(layer, len(a), [from_array(name, array, layer=_layer(name)) for name, array in named.items()])


def _whole(weight: Weight) -> Weight:
    return weight.replace(name=PREFIX + weight.name, tied=None, overlaps=None)


def _config(parts: Iterable[_Part], whole: Mapping[str, object], rank: int, base_name: str | None) -> dict[str, Any]:
    """Return the config of the adapter; a layer with fewer singular values than the rank has its own rank."""
    lower = {part.layer: part.rank for part in parts if part.rank != rank}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_name,
        "task_type": None,
        "inference_mode": True,
    }
    config |= {"r": rank, "lora_alpha": rank, "rank_pattern": lower, "alpha_pattern": lower, "lora_dropout": 0.0, "bias": "none"}
    config |= {"fan_in_fan_out": False, "init_lora_weights": True, "use_rslora": False, "use_dora": False}
    return config | {"target_modules": [part.layer for part in parts], "modules_to_save": [*whole] or None}


def _beside(name: str, text: bytes) -> Source:
    if name != CONFIG:
        raise FileMissingError(name)
    return from_bytes(text, CONFIG)


def _save(adapter: Weights, folder: str, text: bytes) -> None:
    """Write the weights, then the config, without which nothing loads them; that of another adapter is never mixed with it."""
    from pathlib import Path

    from steelyard.storage.atomic import replacing

    os.makedirs(folder, exist_ok=True)
    old = Path(folder, CONFIG)
    if old.exists() and old.read_bytes() != text:
        raise FormatError(folder, "has an adapter with another config; write into another folder, or remove it first")
    write(adapter.with_weights(adapter.values(), meta={"format": "pt"}), os.path.join(folder, FILE))
    with replacing(Path(folder, CONFIG)) as file:
        file.write(text)
