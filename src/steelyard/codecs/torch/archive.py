"""What `torch.save` and `torch.jit.save` write: a zip archive of pickles and storages, or, before 1.6, one stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.audit import calls
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.torch.tensors import Tensors, size_of, storage_dtype
from steelyard.codecs.zip import directory, is_zip, member_source, mentions
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.zip import Member
    from steelyard.storage.source import Source

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that every stream before 1.6 begins with."""
_MAGIC = MAGIC.to_bytes(10, "little")
PROTOCOL = 1001


class Archive:
    """What one file holds: the object, what tells its tensors, the names of the tensors of compiled modules.

    `constants` are the tensors of compiled code, `code` is what a pickle loader would run, `meta` what the file
    says of itself.
    """

    __slots__ = ("code", "constants", "facts", "meta", "references", "root", "scripted", "source", "tensors")

    def __init__(self, source: Source, root: Any, tensors: Tensors, machine: Machine, meta: dict[str, Any]) -> None:
        self.source = source
        self.root = root
        self.tensors = tensors
        self.code = calls(machine)
        self.references = machine.references
        self.meta = meta
        self.facts = ""
        self.scripted: dict[str, tuple[list[str], list[str]]] = {}
        self.constants: tuple[Any, Tensors] | None = None


def is_stream(source: Source) -> bool:
    """Tell whether the source begins with the magic number of a stream before 1.6, in any pickle protocol."""
    head = source.head(64)
    return head[:1] == b"\x80" and (b"\x8a\n" + _MAGIC) in head[:32]


def open_archive(source: Source, depth: int = 0) -> Archive:
    """Read the pickles of a file of torch. Raises `FormatError` for a file that is none, or is damaged."""
    if depth >= limits.NESTED_FILES:
        raise FormatError(source.name, f"more than {limits.NESTED_FILES} files of torch lie in one another")
    if is_zip(source):
        return _open_zip(source, depth)
    if is_stream(source):
        return _open_stream(source, depth)
    raise FormatError(source.name, "is neither a zip archive nor a stream of torch")


def unpack(data: Source) -> tuple[Any, list[str]]:
    """Return the object in a file of torch that lies in a pickle, and what loading it would have run; None for other bytes."""
    if not (mentions(data, b"data.pkl") or is_stream(data)):
        return None, []
    archive = open_archive(data, 1)
    for reference in archive.references:
        reference.home = archive.tensors
    return archive.root, archive.code


def nested_reader(depth: int = 0) -> Any:
    """Return what reads a file of torch inside another, as `Tensors` takes it."""

    def read(data: Source) -> tuple[Tensors, Any]:
        inner = open_archive(data, depth + 1)
        return inner.tensors, inner.root

    return read


def _open_zip(source: Source, depth: int) -> Archive:
    members = directory(source)
    name = _pickle_name(source, members)
    base = name.removesuffix("data.pkl")
    order = _text(source, members, f"{base}byteorder") or "little"
    if order not in ("little", "big"):
        raise FormatError(source.name, f"the byte order is {printable(order, 40)!r}, neither little nor big")
    byteorder = "<" if order == "little" else ">"
    tensors = _tensors(source, members, f"{base}data/", byteorder, depth)
    machine = Machine(member_source(source, members[name]))
    archive = Archive(source, machine.load(), tensors, machine, {"format": "PyTorch"})
    archive.meta |= {"serialization version": version} if (version := _text(source, members, f"{base}version")) else {}
    archive.facts = _text(source, members, f"{base}steelyard.json", limits.JSON)
    if f"{base}constants.pkl" in members:
        archive.meta["format"] = "TorchScript"
        archive.scripted = _scripted(source, members, base)
        inner = Machine(member_source(source, members[f"{base}constants.pkl"]))
        archive.constants = inner.load(), _tensors(source, members, f"{base}constants/", byteorder, depth)
        archive.code += calls(inner)
    return archive


