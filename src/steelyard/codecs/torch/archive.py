"""The files of `torch.save` and `torch.jit.save`: a zip archive of pickles and storages or, before 1.6, one stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Global, is_args
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.codecs.torch.words import size_of, storage_dtype
from steelyard.codecs.zip import directory, is_zip, member_source, mentions
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.torch.tensors import Nested
    from steelyard.codecs.zip import Member
    from steelyard.storage.source import Source

MAGIC = 0x1950A86A20F9469CFC6C
"""The number with which every stream before 1.6 begins."""
_MAGIC = MAGIC.to_bytes(10, "little")
PROTOCOL = 1001


class Archive:
    """One file: its root object, the decoder of its tensors, and the names of the tensors of compiled modules.

    `constants` are the tensors of compiled code with their decoder,
    `metadata` the facts that Steelyard kept of the weights, `meta` the file's description of itself.
    """

    __slots__ = ("constants", "decoder", "meta", "metadata", "references", "root", "scripted", "source", "states")

    def __init__(self, source: Source, root: Pickled, decoder: TensorDecoder, machine: Machine, meta: dict[str, Any]) -> None:
        self.source = source
        self.root = root
        self.decoder = decoder
        self.references = machine.references
        self.states = machine.states
        self.meta = meta
        self.metadata = ""
        self.scripted: dict[str, tuple[list[str], list[str]]] = {}
        self.constants: tuple[Pickled, TensorDecoder] | None = None


def is_stream(source: Source) -> bool:
    """Whether the source begins with the magic number of a stream before 1.6, in any pickle protocol."""
    head = source.head(64)
    return head[:1] == b"\x80" and (b"\x8a\n" + _MAGIC) in head[:32]


def open_archive(source: Source, depth: int = 0) -> Archive:
    """Read the pickles of a file of torch. Raises `FormatError` for any other file, and a damaged one."""
    if depth >= limits.NESTED_FILES:
        raise FormatError(source.name, f"more than {limits.NESTED_FILES} levels of nested files of torch")
    if is_zip(source):
        return _open_zip(source, depth)
    if is_stream(source):
        return _open_stream(source, depth)
    raise FormatError(source.name, "is neither a zip archive nor a stream of torch")


def unpack(data: Source) -> Pickled:
    """Return the root of a file of torch that is nested in a pickle; None for other bytes."""
    if not (mentions(data, b"data.pkl") or is_stream(data)):
        return None
    archive = open_archive(data, 1)
    for reference in archive.references:
        reference.home = archive.decoder
    return archive.root


def nested_reader(depth: int = 0) -> Nested:
    """Return the function that opens a file of torch inside another, for a `TensorDecoder`."""

    def read(data: Source) -> tuple[TensorDecoder, Pickled]:
        inner = open_archive(data, depth + 1)
        return inner.decoder, inner.root

    return read


# The members of an archive, below a folder of any name:
#   data.pkl       the pickle of the object; its tensors refer to storages by key
#   data/<key>     a storage, stored without compression
#   byteorder      "little" or "big"; absent before 2.0
#   version        the version of the serialisation
#   constants.pkl  TorchScript: a pickle of the constants of compiled code, whose storages are constants/<key>
#   code/*.py      TorchScript: the code, which lists the parameters and buffers of each class
def _open_zip(source: Source, depth: int) -> Archive:
    members = directory(source)
    name = _pickle_name(source, members)
    base = name.removesuffix("data.pkl")
    order = _text(source, members, f"{base}byteorder") or "little"
    if order not in ("little", "big"):
        raise FormatError(source.name, f"the byte order is {quoted(order, 40)}, neither little nor big")
    byteorder = "<" if order == "little" else ">"
    decoder = _decoder(source, members, f"{base}data/", byteorder, depth)
    machine = Machine(member_source(source, members[name]))
    archive = Archive(source, machine.load(), decoder, machine, {"format": "PyTorch"})
    archive.meta |= {"serialization version": version} if (version := _text(source, members, f"{base}version")) else {}
    archive.metadata = _text(source, members, f"{base}steelyard.json", limits.JSON)
    if f"{base}constants.pkl" in members:
        archive.meta["format"] = "TorchScript"
        archive.scripted = _scripted(source, members, base)
        inner = Machine(member_source(source, members[f"{base}constants.pkl"]))
        archive.constants = inner.load(), _decoder(source, members, f"{base}constants/", byteorder, depth)
    return archive


def _pickle_name(source: Source, members: dict[str, Member]) -> str:
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        what = f"has {len(pickles)} members called data.pkl and is ambiguous" if pickles else "has no member called data.pkl"
        raise FormatError(source.name, f"the archive {what}")
    return pickles[0]


def _decoder(source: Source, members: dict[str, Member], folder: str, byteorder: str, depth: int) -> TensorDecoder:
    def open_storage(key: str | int, word: str, count: int) -> Source:
        member = members.get(f"{folder}{key}")
        if member is None:
            raise FormatError(source.name, f"the archive lacks the storage {printable(folder)}{printable(key, 60)}")
        return member_source(source, member)

    return TensorDecoder(source, open_storage, byteorder, nested_reader(depth))


def _text(source: Source, members: dict[str, Member], name: str, limit: int = 0) -> str:
    """Return a small text member, or "" if there is none."""
    member = members.get(name)
    if member is None or member.size > (limit or limits.TEXT):
        return ""
    content = member_source(source, member)
    return content.read(0, content.size).decode("utf-8", "replace").strip()


CODE_COST = 8
"""bytes of memory that stand for the time to search a byte of code"""
_CLASS = r"(?m)^class (\w+)\(Module\):\n((?: .*\n|\n)*)"
_LIST = r"(?m)^  __(parameters|buffers)__ = \[([^\]]*)\]"


def _scripted(source: Source, members: dict[str, Member], base: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return the names of the parameters and buffers of each class of a compiled module, from its code."""
    kinds, budget = {}, Budget(source)
    for name, member in members.items():
        if name.startswith(f"{base}code/") and name.endswith(".py"):
            budget.spend(CODE_COST * member.size)
            module = name[len(base) + 5 : -3].replace("/", ".")
            for match in re.finditer(_CLASS, _text(source, members, name) + "\n"):
                lists = {kind: re.findall(r'"([^"]*)"', names) for kind, names in re.findall(_LIST, match[2])}
                kinds[f"{module}.{match[1]}"] = lists.get("parameters", []), lists.get("buffers", [])
    return kinds


