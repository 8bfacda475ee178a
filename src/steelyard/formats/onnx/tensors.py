"""The elements of ONNX's tensors: raw bytes, typed fields, packed halves of a byte, external data, sparse ones."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.codecs.protobuf import unpacked
from steelyard.codecs.sparse_runs import scattered
from steelyard.codecs.subbyte import BITS, bytes_of, decoded, packed_bytes
from steelyard.core.readers import refusing
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, SteelyardError, printable
from steelyard.formats.onnx.messages import DOUBLES, FLOATS, INTS, LONGS, RAW, UNSIGNED, Run, Sparse, Tensor
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight

KINDS = {
    1: ("FLOAT", "float32", FLOATS),
    2: ("UINT8", "uint8", INTS),
    3: ("INT8", "int8", INTS),
    4: ("UINT16", "uint16", INTS),
    5: ("INT16", "int16", INTS),
    6: ("INT32", "int32", INTS),
    7: ("INT64", "int64", LONGS),
    8: ("STRING", "object", 0),
    9: ("BOOL", "bool", INTS),
    10: ("FLOAT16", "float16", INTS),
    11: ("DOUBLE", "float64", DOUBLES),
    12: ("UINT32", "uint32", UNSIGNED),
    13: ("UINT64", "uint64", UNSIGNED),
    14: ("COMPLEX64", "complex64", FLOATS),
    15: ("COMPLEX128", "complex128", DOUBLES),
    16: ("BFLOAT16", "bfloat16", INTS),
    17: ("FLOAT8E4M3FN", "float8_e4m3fn", INTS),
    18: ("FLOAT8E4M3FNUZ", "float8_e4m3fnuz", INTS),
    19: ("FLOAT8E5M2", "float8_e5m2", INTS),
    20: ("FLOAT8E5M2FNUZ", "float8_e5m2fnuz", INTS),
    21: ("UINT4", "uint4", INTS),
    22: ("INT4", "int4", INTS),
    23: ("FLOAT4E2M1", "float4_e2m1fn", INTS),
    24: ("FLOAT8E8M0", "float8_e8m0fnu", INTS),
    25: ("UINT2", "uint2", INTS),
    26: ("INT2", "int2", INTS),
    27: ("FLOAT6E2M3", "float6_e2m3fn", INTS),
    28: ("FLOAT6E3M2", "float6_e3m2fn", INTS),
}
"""The types of elements: the format's word, ours, and the field that holds them where there are no raw bytes."""


