"""The elements of ONNX's tensors: raw bytes, typed fields, external data, and sparse tensors.

raw_data        little-endian, row-major; types of less than a byte are packed, the first element in the lowest bits
float_data      float32, and complex64 as pairs
double_data     float64, and complex128 as pairs
int32_data      varints: all types of up to 32 bits but uint32; the bits of a float, or a byte of packed elements
int64_data      varints: int64
uint64_data     varints: uint32 and uint64
external_data   key-value pairs: location (a path in the model's folder), offset and length (decimal, in bytes);
                the file holds the same bytes as raw_data
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_bomb, is_possible
from steelyard.codecs.protobuf import unpacked
from steelyard.codecs.sparse_runs import dense_reader
from steelyard.codecs.subbyte import BITS, bytes_of, decoded, packed_bytes
from steelyard.core.roles import layers_of
from steelyard.core.weight import Refused, Role, Weight
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.errors import FormatError, SteelyardError, printable, quoted
from steelyard.formats.onnx.initializers import Kind
from steelyard.formats.onnx.messages import SparseTensorProto
from steelyard.formats.onnx.tensor_records import DOUBLES, FLOATS, INTS, LONGS, RAW, UNSIGNED, Elements, TensorProto
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array, Reader
    from steelyard.formats.onnx.initializers import Initializers

STRING = 8
KINDS = {
    1: ("FLOAT", "float32", FLOATS),
    2: ("UINT8", "uint8", INTS),
    3: ("INT8", "int8", INTS),
    4: ("UINT16", "uint16", INTS),
    5: ("INT16", "int16", INTS),
    6: ("INT32", "int32", INTS),
    7: ("INT64", "int64", LONGS),
    STRING: ("STRING", "object", 0),
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
"""The types of elements: ONNX's name, ours, and the number of the field that holds them without raw data."""


class Look(NamedTuple):
    """What tensors of one type and shape have in common: many are alike.

    Elements are read in place from one of `fields` that has them in `nbytes` bytes, as raw data; without such a field they must
    be decoded.
    """

    shape: tuple[int, ...]
    dtype: str
    word: str
    fields: tuple[int, ...]
    nbytes: int