# Before 1.6, a file is five pickles, then the storages:
#   1  the magic number
#   2  the version of the protocol, 1001
#   3  a dict of the system that wrote the file
#   4  the object; its tensors refer to storages by key
#   5  the list of keys, in the order of the storages
def _open_stream(source: Source, depth: int) -> Archive:
    machine = Machine(source)
    magic = machine.load()
    version = machine.load(machine.offset)
    if magic != MAGIC or version != PROTOCOL:
        raise FormatError(source.name, f"is a stream of version {printable(version, 40)}; known is {PROTOCOL}")
    info = machine.load(machine.offset)
    root = machine.load(machine.offset)
    keys = machine.load(machine.offset)
    held = places(source, machine, keys, machine.offset)

    def open_storage(key: str | int, word: str, count: int) -> Source:
        if key not in held:
            raise FormatError(source.name, f"the file lacks the storage {printable(key, 60)}")
        return source.part(*held[key])

    meta: dict[str, Any] = {"format": "PyTorch before 1.6", "serialization version": str(version)}
    meta |= {"system": dict(info)} if type(info) is dict and all(type(key) is str for key in info) else {}
    return Archive(source, root, TensorDecoder(source, open_storage, "<", nested_reader(depth)), machine, meta)


# Before 1.6, the storages follow the last pickle, in the order of the list of keys that it holds:
#   offset  size       field
#   0       8          number of elements, little-endian; their type is in the references of the pickle
#   8       n * width  elements
def places(source: Source, machine: Machine, keys: Pickled, offset: int) -> dict[str | int, tuple[int, int]]:
    """Return offset and length of each storage, in bytes; the storages begin at `offset`."""
    sizes: dict[str | int, int] = {}
    for reference in machine.references:
        _, kind, name, *_ = reference.key if is_args(reference.key, 5) else (None,) * 3
        if isinstance(kind, Global) and (type(name) is str or type(name) is int):
            try:
                sizes[name] = size_of(storage_dtype(kind))
            except FormatError:
                continue
    held: dict[str | int, tuple[int, int]] = {}
    names = [key for key in keys if type(key) is str or type(key) is int] if isinstance(keys, list) else []
    if not isinstance(keys, list) or len(names) < len(keys):
        raise FormatError(source.name, "the list of storages is not a list of names", offset)
    for key in names:
        if key not in sizes:
            raise FormatError(
                source.name, f"the type of the storage {printable(key, 60)} is not known: nothing refers to it", offset
            )
        count = int.from_bytes(source.read(offset, 8), "little", signed=True)
        length = count * sizes[key]
        if count < 0 or offset + 8 + length > source.size:
            what = f"the storage {printable(key, 60)} claims {count:,} elements, more than the file has (partial download?)"
            raise FormatError(source.name, what, offset)
        held[key] = offset + 8, length
        offset += 8 + length
    return held