class Opened:
    """The files beside a model, each opened once, and only if it lies in the model's own folder."""

    __slots__ = ("_files", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._files: dict[str, Source] = {}

    def file(self, location: str) -> Source:
        """Return the file at `location`. Raises `UnsafeFileError` or `FileMissingError`."""
        if location not in self._files:
            found = self.source.beside(location)
            if found.is_folder:
                raise FormatError(self.source.name, f"names {printable(location)!r} for external data, which is a folder")
            self._files[location] = found
        return self._files[location]


def stored_bytes(tensor: Tensor, dtype: str) -> int:
    """Return how many bytes the elements of a tensor take when they are stored raw."""
    return bytes_of(prod(tensor.dims), dtype)


def reader_of(tensor: Tensor, opened: Opened) -> Reader:
    """Return a reader of a tensor's elements; one that cannot be read is refused when it is asked for."""
    name = opened.source.name
    try:
        shown = printable(tensor.name)
        if tensor.kind not in KINDS or tensor.kind == 8 or tensor.strings:
            raise FormatError(name, f"{shown} is of type {_word(tensor.kind)}, which holds no numbers that can be read")
        check_dims(tensor, name)
        dtype = KINDS[tensor.kind][1]
        return decoded(_raw(tensor, dtype, opened), dtype)
    except SteelyardError as error:
        return refusing(error)


def check_dims(tensor: Tensor, name: str) -> None:
    """Raise `FormatError` for a shape that no array can have."""
    if not is_possible(tensor.dims):
        raise FormatError(name, f"{printable(tensor.name)} has the shape {printable(tensor.dims)}, which makes no sense")


def _word(kind: int) -> str:
    return KINDS[kind][0] if kind in KINDS else str(kind)


def _raw(tensor: Tensor, dtype: str, opened: Opened) -> Source:
    """Return the elements as a source of raw bytes, of the length that type and shape ask for."""
    source, wanted = opened.source, stored_bytes(tensor, dtype)
    if tensor.external is not None:
        offset, length = external_place(tensor, wanted, source.name)
        found = opened.file(tensor.external.get("location", "")).part(offset, length)
    elif raw := [run for run in tensor.runs if run.field == RAW]:
        found = source.part(raw[-1].offset, raw[-1].end - raw[-1].offset)
    else:
        found = _typed(tensor, dtype, source, wanted)
    if found.size != wanted:
        raise FormatError(
            source.name,
            f"{printable(tensor.name)} has the shape {printable(tensor.dims)} of {_word(tensor.kind)}, "
            f"which takes {wanted:,} bytes, but {found.size:,} are stored",
            tensor.begin,
        )
    return found


def external_place(tensor: Tensor, wanted: int, name: str) -> tuple[int, int]:
    """Return where in the external file the elements lie; the numbers there are texts, and checked."""
    entries = tensor.external or {}
    numbers = [entries.get("offset", "0"), entries.get("length", str(wanted))]
    if any(not (text.isascii() and text.isdigit() and len(text) < 20) for text in numbers):
        raise FormatError(
            name, f"{printable(tensor.name)} has external data at {printable(numbers)}, which is no place in a file"
        )
    return int(numbers[0]), int(numbers[1])


def _typed(tensor: Tensor, dtype: str, source: Source, wanted: int) -> Source:
    """Return the elements of typed fields as raw bytes: those that lie as such at once, others when they are read."""
    field = KINDS[tensor.kind][2]
    runs = [run for run in tensor.runs if run.field == field]
    if field in (FLOATS, DOUBLES):
        if len(runs) == 1 and runs[0].packed:
            return source.part(runs[0].offset, runs[0].end - runs[0].offset)
        return _lazy(source, sum(count(run) * (4 if field == FLOATS else 8) for run in runs), lambda: _fixed(runs, source))

    @cache
    def load() -> bytes:
        data = _narrowed(_varints(runs, source, wanted * 8), dtype)
        if len(data) != wanted:
            shown = f"{printable(tensor.name)} needs {wanted:,} bytes of elements, but {len(data):,} are stored"
            raise FormatError(source.name, shown, tensor.begin)
        return data

    if wanted and not any(run.end > run.begin for run in runs):
        return source.part(0, 0)  # a tensor without elements, although its shape has some
    return _lazy(source, wanted, load)


def _lazy(source: Source, size: int, load: object) -> Source:
    def fill(offset: int, buffer: memoryview) -> None:
        buffer[:] = load()[offset : offset + len(buffer)]  # type: ignore[operator]

    return Source(source.name, size, fill, source.beside)


def count(run: Run) -> int:
    """Return how many numbers of fixed width a run holds."""
    width = 4 if run.field == FLOATS else 8
    return (run.end - run.offset) // width if run.packed else (run.end - run.begin) // (width + 1)


def _fixed(runs: list[Run], source: Source) -> bytes:
    """Return numbers of fixed width, without the tags that stand before single ones."""
    import numpy as np

    parts = []
    for run in runs:
        if run.packed:
            parts.append(source.read(run.offset, run.end - run.offset))
        else:
            width = 8 if run.field == DOUBLES else 4
            block = np.frombuffer(source.read(run.begin, run.end - run.begin), np.uint8).reshape(-1, width + 1)
            parts.append(block[:, 1:].tobytes())
    return b"".join(parts)


def _varints(runs: list[Run], source: Source, limit: int) -> Array:
    """Return the numbers of runs of varints; single ones have a tag of one byte, itself a varint, before each."""
    import numpy as np

    parts = [np.zeros(0, np.uint64)]
    for run in runs:
        begin = run.offset if run.packed else run.begin
        try:
            values = unpacked(source.read(begin, run.end - begin), 2 * limit)
        except ValueError as error:
            raise FormatError(source.name, f"a run of numbers is damaged: {error}", begin) from None
        parts.append(values if run.packed else values[1::2])
    return np.concatenate(parts)


def count_integers(runs: list[Run], source: Source) -> int:
    """Return how many numbers there are in runs of varints: each ends with the one byte of it that is below 128."""
    ends = 0
    for run in runs:
        begin = run.offset if run.packed else run.begin
        found = len(source.read(begin, run.end - begin).translate(None, bytes(range(128, 256))))
        ends += found if run.packed else found // 2  # a tag of one byte stands before each
    return ends


def _narrowed(values: Array, dtype: str) -> bytes:
    """Return numbers that were stored as varints as raw bytes; of two or four bits a varint is a whole byte of them."""
    import numpy as np

    if BITS.get(dtype) == 6:
        return packed_bytes(values.astype(np.uint8), dtype)
    width = 1 if dtype in BITS else itemsize(dtype)
    return values.astype(np.dtype(f"<u{width}")).tobytes()


def widened(weight: Weight) -> Array:
    """Return the numbers of a weight as typed fields keep them, for varints: the inverse of `_narrowed`."""
    import numpy as np

    values = weight.read(0, weight.size)
    if BITS.get(weight.dtype) == 6:
        return values.view(np.uint8).astype(np.uint64)
    if weight.dtype in BITS:
        return np.frombuffer(packed_bytes(values, weight.dtype), np.uint8).astype(np.uint64)
    signed = weight.dtype.startswith("int")
    return values.view(np.dtype(f"{'i' if signed else 'u'}{values.itemsize}")).astype(np.int64).view(np.uint64)


def sparse_reader(sparse: Sparse, opened: Opened) -> Reader:
    """Return a reader that puts zeros where nothing is stored; every index is checked before that."""
    try:
        _check_sparse(sparse, opened.source.name)
    except FormatError as error:
        return refusing(error)
    elements, indices = reader_of(sparse.values, opened), reader_of(sparse.indices, opened)

    def load() -> tuple[Array, Array]:
        places = _places(indices(0, prod(sparse.indices.dims)), sparse, opened.source.name)
        return places, elements(0, prod(sparse.values.dims))

    return scattered(load)


def _check_sparse(sparse: Sparse, name: str) -> None:
    for tensor in (sparse.values, sparse.indices):
        check_dims(tensor, name)
    shown, known, size = printable(sparse.values.name), prod(sparse.values.dims), prod(sparse.dims)
    if not is_possible(sparse.dims):
        raise FormatError(name, f"{shown} has the shape {printable(sparse.dims)}, which makes no sense")
    width = itemsize(KINDS.get(sparse.values.kind, KINDS[1])[1])
    if is_bomb(size * width, known * width):
        raise FormatError(name, f"{shown} has {size:,} elements, of which {known:,} are stored; too few")
    if sparse.indices.kind != 7 or sparse.indices.dims not in ([known], [known, len(sparse.dims)]):
        raise FormatError(name, f"{shown} has indices that do not fit its {known:,} elements")


def _places(indices: Array, sparse: Sparse, name: str) -> Array:
    """Return where in the dense tensor each element stands; they must go up, and lie inside."""
    import numpy as np

    if len(sparse.indices.dims) == 2:
        table = indices.reshape(sparse.indices.dims)
        if ((table < 0) | (table >= np.array(sparse.dims))).any():
            raise FormatError(name, f"{printable(sparse.values.name)} has an index outside its shape {printable(sparse.dims)}")
        indices = table @ np.array([prod(sparse.dims[axis + 1 :]) for axis in range(len(sparse.dims))], np.int64)
    if len(indices) and (indices[0] < 0 or indices[-1] >= prod(sparse.dims) or (np.diff(indices) <= 0).any()):
        raise FormatError(name, f"{printable(sparse.values.name)} has indices that do not go up, or lie outside its shape")
    return indices
