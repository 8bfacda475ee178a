"""Accelerate: a folder to which it offloads a model, with the numbers of each weight in a file, and an index of all.

    index.json        {"fc.weight": {"dtype": "float32", "shape": [3, 4]}, ...}
    fc.weight.dat     the numbers, row-major, little-endian; those of bfloat16 as they are, a scalar as one number

An entry {"safetensors_file": ..., "weight_name": ...} names another file, which is read if it is in the same folder.
Source: `offload_weight` and `OffloadedWeightsLoader` in accelerate/utils/offload.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.limits import is_possible
from steelyard.codecs.plain import from_json
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize
from steelyard.errors import FileMissingError, FormatError, SteelyardError, UnsafeFileError, printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = ("index.json",)
_INDEX, _NUMBERS = "index.json", ".dat"


def sniff(source: Source) -> bool:
    """Recognise a folder with an index and files of numbers, or that index."""
    if source.is_folder:
        names = source.names()
        return _INDEX in names and any(name.endswith(_NUMBERS) for name in names)
    head = source.head(1 << 12) if source.name.replace("\\", "/").rpartition("/")[2] == _INDEX else b""
    return head.lstrip().startswith(b"{") and b'"dtype"' in head and b'"weight_map"' not in head


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of the index, in its order; one whose file is missing or of another size is refused when it is read."""
    index = source.beside(_INDEX) if source.is_folder else source
    if index.size > limits.JSON:
        raise FormatError(index.name, f"the index has {index.size:,} bytes, more than the {limits.JSON:,} that are allowed")
    text = index.read(0, index.size)
    check_json(text, index)
    content = from_json(text)
    if not isinstance(content, dict):
        raise FormatError(index.name, "the index is not an object of weights")
    return Weights(infer_roles(_weights(index, content)))


def _weights(index: Source, content: Mapping[str, Plain]) -> Iterator[Weight]:
    for name, entry in content.items():
        try:
            yield _weight(index, name, entry if isinstance(entry, dict) else {})
        except SteelyardError as error:
            if isinstance(error, UnsafeFileError):
                raise
            yield Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), layer=layer_of(name))


def _weight(index: Source, name: str, entry: Mapping[str, Plain]) -> Weight:
    file = entry.get("safetensors_file")
    if file is not None:
        return _of_safetensors(index, name, str(file), str(entry.get("weight_name", name)))
    dtype, listed = entry.get("dtype"), entry.get("shape")
    shape = tuple(length if type(length) is int else -1 for length in listed) if isinstance(listed, list) else (-1,)
    if not isinstance(dtype, str) or dtype not in ITEMSIZES or min(shape, default=0) < 0 or not is_possible(shape):
        raise FormatError(index.name, f"{printable(name)} lacks a type of numbers or a shape")
    size = prod(shape) * itemsize(dtype)
    plain = Weight(name=name, shape=shape, dtype=dtype, read=Refused(FormatError(index.name, "")), layer=layer_of(name))
    try:
        numbers = index.beside(name + _NUMBERS)
    except FileMissingError:
        return plain.replace(read=Refused(FormatError(index.name, f"the file {printable(name)}{_NUMBERS} is missing")))
    if numbers.size != size:
        what = f"{printable(name)} has shape {list(shape)} of {dtype}, which does not take {numbers.size:,} bytes"
        return plain.replace(read=Refused(FormatError(numbers.name, what)))
    return plain.replace(read=Stored(numbers, 0, dtype))


def _of_safetensors(index: Source, name: str, file: str, own: str) -> Weight:
    """Return a weight of another file of the folder; the index has its whole path, of which only the last word is used."""
    from steelyard.formats import part_in

    word = file.replace("\\", "/").rpartition("/")[2]
    try:
        held = part_in(index.beside(word))
    except FileMissingError:
        raise FormatError(index.name, f"{printable(name)} is in {printable(word)}, which is not in this folder") from None
    if own not in held:
        raise FormatError(index.name, f"{printable(own)} is not in {printable(word)}, which the index names")
    return held[own].replace(name=name, layer=layer_of(name), tied=None)
