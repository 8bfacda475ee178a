"""NumPy: `.npy` is a header and the numbers, `.npz` a zip archive of them."""

from __future__ import annotations

import ast
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs.facts import dump_facts, with_facts
from steelyard.codecs.zip import Member, directory, is_zip, member_source
from steelyard.core.casting import common_dtype, standard
from steelyard.core.dtypes import ITEMSIZES, itemsize
from steelyard.core.readers import by_rows, raw_chunks, refusing
from steelyard.core.replacing import replacing
from steelyard.core.vector import runs
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.source import Source
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array, Reader

SUFFIXES = (".npz", ".npy")

MAGIC = b"\x93NUMPY"
FACTS = "steelyard"
"""The key of the facts in the comments of an archive's members."""
HEADER_LIMIT = 10_000
"""Bytes that a header may take: NumPy's own limit for files that are not trusted."""

_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


def sniff(source: Source) -> bool:
    """The magic of `.npy`, or a zip archive with a member that ends in `.npy`."""
    if source.head(6) == MAGIC:
        return True
    return is_zip(source) and source.name.lower().endswith(".npz")


def read(source: Source, part: str) -> Weights:
    """In the order of the archive; an array that lies alone has no name."""
    if source.head(6) == MAGIC:
        return Weights(with_facts([_weight("", source)], None))
    members = directory(source)
    facts = _kept_facts(members)
    stored = [
        _weight(name.removesuffix(".npy"), member_source(source, member), facts.get(name.removesuffix(".npy"), {}).get("dtype"))
        for name, member in members.items()
        if name.endswith(".npy")
    ]
    return Weights(with_facts(stored, json.dumps(facts)))


def _weight(name: str, source: Source, dtype: str | None = None) -> Weight:
    """Make a weight of one array; `dtype` names what NumPy stores as bytes without a meaning."""
    offset, descr, fortran, shape = _header(source)
    order, word = _dtype(source, descr, dtype)
    size = prod(shape) * (ITEMSIZES[word] if word != "object" else 0)
    if offset + size > source.size or (offset + size < source.size and word != "object"):
        raise FormatError(
            source.name, f"shape {list(shape)} of {descr} takes {size:,} bytes, but {source.size - offset:,} follow the header"
        )
    if word == "object":
        reader: Reader = refusing(
            FormatError(source.name, f"holds {descr}, not numbers; an array of Python objects is never unpickled")
        )
    else:
        reader = source.numbers(offset, word, order)
        if fortran and len(shape) > 1:
            reader = _by_columns(reader, shape)
    return Weight(name=name, shape=shape, dtype=word, stored=descr, read=reader)


def _by_columns(flat: Reader, shape: tuple[int, ...]) -> Reader:
    """Read an array that lies column by column; it must be read whole for any of its rows."""

    def rows(first: int, last: int) -> Array:
        return flat(0, prod(shape)).reshape(shape, order="F")[first:last]

    return by_rows(shape, rows)


