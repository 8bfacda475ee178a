"""The files of R torch's `torch_save`, in all four formats.

Formats 0 to 2 are R serializations, in which each tensor is a file of libtorch, as base64 text or as raw bytes. Format 3 is
a safetensors file, often called `.pt`, with the R object that held the tensors as one more tensor, `__robj__`.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, TypeGuard

from steelyard.codecs.compression import is_compressed
from steelyard.codecs.r.layers import Network, texts
from steelyard.codecs.r.modules import author_classes, orders
from steelyard.codecs.r.stream import read_r
from steelyard.codecs.r.values import Vector, classes_of
from steelyard.codecs.r.walk import leaves
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Stored, from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.codecs.r.values import Value
    from steelyard.storage.source import Source

OBJECT = "__robj__"
UNNAMED = "...unnamed..."
_TENSOR, _ADDRESS = "torch_serialized_tensor", "torch_tensor_address"
_COMPLEX = {"cfloat": "complex64", "cdouble": "complex128", "chalf": "float16"}


# Formats 0 to 2: a named R list
#   type        "tensor", "module" or "list"
#   version     0, 1 or 2; the first files have none
#   values      of a tensor: a file of libtorch, as one text in base64 (formats 0 and 1) or as a raw vector (format 2)
#               of a list: the list, with a raw vector of class torch_serialized_tensor for each tensor
#   state_dict  of a module: a named list of raw vectors, one for each tensor
#   module      of a module: the R object, whose tensors are dead pointers
# Each raw vector of a tensor is an R serialization of a list like this one, of type "tensor".
def is_torch(value: Value) -> TypeGuard[Vector]:
    """Whether an R object has the structure of formats 0 to 2."""
    if not isinstance(value, Vector) or value.items is None:
        return False
    kind, names = texts(value.get("type")), value.names or []
    return kind in (["tensor"], ["module"], ["list"]) and ("values" in names or "state_dict" in names)


def read_torch(value: Vector, file: str) -> Network:
    """Return the tensors of a file of format 0 to 2, by the names of the state_dict or of the list.

    A tensor by itself has no name. Raises `FormatError` if the bytes of a tensor are not a file of libtorch.
    """
    network = Network("torch", value)
    (kind,) = texts(value.get("type"))
    if kind == "tensor":
        tensors = [("", _tensor(value, file))]
    elif kind == "module":
        state = value.get("state_dict")
        members = state.pairs() if isinstance(state, Vector) and state.items is not None else ()
        tensors = [(name, _tensor(_unserialized(raw, file), file)) for name, raw in members]
    else:
        raws = ((path, leaf) for path, leaf in leaves(value.get("values"), file) if _TENSOR in classes_of(leaf))
        tensors = [(".".join(path), _tensor(_unserialized(raw, file), file)) for path, raw in raws]
    # trainable is unknown: R torch detaches the tensors when it writes these formats
    network.weights = infer_roles(weight.replace(name=name, layer=layer_of(name), trainable=None) for name, weight in tensors)
    network.module = value.get("module")
    network.facts |= {"class": author_classes(network.module), "kind": kind}
    return network


def as_source(raw: Value, file: str) -> Source:
    """Return the bytes of a raw vector. Raises `FormatError` for any other value."""
    if not isinstance(raw, Vector) or raw.kind != "raw" or not isinstance(raw.numbers, Stored):
        shown = "NULL" if raw is None else printable(raw, 60)
        raise FormatError(file, f"holds {shown} where a raw vector with the bytes of a tensor or a file is expected")
    return raw.numbers.source.part(raw.numbers.offset, raw.length)


def _unserialized(raw: Value, file: str) -> Value:
    source = as_source(raw, file)
    if is_compressed(source):
        raise FormatError(file, "holds a tensor with a compression of its own, which R torch never writes")
    return read_r(source)


def _tensor(value: Value, file: str) -> Weight:
    """Return the one tensor in a file of libtorch, which the R object holds as text or as bytes."""
    from steelyard.codecs.pickle.model_weights import as_weights
    from steelyard.codecs.pickle.walk import TensorWalk
    from steelyard.codecs.torch.archive import open_archive

    content = value.get("values") if isinstance(value, Vector) and value.items is not None else None
    if isinstance(content, Vector) and content.kind == "character":
        try:
            data = base64.b64decode("".join("".join(texts(content)).split()), validate=True)
        except ValueError as error:
            raise FormatError(file, f"the text of a tensor is not base64: {error}") from None
        source = from_bytes(data, file, within=content.source)
    else:
        source = as_source(content, file)
    archive = open_archive(source)
    tensors = TensorWalk(source, archive.decoder.decode, archive.scripted).through(archive.root).tensors
    if len(tensors) != 1:
        raise FormatError(file, f"a tensor of R torch is a file of {len(tensors)} tensors")
    return as_weights(tensors, source)[0]


# Format 3: a safetensors file, whose "__metadata__" has one more key
#   __r__, a JSON object:
#     type           "tensor", "module" or "list"
#     version        3
#     requires_grad  true or false for each key
#     special_dtype  for the key of a complex tensor, which is stored as bytes: {"dtype": "cfloat", "shape": [2]}
# and whose tensors are
#   <key>      of a module its name in the state_dict, of a list its address, of a single tensor "...unnamed..."
#   __robj__   uint8: the R serialization of the object; in a list, addresses of class torch_tensor_address are the tensors
def read_v3(source: Source, stored: Iterable[Weight], meta: dict[str, str]) -> Weights:
    """Return the tensors of a safetensors file that R torch wrote: in its order, by its names, without the R object.

    Raises `FormatError` for inconsistent metadata.
    """
    metadata = _metadata(source, meta.pop("__r__"))
    tensors = {weight.name: weight for weight in stored}
    robj = _r_object(source, tensors.pop(OBJECT, None))
    for name, fact in _mapping(metadata.get("special_dtype")).items():
        if name in tensors:
            tensors[name] = _as_complex(source, tensors[name], _mapping(fact))
    grads = _mapping(metadata.get("requires_grad"))
    tensors = {name: weight.replace(trainable=grads.get(name) is True) for name, weight in tensors.items()}
    kind = metadata.get("type")
    names = _list_names(robj, tensors, source) if kind == "list" else [(n, n if n != UNNAMED else "") for n in tensors]
    weights = infer_roles(_renamed(tensors, names))
    facts = {"package": "torch", "class": author_classes(robj), "kind": kind}
    return Weights(
        weights,
        meta={**meta, "format": "R torch 3", "networks": {"": facts}},
        orders=orders(weights, source, robj if kind == "module" else None),
    )


def _metadata(source: Source, text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise FormatError(source.name, "the metadata of R torch, __r__, is not a JSON object", 8)
    return metadata


def _mapping(value: object) -> dict[str, Any]:
    """Return a JSON object; R writes an empty one as an array."""
    return value if isinstance(value, dict) else {}


def _r_object(source: Source, weight: Weight | None) -> Value:
    """Return the R object that held the tensors, as an inert value; None if it cannot be read."""
    if weight is None or not isinstance(weight.read, Stored):
        return None
    try:
        return read_r(source.part(weight.read.offset, weight.size, OBJECT))
    except FormatError:
        return None  # the tensors of a module are named without it


def _as_complex(source: Source, weight: Weight, fact: dict[str, Any]) -> Weight:
    """Return a tensor that R torch stores as bytes with its complex dtype and its shape."""
    dtype, shape = _COMPLEX.get(str(fact.get("dtype"))), fact.get("shape")
    extents = tuple(shape) if isinstance(shape, list) else (shape,)
    if dtype is None or dtype == "float16" or any(type(extent) is not int or extent < 0 for extent in extents):
        return weight
    tensor = weight.replace(dtype=dtype, shape=extents, encoding=str(fact.get("dtype")))
    if not isinstance(weight.read, Stored) or tensor.nbytes != weight.size:
        raise FormatError(
            source.name, f"{printable(weight.name)} is not a {dtype} of shape {list(extents)}: it has {weight.size:,} bytes"
        )
    return tensor.replace(read=source.numbers(weight.read.offset, dtype))


def _list_names(robj: Value, tensors: dict[str, Weight], source: Source) -> list[tuple[str, str]]:
    """Return the key and the name of each tensor of a list: the R object has the names, and addresses as keys."""
    named = [
        (address, ".".join(path))
        for path, leaf in leaves(robj, source.name)
        if _ADDRESS in classes_of(leaf)
        for address in texts(leaf)
    ]
    if {address for address, _ in named} != {*tensors}:
        raise FormatError(source.name, f"is a list of R torch whose names are unknown: {OBJECT} does not match the tensors")
    return named


def _renamed(tensors: dict[str, Weight], names: list[tuple[str, str]]) -> list[Weight]:
    """Return the weights under their names, in this order; a repeated one is tied to its first name."""
    first: dict[str, str] = {}
    weights = []
    for key, name in names:
        owner = first.setdefault(key, name)
        weights.append(tensors[key].replace(name=name, layer=layer_of(name), tied=owner if owner != name else None))
    return weights
