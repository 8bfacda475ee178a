"""The pickle of a `.metadata` that is written, with the attributes that `metadata.py` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.pickle.produced import Memo, pushed, pushed_number, pushed_tuple
from steelyard.formats.dcp.metadata import FACTS, MARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

_MODULE = MARK.decode()
_FILES = "torch.distributed.checkpoint.filesystem"
_VERSION = "1.0.0"


class Placed(NamedTuple):
    """A chunk of a weight in a file: the index of its first element, its shape, the file, and offset and length in bytes."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    file: str
    begin: int
    length: int


def described(weights: Weights, places: Mapping[str, list[Placed]], facts: str) -> Iterator[bytes]:
    """Yield the pickle of the Metadata of these weights, whose chunks are in these places."""
    memo = Memo()
    yield b"\x80\2" + _new(memo, "Metadata") + b"}("
    yield pushed("state_dict_metadata") + b"}("
    for weight in weights.values():
        yield memo.word(weight.name) + _tensor(weight, places[weight.name], memo)
    yield b"u" + pushed("planner_data") + b"}("
    for name in weights:
        yield memo.word(name) * 2 + b"\x85"
    yield b"u" + pushed("storage_data") + b"}("
    for name in weights:
        for number, place in enumerate(places[name]):
            yield _index(name, number, place, memo) + _place(place, memo)
    yield b"u" + pushed("version") + pushed(_VERSION) + pushed(FACTS) + pushed(facts) + b"ub."


# Every function returns opcodes, in the order in which they call each other: what is stored must come before what fetches it.
def _new(memo: Memo, name: str, module: str = _MODULE) -> bytes:
    """Make an object without calling its class's own function; a state follows."""
    return memo.named(module, name) + b")\x81"


def _size(lengths: tuple[int, ...], memo: Memo) -> bytes:
    return memo.named("torch", "Size") + pushed_tuple(lengths, memo) + b"\x85R"


def _tensor(weight: Weight, places: list[Placed], memo: Memo) -> bytes:
    made = _new(memo, "TensorStorageMetadata") + b"}(" + memo.word("properties") + _properties(weight.dtype, memo)
    made += memo.word("size") + _size(weight.shape, memo) + memo.word("chunks") + b"]("
    for place in places:
        made += _new(memo, "ChunkStorageMetadata") + b"}(" + memo.word("offsets") + _size(place.offsets, memo)
        made += memo.word("sizes") + _size(place.shape, memo) + b"ub"
    return made + b"eub"


def _properties(dtype: str, memo: Memo) -> bytes:
    """Push type, layout, whether it has a gradient, order in memory, and whether its memory is pinned."""
    made = _new(memo, "TensorProperties") + b"(" + memo.named("torch", dtype)
    made += memo.named("torch.serialization", "_get_layout") + memo.word("torch.strided") + b"\x85R\x89"
    return made + memo.named(_MODULE, "_MEM_FORMAT_ENCODING") + pushed_number(0) + b"\x85R\x89tb"


def _index(name: str, number: int, place: Placed, memo: Memo) -> bytes:
    made = _new(memo, "MetadataIndex") + b"}(" + memo.word("fqn") + memo.word(name)
    made += memo.word("index") + pushed_number(number)
    return made + memo.word("offset") + _size(place.offsets, memo) + b"ub"


def _place(place: Placed, memo: Memo) -> bytes:
    made = _new(memo, "_StorageInfo", _FILES) + b"}(" + memo.word("relative_path") + memo.word(place.file)
    made += memo.word("offset") + pushed_number(place.begin)
    return made + memo.word("length") + pushed_number(place.length) + b"ub"