def _pickle_name(source: Source, members: dict[str, Member]) -> str:
    found = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        what = (
            f"{len(found)} members called data.pkl; which one is meant cannot be told" if found else "no member called data.pkl"
        )
        raise FormatError(source.name, f"the archive has {what}")
    return found[0]


def _tensors(source: Source, members: dict[str, Member], folder: str, byteorder: str, depth: int) -> Tensors:
    def open_storage(key: Any, word: str, count: int) -> Source:
        member = members.get(f"{folder}{key}")
        if member is None:
            raise FormatError(source.name, f"the archive lacks the storage {printable(folder)}{printable(key, 60)}")
        return member_source(source, member)

    return Tensors(source, open_storage, byteorder, nested_reader(depth))


def _text(source: Source, members: dict[str, Member], name: str, limit: int = 0) -> str:
    """Return a small text member, or nothing where there is none."""
    member = members.get(name)
    if member is None or member.size > (limit or limits.TEXT):
        return ""
    content = member_source(source, member)
    return content.read(0, content.size).decode("utf-8", "replace").strip()


_CLASS = r"(?m)^class (\w+)\(Module\):\n((?: .*\n|\n)*)"
_LIST = r"(?m)^  __(parameters|buffers)__ = \[([^\]]*)\]"


def _scripted(source: Source, members: dict[str, Member], base: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by the class of a compiled module, what its code calls parameters and buffers."""
    found = {}
    for name in members:
        if name.startswith(f"{base}code/") and name.endswith(".py"):
            module = name[len(base) + 5 : -3].replace("/", ".")
            for match in re.finditer(_CLASS, _text(source, members, name) + "\n"):
                lists = {kind: re.findall(r'"([^"]*)"', names) for kind, names in re.findall(_LIST, match[2])}
                found[f"{module}.{match[1]}"] = lists.get("parameters", []), lists.get("buffers", [])
    return found


def _open_stream(source: Source, depth: int) -> Archive:
    machine = Machine(source)
    magic = machine.load()
    version = machine.load(machine.offset)
    if magic != MAGIC or version != PROTOCOL:
        raise FormatError(source.name, f"is a stream of version {printable(version, 40)}; known is {PROTOCOL}")
    info = machine.load(machine.offset)
    root = machine.load(machine.offset)
    keys = machine.load(machine.offset)
    places = _places(source, machine, keys)

    def open_storage(key: Any, word: str, count: int) -> Source:
        if key not in places:
            raise FormatError(source.name, f"the file lacks the storage {printable(key, 60)}")
        return source.part(*places[key])

    meta: dict[str, Any] = {"format": "PyTorch before 1.6", "serialization version": str(version)}
    meta |= {"system": dict(info)} if type(info) is dict and all(type(key) is str for key in info) else {}
    return Archive(source, root, Tensors(source, open_storage, "<", nested_reader(depth)), machine, meta)


def _places(source: Source, machine: Machine, keys: Any) -> dict[Any, tuple[int, int]]:
    """Return where each storage lies: a count of elements, then the elements; their type stands in the references."""
    sizes: dict[Any, int] = {}
    for reference in machine.references:
        key = reference.key
        if type(key) is tuple and len(key) >= 5 and type(key[2]) in (str, int):
            try:
                sizes[key[2]] = size_of(storage_dtype(key[1]))
            except (FormatError, AttributeError):
                continue
    places = {}
    offset = machine.offset
    if type(keys) is not list or any(type(key) not in (str, int) for key in keys):
        raise FormatError(source.name, "the list of storages is no list of names", offset)
    for key in keys:
        if key not in sizes:
            raise FormatError(
                source.name, f"the type of the storage {printable(key, 60)} is not known: nothing refers to it", offset
            )
        count = int.from_bytes(source.read(offset, 8), "little", signed=True)
        length = count * sizes[key]
        if count < 0 or offset + 8 + length > source.size:
            what = f"the storage {printable(key, 60)} claims {count:,} elements, more than the file has (partial download?)"
            raise FormatError(source.name, what, offset)
        places[key] = offset + 8, length
        offset += 8 + length
    return places
