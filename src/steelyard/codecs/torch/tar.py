"""The tar archives of PyTorch 0.1: a pickle that refers to objects by their numbers, and the tensors and storages of these.

    sys_info   a pickle: {"protocol_version": 1000, "little_endian": True, ...}
    storages   a pickle of their number; for each a pickle (number, device, class), its length, uint64, its elements;
               then a pickle of a list of views (number, number of the storage, offset, length)
    tensors    a pickle of their number; for each a pickle (number, number of the storage, class), then its axes, int32, 4 bytes
               that are not used, int64 for the length of each axis, for each stride, and for the offset
    pickle     the object; its persistent ids are these numbers

Source: `legacy_load` in torch/serialization.py. Burn writes no tensors, and keys of storages as plain tuples in its pickle.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Global, Persistent, is_args
from steelyard.codecs.tar import is_tar, tar_members
from steelyard.codecs.torch.archive import Archive
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.codecs.torch.words import size_of, storage_dtype
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.torch.tensors import OldTensor
    from steelyard.storage.source import Source

_PICKLE, _STORAGES, _TENSORS, _SYSTEM = "pickle", "storages", "tensors", "sys_info"


def is_old_tar(source: Source) -> bool:
    """Whether the source is a tar archive of these members; some may be missing, or damaged."""
    if not is_tar(source):
        return False
    names: set[str] = set()
    try:
        names.update(name for name, _ in tar_members(source))
    except FormatError:
        return bool(names) and source.head(8) == _SYSTEM.encode()
    return _PICKLE in names and not names.isdisjoint((_STORAGES, _SYSTEM))


def open_tar(source: Source) -> Archive:
    """Read the pickles of an archive. Raises `FormatError` for a damaged one."""
    members = dict(tar_members(source))
    if not {_PICKLE, _STORAGES} <= members.keys():
        raise FormatError(source.name, "lacks the pickle or the storages of a file of PyTorch 0.1")
    info = Machine(members[_SYSTEM]).load() if _SYSTEM in members else {}
    if isinstance(info, dict) and info.get("little_endian") is False:
        raise FormatError(source.name, "is big-endian, which is not supported")
    objects = _Objects(members[_STORAGES])
    if _TENSORS in members:
        objects.add_tensors(members[_TENSORS])
    machine = Machine(members[_PICKLE])
    root = machine.load()
    decoder = TensorDecoder(source, objects.opened, "<", old=objects.tensors)
    return Archive(source, root, decoder, machine, {"format": "PyTorch 0.1"})


class _Objects:
    """The storages of an archive, and its tensors by their numbers; a storage that a pickle refers to is one too."""

    __slots__ = ("_kinds", "_source", "_storages", "tensors")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._storages: dict[int, tuple[int, int]] = {}  # where each is, and its length in bytes
        self._kinds: dict[int, tuple[Pickled, ...]] = {}  # the key of each, as later files have it
        self.tensors: dict[int, OldTensor] = {}
        machine = Machine(source)
        count, at = _count(source, machine.load()), machine.offset
        for _ in range(count):
            key = machine.load(at)
            at = self._add_storage(key, machine.offset)
        if at < source.size:
            self._add_views(machine.load(at))

    def opened(self, key: str | int, _word: str, _count: int) -> Source:
        """Return the bytes of a storage."""
        place = self._storages.get(_number(key))
        if place is None:
            raise FormatError(self._source.name, f"lacks the storage {printable(key, 60)}")
        return self._source.part(*place)

    def _add_storage(self, key: Pickled, at: int) -> int:
        """Add a storage whose length is at a place, and return where it ends."""
        number, kind = (_number(key[0]), key[2]) if is_args(key, 3) else (-1, None)
        if number < 0 or not isinstance(kind, Global):
            raise FormatError(self._source.name, f"a storage has the invalid key {printable(key, 80)}", at)
        count = int.from_bytes(self._source.read(at, 8), "little", signed=True)
        length = count * size_of(storage_dtype(kind))
        if count < 0 or at + 8 + length > self._source.size:
            what = f"the storage {number} claims {count:,} elements, more than the file has (partial download?)"
            raise FormatError(self._source.name, what, at)
        self._storages[number] = at + 8, length
        self._add(number, ("storage", kind, number, "cpu", count), count)
        return at + 8 + length

    def _add_views(self, views: Pickled) -> None:
        for view in views if isinstance(views, list) else []:
            number, owner, offset, count = map(_number, view) if is_args(view, 4) and len(view) == 4 else (-1,) * 4
            if min(number, offset, count) < 0 or owner not in self._kinds:
                raise FormatError(self._source.name, f"has the invalid view {printable(view, 80)} of a storage")
            self._add(number, (*self._kinds[owner][:5], (number, offset, count)), count)

    def _add(self, number: int, key: tuple[Pickled, ...], count: int) -> None:
        self._kinds[number] = key
        self.tensors[number] = Persistent(key), 0, (count,), (1,)

    def add_tensors(self, source: Source) -> None:
        """Add the tensors that the member of tensors describes."""
        machine = Machine(source)
        count, at = _count(source, machine.load()), machine.offset
        for _ in range(count):
            key = machine.load(at)
            number, owner = (_number(key[0]), _number(key[1])) if is_args(key, 2) else (-1, -1)
            at = machine.offset
            (axes,) = struct.unpack("<i", source.read(at, 4))
            if number < 0 or owner not in self._kinds or not 0 <= axes <= limits.RANK:
                raise FormatError(source.name, f"a tensor has the invalid key {printable(key, 80)}, or {axes} axes", at)
            numbers = struct.unpack(f"<{2 * axes + 1}q", source.read(at + 8, 16 * axes + 8))
            self.tensors[number] = Persistent(self._kinds[owner]), numbers[-1], numbers[:axes], numbers[axes:-1]
            at += 16 + 16 * axes


def _count(source: Source, value: Pickled) -> int:
    if type(value) is not int or not 0 <= value <= source.size:
        raise FormatError(source.name, f"claims {printable(value, 40)} parts, more than it has bytes")
    return value


def _number(key: Pickled) -> int:
    """Return the number of an object, which may be a text of digits; -1 for anything else."""
    if type(key) is int:
        return key if key >= 0 else -1
    return int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 20 else -1
