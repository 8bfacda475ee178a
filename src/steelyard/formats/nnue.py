"""NNUE: nets of Stockfish (`.nnue`), quantised as they are stored. The hashes in the file prove the sizes of the layers.

    version uint32; hash of all uint32; bytes of the description uint32, and its text
    hash of the transformer uint32: that of the features xor twice its outputs
    biases int16 (outputs), weights int16 (features, outputs), and but for HalfKP psqtWeights int32 (features, 8)
    for each stack, of which there is one or 8: hash of its layers uint32, and three layers:
        biases int32 (out), weights int8 (out, in), where the inputs are filled up to a multiple of 32

An array of the transformer may be packed: "COMPRESSED_LEB128", its bytes uint32, and then these. Names are Stockfish's own.
Source of the layout: nnue-pytorch, by Stockfish's authors.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard import sizes
from steelyard.codecs.budget import Budget
from steelyard.core.recent import RecentBlocks
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats import NOTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

SUFFIXES = (".nnue",)

_VERSIONS = (0x7AF32F16, 0x7AF32F20)
_PACKED = b"COMPRESSED_LEB128"
_RECENT = RecentBlocks()
_WORDS = 32
"""The inputs of a layer are filled up to a multiple of so many."""
_HIDDEN = (8, 16, 32, 64)
"""The sizes that hidden layers may have; the hash tells which they have."""
_MOST = 1 << 14
"""The most outputs of a transformer; Stockfish had 3,072."""
_TEXT = 1 << 16
_COST = 1500
"""bytes of memory that an array takes"""


class _Features(NamedTuple):
    """What a net knows of a position: its name, its hash, how many there are, parts of psqtWeights, and stacks."""

    name: str
    mark: int
    size: int
    parts: int
    stacks: int


_KNOWN = (
    _Features("HalfKP", 0x5D69D5B8, 41024, 0, 1),
    _Features("HalfKAv2", 0x5F234CB8, 45056, 8, 8),
    _Features("HalfKAv2_hm", 0x7F234CB8, 22528, 8, 8),
)


def sniff(source: Source) -> bool:
    """Recognise the version."""
    return int.from_bytes(source.head(4), "little") in _VERSIONS


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays in the order of the file. Raises `FormatError` for sizes that no known net has."""
    cursor = _Cursor(source)
    version, whole = cursor.integer(), cursor.integer()
    length = cursor.integer()
    if length > _TEXT:
        raise FormatError(source.name, f"claims a description of {length:,} bytes", 8)
    text = cursor.take(length).decode("utf-8", "backslashreplace")
    mark = cursor.integer()
    features = next((each for each in _KNOWN if _outputs(each, mark)), None)
    hidden = _hidden_of(whole ^ mark, _outputs(features, mark)) if features else None
    if features is None or hidden is None:
        what = f"is a net of version {version:#x} with features and layers ({mark:#x}, {whole:#x}) that are not known"
        raise FormatError(source.name, f"{what}; open the checkpoint that it was made from")
    listed = [*_transformer(cursor, features, _outputs(features, mark)), *_stacks(cursor, features, mark, whole ^ mark, hidden)]
    if cursor.at != source.size:
        raise FormatError(source.name, f"has {source.size - cursor.at:,} bytes after its last layer", cursor.at)
    notes = ["the numbers are the integers that the engine multiplies, and not scaled back"]
    return Weights(listed, meta={"format": "NNUE", "features": features.name, "description": printable(text), NOTES: notes})