def _header(source: Source) -> tuple[int, str, bool, tuple[int, ...]]:
    """Return where the numbers begin, the type's code, whether columns come first, and the shape."""
    head = source.read(0, 12)
    if head[:6] != MAGIC or head[6] not in (1, 2, 3):
        raise FormatError(source.name, "is no .npy file of version 1 to 3", 0)
    wide = head[6] > 1
    begin = 12 if wide else 10
    (length,) = struct.unpack("<L" if wide else "<H", head[8:begin])
    if length > HEADER_LIMIT:
        raise FormatError(source.name, f"the header claims {length:,} bytes, more than the {HEADER_LIMIT:,} that are allowed", 8)
    try:
        fact = ast.literal_eval(source.read(begin, length).decode("utf-8" if head[6] == 3 else "latin-1").strip())
        descr, fortran, shape = fact["descr"], fact["fortran_order"], fact["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise FormatError(source.name, f"the header is no dictionary of descr, fortran_order and shape: {error}", begin) from None
    if (
        type(fortran) is not bool
        or not isinstance(shape, tuple)
        or any(type(i) is not int or i < 0 for i in shape)
        or len(shape) > 64
    ):
        raise FormatError(
            source.name, f"the header has a shape or order that makes no sense: {printable(shape)}, {printable(fortran)}", begin
        )
    return begin + length, descr if isinstance(descr, str) else repr(descr), fortran, shape


def _dtype(source: Source, descr: str, dtype: str | None) -> tuple[str, str]:
    """Return byte order and word of a type code such as "<f4"; "object" for what holds no numbers."""
    order, kind, size = descr[:1], descr[1:2], descr[2:]
    if order not in ("<", ">", "|", "=") or not size.isascii() or not size.isdigit():
        return "<", "object"
    if kind == "V" and dtype in ITEMSIZES and itemsize(dtype) == int(size):
        return "<", dtype
    if kind == "b" and size == "1":
        return "<", "bool"
    word = f"{_KINDS.get(kind, '')}{int(size) * 8}"
    return (">" if order == ">" else "<"), word if word in ITEMSIZES and kind in _KINDS else "object"


def _kept_facts(members: Mapping[str, Member]) -> dict[str, Any]:
    """Return what Steelyard kept in the members' comments, in the order of the weights."""
    facts: dict[str, Any] = {}
    for member in members.values():
        try:
            kept = json.loads(member.comment or b"{}")
        except (ValueError, RecursionError):
            continue
        if isinstance(kept, dict) and isinstance(kept.get(FACTS), dict):
            facts.update(kept[FACTS])
    places = {name: fact.get("place") for name, fact in facts.items() if isinstance(fact, dict)}
    known = {name: place for name, place in places.items() if isinstance(place, int)}
    return {name: facts[name] for name in sorted(known, key=known.__getitem__)}


def write(weights: Weights, path: Path) -> None:
    """An archive that `numpy.load` reads; what each weight means stands in the comment of its member."""
    with replacing(path) as file:
        if path.suffix == ".npy":
            if len(weights) != 1:
                raise FormatError(str(path), f"a .npy file holds one array, not {len(weights)}; write a .npz")
            file.writelines(_npy(next(iter(weights.values()))))
            return
        facts = json.loads(dump_facts(weights))
        for place, fact in enumerate(facts.values()):
            fact["place"] = place
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for weight in weights.values():
                if weight.tied not in weights:
                    shared = {name: fact for name, fact in facts.items() if weight.name in (name, fact.get("tied"))}
                    _add(archive, weight, json.dumps({FACTS: shared}, separators=(",", ":")))


def write_vector(weights: Weights, path: str, order: Order) -> str:
    """Write all weights as one vector into a `.npy` file, piece by piece, and return its dtype.

    It has the smallest type that holds all weights, of those that every NumPy reads.
    Raises `FormatError` for another suffix, and `ShapeError` or `LossyError` as `to_vector` does.
    """
    import numpy as np

    if not path.lower().endswith(".npy"):
        raise FormatError(path, "a vector is written as .npy; give a name that ends so")
    plan = weights._distinct()
    dtype = standard(common_dtype(plan.dtypes))
    with replacing(path) as file:
        file.write(_header_text((plan.size,), dtype.name))
        for run in runs(plan, dtype, order):
            file.write(np.ascontiguousarray(run, dtype.newbyteorder("<")).data)
    return dtype.name


def _add(archive: zipfile.ZipFile, weight: Weight, comment: str) -> None:
    entry = zipfile.ZipInfo(f"{weight.name}.npy")
    entry.comment = comment.encode()
    with archive.open(entry, "w", force_zip64=True) as member:
        for chunk in _npy(weight):
            member.write(chunk)


def _npy(weight: Weight) -> Iterator[bytes | memoryview]:
    yield _header_text(weight.shape, weight.dtype)
    yield from raw_chunks(weight)


def _header_text(shape: tuple[int, ...], dtype: str) -> bytes:
    """Begin a `.npy` file: version 1, little-endian, row-major; types that NumPy lacks as bytes of their size."""
    kinds = {word: kind for kind, word in _KINDS.items()}
    kind = kinds.get(dtype.rstrip("0123456789"), "V")
    size = itemsize(dtype)
    descr = f"{'|' if size == 1 else '<'}{kind}{size}"
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return MAGIC + b"\1\0" + struct.pack("<H", len(text)) + text.encode("latin-1")
