"""Writing a state_dict as `torch.save` does, so that `torch.load(weights_only=True)` reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from steelyard.codecs.metadata import owners
from steelyard.core.readers import raw_chunks
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
    for weight in weights.values():
        if weight.dtype not in _STORAGES and weight.dtype not in _BYTES:
            raise FormatError(name, f"{printable(weight.name)} is {weight.dtype}, which PyTorch cannot hold; convert it first")
    places: dict[str, int] = {}
    keys = {tied: places.setdefault(owner, len(places)) for tied, owner in owners(weights).items()}
    owned = [weights[owner] for owner in places]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{ROOT}data.pkl"), b"".join(_pickled(weights, keys)))
        archive.writestr(zipfile.ZipInfo(f"{ROOT}byteorder"), "little")
        for place, weight in enumerate(owned):
            _store(archive, file, f"{ROOT}data/{place}", weight)
        archive.writestr(zipfile.ZipInfo(f"{ROOT}version"), "3\n")
        archive.writestr(zipfile.ZipInfo(FACTS), facts)


def _store(archive: zipfile.ZipFile, file: BinaryIO, name: str, weight: Weight) -> None:
    entry = zipfile.ZipInfo(name)
    begin = file.tell() + 30 + len(name) + 20 + 4  # the header, the 64-bit sizes, and the head of the padding
    padding = -begin % ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(entry, "w", force_zip64=True) as member:
        for chunk in raw_chunks(weight):
            member.write(chunk)


class _Memo:
    """What a pickle has stored so far: each value that it stores takes the next place, as in the pickles of `torch.save`."""

    __slots__ = ("_known", "_stored")

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._stored = 0

    def put(self) -> bytes:
        """Return the opcode that stores the value on top of the stack."""
        self._stored += 1
        return b"r" + (self._stored - 1).to_bytes(4, "little")

    def once(self, text: str, opcodes: bytes) -> bytes:
        """Return opcodes that push and store a value, or one that fetches it if it was stored before."""
        if text in self._known:
            return b"j" + self._known[text].to_bytes(4, "little")
        self._known[text] = self._stored
        return opcodes + self.put()

    def named(self, module: str, name: str) -> bytes:
        """Return the opcodes that push a class or a function."""
        text = f"c{module}\n{name}\n"
        return self.once(text, text.encode())

    def word(self, text: str) -> bytes:
        """Return the opcodes that push a word of every tensor."""
        return self.once(text, _text(text))


def _pickled(weights: Weights, keys: dict[str, int]) -> Iterator[bytes]:
    """Yield a pickle of protocol 2: an OrderedDict of names and calls that rebuild the tensors.

    Its opcodes are those of `torch.save`, also where it stores what it never fetches: readers know this form, and are fast.
    """
    memo = _Memo()
    yield b"\x80\2" + memo.named("collections", "OrderedDict") + b")R" + memo.put() + b"("
    for weight in weights.values():
        yield _text(weight.name) + memo.put() + _tensor(weight, keys[weight.name], memo)
    yield b"u."


# The opcodes of a tensor, each value of which is stored:
#   c torch._utils _rebuild_tensor_v2
#   (  ("storage", class, key, "cpu", count) Q  offset  (shape)  (strides)  requires_grad  OrderedDict()  [dtype]  t R
def _tensor(weight: Weight, key: int, memo: _Memo) -> bytes:
    typed = weight.dtype in _STORAGES
    rebuild = memo.named("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
    count = weight.size if typed else weight.nbytes
    storage = b"((" + memo.word("storage")
    storage += memo.named("torch", _STORAGES[weight.dtype]) if typed else memo.named("torch.storage", "UntypedStorage")
    storage += _text(str(key)) + memo.put() + memo.word("cpu") + _number(count) + b"t" + memo.put() + b"Q"
    layout = _number(0) + _tuple(weight.shape, memo) + _tuple(_strides(weight.shape), memo) + b"\x89"
    hooks = memo.named("collections", "OrderedDict") + b")R" + memo.put()
    dtype = b"" if typed else memo.named("torch", weight.dtype)
    return rebuild + storage + layout + hooks + dtype + b"t" + memo.put() + b"R" + memo.put()


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + len(data).to_bytes(4, "little") + data


def _number(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + value.to_bytes(4, "little")
    return b"\x8a\x09" + value.to_bytes(9, "little")


_TUPLES = (b")", b"\x85", b"\x86", b"\x87")
"""The opcodes of tuples of none to three values; longer ones begin with a mark, and the empty one is not stored."""


def _tuple(values: tuple[int, ...], memo: _Memo) -> bytes:
    numbers = b"".join(map(_number, values))
    if len(values) < len(_TUPLES):
        return numbers + _TUPLES[len(values)] + (memo.put() if values else b"")
    return b"(" + numbers + b"t" + memo.put()


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for length in reversed(shape):
        steps.append(step)
        step *= max(length, 1)
    return tuple(reversed(steps))
