"""R torch: what its `torch_save` writes, in all four formats.

Formats 0 to 2 are R's own serialization: each tensor is a file of libtorch, as base64 text or as raw bytes. Format 3 is a
safetensors file, often called `.pt`, with the R object that held the tensors beside them, as `__robj__`.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from steelyard.codecs.compression import is_compressed
from steelyard.codecs.r.layers import Net, texts
from steelyard.codecs.r.modules import class_of, orders
from steelyard.codecs.r.stream import read_r
from steelyard.codecs.r.values import Vector
from steelyard.codecs.r.walk import leaves
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Stored, from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.storage.source import Source

OBJECT = "__robj__"
UNNAMED = "...unnamed..."
_TENSOR, _ADDRESS = "torch_serialized_tensor", "torch_tensor_address"
_COMPLEX = {"cfloat": "complex64", "cdouble": "complex128", "chalf": "float16"}


def is_torch(value: Any) -> bool:
    """Tell whether an R object is what formats 0 to 2 write."""
    if not isinstance(value, Vector) or value.items is None:
        return False
    kind, names = texts(value.get("type")), value.names or []
    return kind in (["tensor"], ["module"], ["list"]) and ("values" in names or "state_dict" in names)


def torch(value: Vector, file: str) -> Net:
    """Return the tensors of a file of format 0 to 2, by the names of the state_dict or of the list.

    A tensor by itself has no name. Raises `FormatError` for what holds no file of libtorch.
    """
    net = Net("torch", value)
    (kind,) = texts(value.get("type"))
    if kind == "tensor":
        found = [("", _tensor(value, file))]
    elif kind == "module":
        state = value.get("state_dict")
        members = state.pairs() if isinstance(state, Vector) and state.items is not None else ()
        found = [(name, _tensor(_unserialized(raw, file), file)) for name, raw in members]
    else:
        parts = ((path, leaf) for path, leaf in leaves(value.get("values"), file) if _TENSOR in getattr(leaf, "class_", ()))
        found = [(".".join(path), _tensor(_unserialized(leaf, file), file)) for path, leaf in parts]
    # these formats do not say what takes a gradient: the tensors were detached when they were written
    net.weights = infer_roles(weight.replace(name=name, layer=layer_of(name), trainable=None) for name, weight in found)
    net.module = value.get("module")
    net.facts |= {"class": class_of(net.module), "kind": kind}
    return net


def as_source(raw: Any, file: str) -> Source:
    """Return the bytes of a raw vector. Raises `FormatError` for anything else."""
    if not isinstance(raw, Vector) or raw.kind != "raw":
        raise FormatError(file, "holds something else where the bytes of a tensor or a file are expected")
    if isinstance(raw.numbers, Stored):
        return raw.numbers.source.part(raw.numbers.offset, raw.length)
    return from_bytes(raw.read().tobytes(), file)


def _unserialized(raw: Any, file: str) -> Any:
    source = as_source(raw, file)
    if is_compressed(source):
        raise FormatError(file, "holds a tensor that is compressed by itself, as R torch never writes it")
    return read_r(source)


def _tensor(value: Any, file: str) -> Weight:
    """Return the one tensor that a file of libtorch holds, which R keeps as text or as bytes."""
    from steelyard.codecs.pickle.model_weights import as_weights
    from steelyard.codecs.pickle.walk import TensorWalk
    from steelyard.codecs.torch.archive import open_archive

    kept = value.get("values") if isinstance(value, Vector) and value.items is not None else None
    if isinstance(kept, Vector) and kept.kind == "character":
        try:
            source = from_bytes(base64.b64decode("".join("".join(texts(kept)).split()), validate=True), file)
        except ValueError as error:
            raise FormatError(file, f"the text of a tensor is no base64: {error}") from None
    else:
        source = as_source(kept, file)
    archive = open_archive(source)
    tensors = TensorWalk(source, archive.decoder.decode, archive.scripted).through(archive.root).tensors
    if len(tensors) != 1:
        raise FormatError(file, f"a tensor of R torch is a file of {len(tensors)} tensors")
    return as_weights(tensors, source)[0]


def read_v3(source: Source, stored: Iterable[Weight], meta: dict[str, str]) -> Weights:
    """Return the tensors of a safetensors file that R torch wrote: in its order, by its names, without the R object.

    Raises `FormatError` where what R torch says of the file makes no sense.
    """
    said = _said(source, meta.pop("__r__"))
    found = {weight.name: weight for weight in stored}
    kept = found.pop(OBJECT, None)
    held = _held(source, kept)
    for name, fact in _mapping(said.get("special_dtype")).items():
        if name in found:
            found[name] = _special(source, found[name], _mapping(fact))
    grads = _mapping(said.get("requires_grad"))
    marked = {name: weight.replace(trainable=grads.get(name) is True) for name, weight in found.items()}
    kind = said.get("type")
    names = _list_names(held, marked, source) if kind == "list" else [(n, n if n != UNNAMED else "") for n in marked]
    weights = infer_roles(_named(marked, names))
    facts = {"package": "torch", "class": class_of(held), "kind": kind}
    return Weights(
        weights,
        meta={**meta, "format": "R torch 3", "networks": {"": facts}},
        orders=orders(weights, held if kind == "module" else None),
    )


def _said(source: Source, text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise FormatError(source.name, "what R torch says of the file, __r__, is no JSON object", 8)
    return said


def _mapping(value: Any) -> dict[str, Any]:
    """Return an object of JSON; R writes an empty one as a list."""
    return value if isinstance(value, dict) else {}


def _held(source: Source, kept: Weight | None) -> Any:
    """Return the R object beside the tensors, as inert values; nothing where it cannot be read."""
    if kept is None or not isinstance(kept.read, Stored):
        return None
    try:
        return read_r(source.part(kept.read.offset, kept.size, OBJECT))
    except FormatError:
        return None  # a module's tensors have their names without it


def _special(source: Source, weight: Weight, fact: dict[str, Any]) -> Weight:
    """Return complex numbers, which R torch writes as bytes, as what they are."""
    dtype, shape = _COMPLEX.get(str(fact.get("dtype"))), fact.get("shape")
    lengths = tuple(shape) if isinstance(shape, list) else (shape,)
    if dtype is None or dtype == "float16" or any(type(length) is not int or length < 0 for length in lengths):
        return weight
    fixed = weight.replace(dtype=dtype, shape=lengths, encoding=str(fact.get("dtype")))
    if not isinstance(weight.read, Stored) or fixed.nbytes != weight.size:
        raise FormatError(
            source.name, f"{printable(weight.name)} is no {dtype} of shape {list(lengths)}: it has {weight.size:,} bytes"
        )
    return fixed.replace(read=source.numbers(weight.read.offset, dtype))


def _list_names(held: Any, found: dict[str, Weight], source: Source) -> list[tuple[str, str]]:
    """Return the key and the name of each tensor of a list: the R object has the names, and addresses as keys."""
    named = [
        (address, ".".join(path))
        for path, leaf in leaves(held, source.name)
        if _ADDRESS in getattr(leaf, "class_", ())
        for address in texts(leaf)
    ]
    if {address for address, _ in named} != {*found}:
        raise FormatError(source.name, "is a list of R torch whose names cannot be told: the R object beside it does not fit")
    return named


def _named(found: dict[str, Weight], names: list[tuple[str, str]]) -> list[Weight]:
    """Return the weights under their names, in this order; one that is listed twice is tied to its first name."""
    first: dict[str, str] = {}
    weights = []
    for key, name in names:
        owner = first.setdefault(key, name)
        weights.append(found[key].replace(name=name, layer=layer_of(name), tied=owner if owner != name else None))
    return weights