class ExternalFiles:
    """The files with external data, each opened once, and only in the model's own folder; and the looks of its tensors."""

    __slots__ = ("_files", "_looks", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._files: dict[str, Source] = {}
        self._looks: dict[tuple[int, ...], Look] = {}

    def look(self, tensor: TensorProto) -> Look:
        """Return what a tensor has in common with others of its type and shape."""
        key = (tensor.kind, *tensor.dims)
        if (known := self._looks.get(key)) is None:
            known = self._looks[key] = _look(tensor)
        return known

    def file(self, location: str) -> Source:
        """Return the file at `location`. Raises `UnsafeFileError` or `FileMissingError`."""
        if location not in self._files:
            file = self.source.beside(location)
            if file.is_folder:
                raise FormatError(self.source.name, f"names {quoted(location)} for external data, which is a folder")
            self._files[location] = file
        return self._files[location]


def weights_of(tensors: Initializers, files: ExternalFiles, other: Callable[[TensorProto], Weight]) -> list[Weight]:
    """Return the weights of tensors, without roles; those whose elements cannot be read in place are made by `other`."""
    looks = dict[Kind | TensorProto, Look]()
    for kind in {*tensors.kinds}:
        if isinstance(kind, Kind) and in_place(kind.tensor, look := files.look(kind.tensor), files.source):
            looks[kind] = look
    make, source, made = Weight.__new__, files.source, list[Weight]()
    layers = layers_of(tensors.names)
    for name, layer, kind, offset in zip(tensors.names, layers, tensors.kinds, tensors.offsets, strict=True):
        if kind not in looks:
            made.append(other(kind.named(name, offset) if isinstance(kind, Kind) else kind))
            continue
        weight = make(Weight)  # without its constructor, which takes longer than all else here
        weight.shape, weight.dtype, weight.encoding, *_ = looks[kind]
        weight.name, weight.layer, weight.read = name, layer, Stored(source, offset, weight.dtype)
        weight.role, weight.axes, weight.trainable = Role.OTHER, "", None
        weight.tied = weight.overlaps = weight.derivation = None
        made.append(weight)
    return made


def stored_bytes(tensor: TensorProto, dtype: str) -> int:
    """Return the length of a tensor's elements as raw data, in bytes."""
    return bytes_of(prod(tensor.dims), dtype)


def reader_of(tensor: TensorProto, files: ExternalFiles) -> Reader:
    """Return a reader of a tensor's elements; for a tensor that cannot be read, one that raises the reason."""
    if (stored := in_place(tensor, files.look(tensor), files.source)) is not None:
        return stored
    name = files.source.name
    try:
        if tensor.kind not in KINDS or tensor.kind == STRING or tensor.strings:
            shown = printable(tensor.name)
            raise FormatError(name, f"{shown} is of the type {_word(tensor.kind)}, which is not a supported type of numbers")
        check_dims(tensor, name)
        dtype = KINDS[tensor.kind][1]
        return decoded(_raw(tensor, dtype, files), dtype)
    except SteelyardError as error:
        return Refused(error)


def in_place(tensor: TensorProto, look: Look, source: Source) -> Stored | None:
    """Return a reader of elements that the file has as raw data of the right length; None for all others."""
    if len(tensor.elements) != 1 or tensor.external is not None or tensor.strings:
        return None
    (run,) = tensor.elements
    if not run.packed or run.field not in look.fields or run.end - run.offset != look.nbytes:
        return None
    return Stored(source, run.offset, look.dtype)


def _look(tensor: TensorProto) -> Look:
    word, dtype, own = KINDS.get(tensor.kind, (str(tensor.kind), UNKNOWN, 0))
    shape = tuple([max(dim, 0) for dim in tensor.dims[:64]])
    if dtype in (UNKNOWN, *BITS) or not is_possible(tensor.dims):
        return Look(shape, dtype, word, (), 0)
    return Look(shape, dtype, word, (RAW, own) if own in (FLOATS, DOUBLES) else (RAW,), stored_bytes(tensor, dtype))


def check_dims(tensor: TensorProto, name: str) -> None:
    """Raise `FormatError` for a shape that no array can have."""
    if not is_possible(tensor.dims):
        raise FormatError(name, f"{printable(tensor.name)} has the impossible shape {printable(tensor.dims)}")


def _word(kind: int) -> str:
    return KINDS[kind][0] if kind in KINDS else str(kind)


def _raw(tensor: TensorProto, dtype: str, files: ExternalFiles) -> Source:
    """Return the elements as a source of raw bytes, whose length must fit the type and the shape."""
    source, wanted = files.source, stored_bytes(tensor, dtype)
    if tensor.external is not None:
        offset, length = external_range(tensor, wanted, source.name)
        content = files.file(tensor.external.get("location", "")).part(offset, length)
    elif raw := [run for run in tensor.elements if run.field == RAW]:
        content = source.part(raw[-1].offset, raw[-1].end - raw[-1].offset)
    else:
        content = _typed(tensor, dtype, source, wanted)
    if content.size != wanted:
        raise FormatError(
            source.name,
            f"{printable(tensor.name)} has the shape {printable(tensor.dims)} of {_word(tensor.kind)}, "
            f"which takes {wanted:,} bytes, but {content.size:,} are stored",
            tensor.begin,
        )
    return content


def external_range(tensor: TensorProto, wanted: int, name: str) -> tuple[int, int]:
    """Return the offset and the length of the elements in the external file."""
    entries = tensor.external or {}
    numbers = [entries.get("offset", "0"), entries.get("length", str(wanted))]
    if any(not (text.isascii() and text.isdigit() and len(text) < 20) for text in numbers):
        raise FormatError(
            name, f"{printable(tensor.name)} has external data with an invalid offset or length: {printable(numbers)}"
        )
    return int(numbers[0]), int(numbers[1])


def _typed(tensor: TensorProto, dtype: str, source: Source, wanted: int) -> Source:
    """Return the elements of typed fields as raw bytes: in place if they are stored so, otherwise decoded when first read."""
    field = KINDS[tensor.kind][2]
    runs = [run for run in tensor.elements if run.field == field]
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
        return source.part(0, 0)  # without any elements: the caller reports the missing ones
    return _lazy(source, wanted, load)


def _lazy(source: Source, size: int, load: Callable[[], bytes]) -> Source:
    def fill(offset: int, buffer: memoryview) -> None:
        buffer[:] = load()[offset : offset + len(buffer)]

    return Source(source.name, size, fill, source.beside, within=source)


def count(run: Elements) -> int:
    """Return the number of elements of fixed width in a run."""
    width = 4 if run.field == FLOATS else 8
    return (run.end - run.offset) // width if run.packed else (run.end - run.begin) // (width + 1)


def _fixed(runs: list[Elements], source: Source) -> bytes:
    """Return elements of fixed width as raw bytes. Each single one follows a tag, of one byte."""
    import numpy as np

    blocks = []
    for run in runs:
        if run.packed:
            blocks.append(source.read(run.offset, run.end - run.offset))
        else:
            width = 8 if run.field == DOUBLES else 4
            block = np.frombuffer(source.read(run.begin, run.end - run.begin), np.uint8).reshape(-1, width + 1)
            blocks.append(block[:, 1:].tobytes())
    return b"".join(blocks)


def _varints(runs: list[Elements], source: Source, limit: int) -> Array:
    """Return the numbers of runs of varints. Each single one follows a tag, which is itself a varint of one byte."""
    import numpy as np

    blocks = [np.zeros(0, np.uint64)]
    for run in runs:
        begin = run.offset if run.packed else run.begin
        try:
            values = unpacked(source.read(begin, run.end - begin), 2 * limit)
        except ValueError as error:
            raise FormatError(source.name, f"a run of numbers is damaged: {error}", begin) from None
        blocks.append(values if run.packed else values[1::2])
    return np.concatenate(blocks)


def count_integers(runs: list[Elements], source: Source) -> int:
    """Return the number of varints in runs: each has exactly one byte below 128, its last."""
    ends = 0
    for run in runs:
        begin = run.offset if run.packed else run.begin
        ended = len(source.read(begin, run.end - begin).translate(None, bytes(range(128, 256))))
        ends += ended if run.packed else ended // 2  # each follows a tag of one byte
    return ends


def _narrowed(values: Array, dtype: str) -> bytes:
    """Return the numbers of varints as raw bytes. A varint holds a whole byte of elements of two or four bits."""
    import numpy as np

    if BITS.get(dtype) == 6:
        return packed_bytes(values.astype(np.uint8), dtype)
    width = 1 if dtype in BITS else itemsize(dtype)
    return values.astype(np.dtype(f"<u{width}")).tobytes()


def widened(weight: Weight) -> Array:
    """Return the numbers of a weight for the varints of typed fields: the inverse of `_narrowed`."""
    import numpy as np

    values = weight.read(0, weight.size)
    if BITS.get(weight.dtype) == 6:
        return values.view(np.uint8).astype(np.uint64)
    if weight.dtype in BITS:
        return np.frombuffer(packed_bytes(values, weight.dtype), np.uint8).astype(np.uint64)
    signed = weight.dtype.startswith("int")
    return values.view(np.dtype(f"{'i' if signed else 'u'}{values.itemsize}")).astype(np.int64).view(np.uint64)


def sparse_reader(sparse: SparseTensorProto, files: ExternalFiles) -> Reader:
    """Return a reader of the dense form; every index is checked before the first read."""
    try:
        _check_sparse(sparse, files.source.name)
        Budget(files.source).spend_read(prod(sparse.dims) * itemsize(KINDS.get(sparse.values.kind, KINDS[1])[1]))
    except FormatError as error:
        return Refused(error)
    elements, indices = reader_of(sparse.values, files), reader_of(sparse.indices, files)

    def load() -> tuple[Array, Array]:
        where = _flat_indices(indices(0, prod(sparse.indices.dims)), sparse, files.source.name)
        return where, elements(0, prod(sparse.values.dims))

    return dense_reader(load)


def _check_sparse(sparse: SparseTensorProto, name: str) -> None:
    for tensor in (sparse.values, sparse.indices):
        check_dims(tensor, name)
    shown, known, size = printable(sparse.values.name), prod(sparse.values.dims), prod(sparse.dims)
    if not is_possible(sparse.dims):
        raise FormatError(name, f"{shown} has the impossible shape {printable(sparse.dims)}")
    width = itemsize(KINDS.get(sparse.values.kind, KINDS[1])[1])
    if is_bomb(size * width, known * width):
        raise FormatError(name, f"{shown} stores only {known:,} of its {size:,} elements; refused")
    if sparse.indices.kind != 7 or sparse.indices.dims not in ([known], [known, len(sparse.dims)]):
        raise FormatError(name, f"{shown} has indices that do not fit its {known:,} elements")


def _flat_indices(indices: Array, sparse: SparseTensorProto, name: str) -> Array:
    """Return the index of each element in the dense tensor, row-major; indices must increase and be inside."""
    import numpy as np

    if len(sparse.indices.dims) == 2:
        table = indices.reshape(sparse.indices.dims)
        if ((table < 0) | (table >= np.array(sparse.dims))).any():
            raise FormatError(name, f"{printable(sparse.values.name)} has an index outside its shape {printable(sparse.dims)}")
        indices = table @ np.array([prod(sparse.dims[axis + 1 :]) for axis in range(len(sparse.dims))], np.int64)
    if len(indices) and (indices[0] < 0 or indices[-1] >= prod(sparse.dims) or (np.diff(indices) <= 0).any()):
        raise FormatError(name, f"{printable(sparse.values.name)} has indices that do not increase, or are outside its shape")
    return indices
