"""Writing a state_dict or a tensor as `torch.save` does, so that `torch.load(weights_only=True)` reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from steelyard.codecs.metadata import owners
from steelyard.codecs.pickle.produced import Memo, pushed, pushed_number, pushed_tuple
from steelyard.core.readers import each_raw, raw_chunks
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

ROOT = "archive/"
FACTS = f"{ROOT}steelyard.json"
"""The member with the facts of the weights; PyTorch ignores it."""
ALIGNMENT = 64
"""Every storage begins at a multiple of this many bytes, so that it can be mapped into memory."""

_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
_BYTES = {"uint16", "uint32", "uint64", *(f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu"))}
"""Types newer than typed storages, whose storage is untyped bytes."""


# The members of the archive, all stored without compression:
#   archive/data.pkl        the pickle of the state_dict; its tensors refer to storages by number
#   archive/byteorder       "little"
#   archive/data/0, 1, ...  the storages, row-major, aligned to 64 bytes by an extra field "FB" in the local header
#   archive/version         "3"
#   archive/steelyard.json  the facts of the weights
def write_archive(weights: Weights, facts: str, file: BinaryIO, name: str) -> None:
    """Write the archive; tied weights share a storage. Raises `FormatError` for a type that PyTorch lacks."""
    require_types(weights, name)
    places: dict[str, int] = {}
    keys = {tied: places.setdefault(owner, len(places)) for tied, owner in owners(weights).items()}
    owned = [weights[owner] for owner in places]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{ROOT}data.pkl"), b"".join(_pickled(weights, keys)))
        archive.writestr(zipfile.ZipInfo(f"{ROOT}byteorder"), "little")
        for place, (_, chunks) in enumerate(each_raw(owned)):
            _store(archive, file, f"{ROOT}data/{place}", chunks)
        archive.writestr(zipfile.ZipInfo(f"{ROOT}version"), "3\n")
        archive.writestr(zipfile.ZipInfo(FACTS), facts)


def require_types(weights: Weights, name: str) -> None:
    """Raise `FormatError` for the first weight of a type that PyTorch lacks."""
    for weight in weights.values():
        if weight.dtype not in _STORAGES and weight.dtype not in _BYTES:
            raise FormatError(name, f"{printable(weight.name)} is {weight.dtype}, which PyTorch cannot hold; convert it first")


def write_tensor(weight: Weight, file: BinaryIO) -> int:
    """Write an archive with this tensor alone where the file ends, and return its length in bytes."""
    part = _Part(file)
    archive_file = cast("BinaryIO", part)
    with zipfile.ZipFile(archive_file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{ROOT}data.pkl"), b"\x80\2" + _tensor(weight, 0, Memo()) + b".")
        archive.writestr(zipfile.ZipInfo(f"{ROOT}byteorder"), "little")
        _store(archive, archive_file, f"{ROOT}data/0", raw_chunks(weight))
        archive.writestr(zipfile.ZipInfo(f"{ROOT}version"), "3\n")
    return part.tell()


class _Part:
    """The rest of a file from where it is now, as a file of its own: an archive counts its places from its own begin."""

    __slots__ = ("_begin", "_file", "flush", "write")

    def __init__(self, file: BinaryIO) -> None:
        self._begin = file.tell()
        self._file = file
        self.write = file.write
        self.flush = file.flush

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seek(self, place: int) -> int:
        return self._file.seek(place + self._begin) - self._begin


def _store(archive: zipfile.ZipFile, file: BinaryIO, name: str, chunks: Iterable[bytes | memoryview]) -> None:
    entry = zipfile.ZipInfo(name)
    begin = file.tell() + 30 + len(name) + 20 + 4  # the header, the 64-bit sizes, and the head of the padding
    padding = -begin % ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(entry, "w", force_zip64=True) as member:
        for chunk in chunks:
            member.write(chunk)


def _pickled(weights: Weights, keys: dict[str, int]) -> Iterator[bytes]:
    """Yield a pickle of protocol 2: an OrderedDict of names and calls that rebuild the tensors.

    Its opcodes are those of `torch.save`, also where it stores what it never fetches: readers know this form, and are fast.
    """
    memo = Memo()
    yield b"\x80\2" + memo.named("collections", "OrderedDict") + b")R" + memo.put() + b"("
    for weight in weights.values():
        yield pushed(weight.name) + memo.put() + _tensor(weight, keys[weight.name], memo)
    yield b"u."


# The opcodes of a tensor, each value of which is stored:
#   c torch._utils _rebuild_tensor_v2
#   (  ("storage", class, key, "cpu", count) Q  offset  (shape)  (strides)  requires_grad  OrderedDict()  [dtype]  t R
def _tensor(weight: Weight, key: int, memo: Memo) -> bytes:
    typed = weight.dtype in _STORAGES
    rebuild = memo.named("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
    count = weight.size if typed else weight.nbytes
    storage = b"((" + memo.word("storage")
    storage += memo.named("torch", _STORAGES[weight.dtype]) if typed else memo.named("torch.storage", "UntypedStorage")
    storage += pushed(str(key)) + memo.put() + memo.word("cpu") + pushed_number(count) + b"t" + memo.put() + b"Q"
    layout = pushed_number(0) + pushed_tuple(weight.shape, memo) + pushed_tuple(_strides(weight.shape), memo) + b"\x89"
    hooks = memo.named("collections", "OrderedDict") + b")R" + memo.put()
    dtype = b"" if typed else memo.named("torch", weight.dtype)
    return rebuild + storage + layout + hooks + dtype + b"t" + memo.put() + b"R" + memo.put()


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for length in reversed(shape):
        steps.append(step)
        step *= max(length, 1)
    return tuple(reversed(steps))
