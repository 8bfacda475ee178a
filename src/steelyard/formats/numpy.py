"""NumPy: `.npy` is a header and the numbers, `.npz` a zip archive of them."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs.budget import check_json
from steelyard.codecs.contents import Contents, headers
from steelyard.codecs.metadata import dump_facts, explained, owners, with_facts
from steelyard.codecs.pickle.arrays import refused
from steelyard.codecs.pickle.model_weights import as_weights
from steelyard.codecs.pickle.npy import MAGIC, array_in, numbers_in
from steelyard.codecs.subbyte import BITS
from steelyard.codecs.zip import Member, directory, member_source, mentions
from steelyard.core.casting import common_dtype, standard
from steelyard.core.net_facts import with_found
from steelyard.core.readers import raw_chunks
from steelyard.core.vector import VectorLayout, runs, warn_of_integers
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, printable
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.core.protocols import Scope
    from steelyard.core.vector import Order
    from steelyard.storage.source import Source

SUFFIXES = (".npz", ".npy")

FACTS = "steelyard"
"""The key of Steelyard's facts in the comment of a member."""
MEMBER_TEXT = 0xFFFF
"""The maximal length of a member's name, and of its comment, in bytes."""

_AHEAD = 512
"""bytes from the beginning of a member that hold its header, without the name, and that of its array"""
_KINDS = {"bool": "b", "int": "i", "uint": "u", "float": "f", "complex": "c"}


def sniff(source: Source) -> bool:
    """Recognise the magic number of `.npy`, or a zip archive of `.npy` members that is not of another format."""
    if source.head(6) == MAGIC or source.name.lower().endswith(".npz"):
        return source.head(2) in (b"PK", MAGIC[:2])
    return mentions(source, b".npy") and not mentions(source, b"schema.json")


def read(source: Source, scope: Scope) -> Weights:
    """List arrays in the order of the archive. A single array has no name; the members of an array of objects have their keys."""
    if source.head(6) == MAGIC:
        return Weights(with_facts(as_weights(array_in(source), source), None))
    members = directory(source)
    check_json(b"".join([member.comment for member in members.values()]), source)
    facts = _kept_facts(members)
    tensors: list[PickledTensor] = []
    plain: set[str] = set()
    source.ahead((member.header, min(len(name) + _AHEAD, member.end - member.header)) for name, member in members.items())
    pages = headers(source, members)
    for name, member in members.items():
        if name.endswith(".npy") or _is_array(source, member):
            key = name.removesuffix(".npy")
            own, is_plain = _member(member_source(source, member, pages=pages), source, facts.get(key, {}).get("dtype"))
            for tensor in own:
                tensor.path = (key, *tensor.path)
            tensors += own
            plain |= {name} if is_plain else set()
        elif not name.endswith("/"):
            tensors.append(_raw(source, name, member))
    listed = Weights(explained(as_weights(tensors, source), facts))
    return with_found(listed, source, "archives", Contents(members, frozenset(plain)))


def _is_array(source: Source, member: Member) -> bool:
    """Whether a member is an array whatever its name is, as NumPy decides."""
    try:
        return member.size >= len(MAGIC) and member_source(source, member).read(0, len(MAGIC)) == MAGIC
    except FormatError:
        return False


def _raw(source: Source, name: str, member: Member) -> PickledTensor:
    """List a member that is not an array: NumPy gives its bytes as they are."""
    tensor = refused(source, f"is {member.size:,} raw bytes, not an array", encoding="bytes")
    tensor.path = (name,)
    return tensor


def _member(content: Source, source: Source, dtype: Any) -> tuple[list[PickledTensor], bool]:
    """Read one member, and return whether it is an array of numbers; a damaged one is refused, and the others are read."""
    known = dtype if isinstance(dtype, str) else None
    try:
        tensor = numbers_in(content, known)
        return (array_in(content, known), False) if tensor is None else ([tensor], True)
    except FormatError as error:
        return [refused(source, str(error).removeprefix(f"{printable(source.name)}: "))], False


def _kept_facts(members: Mapping[str, Member]) -> dict[str, Any]:
    """Return the facts that Steelyard kept in the members' comments, in the order of the weights."""
    facts: dict[str, Any] = {}
    for member in members.values():
        try:
            kept = json.loads(member.comment or b"{}")
        except (ValueError, RecursionError):
            continue
        if isinstance(kept, dict) and isinstance(kept.get(FACTS), dict):
            facts.update(kept[FACTS])
    places = {name: fact.get("place") for name, fact in facts.items() if isinstance(fact, dict)}
    # tied names are in the comment of their owner's member, so the order is not that of the members
    known = {name: place for name, place in places.items() if isinstance(place, int)}
    return {name: facts[name] for name in sorted(known, key=known.__getitem__)}