class _Cursor:
    """Reads one value after another."""

    __slots__ = ("at", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.at = 0

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        self.at += length
        return self.source.read(self.at - length, length)

    def integer(self) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(4), "little")

    def array(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[Reader, str]:
        """Move past an array, and return its reader, and how it is packed."""
        Budget(self.source).spend(_COST, self.at)
        count, left = prod(shape), self.source.size - self.at
        is_packed = left >= len(_PACKED) and self.source.read(self.at, len(_PACKED)) == _PACKED
        self.at += len(_PACKED) if is_packed else 0
        length = self.integer() if is_packed else count * itemsize(dtype)
        left = self.source.size - self.at
        if length > left or length < count:
            what = f"{name} takes {length:,} bytes for {count:,} numbers, where {left:,} are left (partial download?)"
            raise FormatError(self.source.name, what, self.at)
        begin = self.at
        self.at += length
        if not is_packed:
            return self.source.numbers(begin, dtype), ""
        return _unpacking(self.source.part(begin, length), count, dtype), "leb128"


def _unpacking(source: Source, count: int, dtype: str) -> Reader:
    key = object()

    def make() -> Array:
        from steelyard.codecs.leb128 import decoded

        found = decoded(source, dtype)
        if len(found) != count:
            raise FormatError(source.name, f"has {len(found):,} packed integers instead of {count:,}")
        return found

    return lambda start, stop: _RECENT.get(key, make, sizes.BAND_BYTES)[start:stop]


def _outputs(features: _Features, mark: int) -> int:
    """Return the outputs of the transformer, which its hash tells; 0 if it is not that of these features."""
    twice = features.mark ^ mark
    return twice // 2 if twice % 32 == 0 and 0 < twice <= 2 * _MOST else 0


def _hidden_of(mark: int, outputs: int) -> tuple[int, int] | None:
    """Return the outputs of the two hidden layers for which the hash of the layers is `mark`."""
    pairs = ((first, second) for first in _HIDDEN for second in _HIDDEN)
    return next((pair for pair in pairs if _layers_hash(outputs, pair) == mark), None)


def _layers_hash(outputs: int, hidden: tuple[int, int]) -> int:
    """Return the hash of three layers, as the engine computes it.

    >>> hex(_layers_hash(256, (32, 32)))
    '0x63337156'
    """
    before = 0xEC42E90D ^ (2 * outputs)
    for size in (*hidden, 1):
        mark = ((0xCC03DAE4 + size) ^ before >> 1 ^ before << 31) & 0xFFFFFFFF
        before = (mark + 0x538D24C7 * (size != 1)) & 0xFFFFFFFF  # an activation follows a hidden layer
    return before


def _transformer(cursor: _Cursor, features: _Features, outputs: int) -> Iterator[Weight]:
    layer = "featureTransformer"
    yield _weight(cursor, layer, "biases", (outputs,), "int16")
    yield _weight(cursor, layer, "weights", (features.size, outputs), "int16", "in out")
    if features.parts:
        yield _weight(cursor, layer, "psqtWeights", (features.size, features.parts), "int32", "in out")


def _stacks(cursor: _Cursor, features: _Features, mark: int, expected: int, hidden: tuple[int, int]) -> Iterator[Weight]:
    outputs = _outputs(features, mark)
    inputs = _inputs(cursor, features, outputs, hidden)
    for number in range(features.stacks):
        found = cursor.integer()
        if found != expected:
            what = f"has the hash {quoted(hex(found))} before stack {number}, where {hex(expected)} is needed"
            raise FormatError(cursor.source.name, what, cursor.at - 4)
        for place, shape in enumerate(_shapes(inputs, hidden)):
            layer = f"network.{number}.fc_{place}"
            yield _weight(cursor, layer, "biases", shape[:1], "int32")
            yield _weight(cursor, layer, "weights", shape, "int8", "out in")


def _shapes(inputs: int, hidden: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes of the three layers, whose inputs are filled up."""
    widths = [inputs, *hidden]
    return [(out, -(-width // _WORDS) * _WORDS) for width, out in zip(widths, (*hidden, 1), strict=True)]


def _inputs(cursor: _Cursor, features: _Features, outputs: int, hidden: tuple[int, int]) -> int:
    """Return the inputs of the first layer: both halves of the transformer's outputs, or their products, as the bytes left tell.

    The second layer of newer nets also has the squares of the first, which fill up the same inputs.
    """
    left = cursor.source.size - cursor.at
    for inputs in (outputs, 2 * outputs):
        if left == features.stacks * (4 + sum(4 * out + out * width for out, width in _shapes(inputs, hidden))):
            return inputs
    raise FormatError(cursor.source.name, f"has {left:,} bytes for its layers, which is not what they take", cursor.at)


def _weight(cursor: _Cursor, layer: str, name: str, shape: tuple[int, ...], dtype: str, axes: str = "out") -> Weight:
    read, encoding = cursor.array(f"{layer}.{name}", shape, dtype)
    role = Role.BIAS if len(shape) == 1 else Role.KERNEL
    return Weight(
        name=f"{layer}.{name}", shape=shape, dtype=dtype, read=read, role=role, axes=axes, layer=layer, encoding=encoding
    )