def write(weights: Weights, path: Path) -> None:
    """Write an archive that `numpy.load` reads; the facts of each weight are in the comment of its member."""
    wide = next((weight for weight in weights.values() if weight.dtype == "float128"), None)
    if wide is not None:
        what = "is a long double, which other machines read otherwise; convert it to float64"
        raise FormatError(str(path), f"{printable(wide.name)} {what}")
    with replacing(path) as file:
        if path.suffix == ".npy":
            if len(weights) != 1:
                raise FormatError(str(path), f"a .npy file holds one array, not {len(weights)}; write a .npz")
            (weight,) = weights.values()
            if _kind(weight.dtype) == "V":
                raise FormatError(str(path), f"a .npy file has no word for {weight.dtype}; write a .npz, or convert it first")
            file.writelines(pieces_of_array(weight))
            return
        for _ in _archived(weights, file):
            pass


def pieces(weights: Weights) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an archive of several weights."""
    buffer = _Buffer()
    for _ in _archived(weights, buffer):
        yield from buffer.taken()
    yield from buffer.taken()


def pieces_of_array(weight: Weight) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a `.npy` file; each piece is valid until the next."""
    yield _header_text(weight.shape, weight.dtype)
    yield from raw_chunks(weight)


class _Buffer:
    """A write-only file without seeking, from which the bytes of an archive are taken piece by piece."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return

    def taken(self) -> list[bytes]:
        held, self._held = self._held, []
        return held


def _archived(weights: Weights, file: Any) -> Iterator[None]:
    """Write an archive, and yield after each piece of it."""
    facts, owned = json.loads(dump_facts(weights)), owners(weights)
    kept: dict[str, dict[str, Any]] = {}
    for place, (name, owner) in enumerate(owned.items()):
        kept.setdefault(owner, {})[name] = {**facts[name], "place": place}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for owner, fact in kept.items():
            yield from _add(archive, weights[owner], json.dumps({FACTS: fact}, separators=(",", ":")))


def write_vector(weights: Weights, path: str, order: Order) -> str:
    """Write all weights as one vector into a `.npy` file, piece by piece, and return its dtype.

    The dtype is the smallest of NumPy's own that holds all weights. Raises `FormatError` for another suffix, and `ShapeError`
    or `LossyError` as `to_vector` does.
    """
    import numpy as np

    if not path.lower().endswith(".npy"):
        raise FormatError(path, "a vector is written as .npy; choose a name with that suffix")
    layout = VectorLayout(list(weights.distinct().values()))
    dtype = standard(common_dtype(layout.dtypes))
    with replacing(path) as file:
        file.write(_header_text((layout.size,), dtype.name))
        for run in runs(layout, dtype, order):
            file.write(np.ascontiguousarray(run, dtype.newbyteorder("<")).data)
    warn_of_integers(layout)
    return dtype.name


def _add(archive: zipfile.ZipFile, weight: Weight, comment: str) -> Iterator[None]:
    name = f"{weight.name}.npy"
    if "\0" in name or max(len(name.encode()), len(comment)) > MEMBER_TEXT:
        raise FormatError("a .npz file", f"cannot hold {printable(weight.name)}: its name or facts are too long; rename it")
    entry = zipfile.ZipInfo(name)
    entry.comment = comment.encode()
    with archive.open(entry, "w", force_zip64=True) as member:
        for piece in pieces_of_array(weight):
            member.write(piece)
            yield


def _header_text(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the header of a `.npy` file: version 1, little-endian, row-major; types that NumPy lacks as raw bytes."""
    if dtype == "float128":
        raise FormatError("a .npy file", "would hold a long double, which other machines read otherwise; convert it to float64")
    if dtype == UNKNOWN:
        raise FormatError("a .npy file", "would hold an array whose type is not known, so that it cannot be read")
    kind = _kind(dtype)
    size = itemsize(dtype)
    descr = f"{'|' if size == 1 else '<'}{kind}{size}"
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    # the data begin at a multiple of 64: after 10 bytes of magic, version and length, this text, and its line end
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return MAGIC + b"\1\0" + struct.pack("<H", len(text)) + text.encode("latin-1")


def _kind(dtype: str) -> str:
    """Return the letter of a type in a header; "V", for raw bytes, of a type that NumPy lacks."""
    return "V" if dtype in BITS else _KINDS.get(dtype.rstrip("0123456789"), "V")
