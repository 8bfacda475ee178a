"""NumPy arrays in pickles: a dtype, a shape, and bytes that stay in the file."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Blob, Global, Record, as_source, is_args
from steelyard.core.readers import ByColumns
from steelyard.core.weight import Refused, Role
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

    from steelyard.codecs.pickle.values import Pickled
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Memory = tuple[object, int, int, tuple[int, ...], tuple[int, ...], str]
    """A view: its storage, the offset and the size of an element in bytes, shape, strides in elements, and type."""

MAX_BYTES = 1 << 62
"""Above this many bytes, NumPy cannot represent even the shape of an empty array."""

_PYTHON_FORMATS = (
    *("|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">u4", "<i4", ">i4"),
    *("<u8", ">u8", "<i8", ">i8", "<f4", ">f4", "<f8", ">f8"),
)
"""The types of the elements of Python's own arrays, by the number that a pickle has for each."""

_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


class PickledTensor:
    """A tensor or array of a pickle. The decoder sets shape, dtype and reader; the walk sets path, role and axes.

    `memory` is equal for two tensors that share all their numbers. `in_state_dict` is false for a tensor in another
    attribute of a module. `role` and `axes` are those of the parameter of a known layer; `layer` is None if it is the name up
    to the last dot. `companions` are listed after it, under its name and their own: the scale of a quantised tensor.
    """

    __slots__ = (
        "axes",
        "companions",
        "dtype",
        "encoding",
        "in_state_dict",
        "is_companion",
        "layer",
        "memory",
        "path",
        "read",
        "role",
        "shape",
        "trainable",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        read: Reader,
        memory: Memory | None = None,
        encoding: str = "",
        trainable: bool | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.read = read
        self.memory = memory
        self.encoding = encoding
        self.trainable = trainable
        self.path: tuple[str, ...] = ()
        self.in_state_dict = True
        self.role: Role | None = None
        self.axes = ""
        self.layer: str | None = None
        self.is_companion = False
        self.companions: tuple[tuple[str, PickledTensor], ...] = ()

    def with_companions(self) -> Iterator[PickledTensor]:
        """Yield this tensor, then its companions, whose paths follow from its own."""
        yield self
        for word, tensor in self.companions:
            tensor.path, tensor.in_state_dict = (*self.path, word), self.in_state_dict
            tensor.is_companion, tensor.role = True, Role.OTHER
            yield tensor


def refused(source: Source, what: str, shape: Pickled = (), dtype: str = UNKNOWN, encoding: str = "") -> PickledTensor:
    """Return a listed tensor that raises `FormatError` with this reason when it is read."""
    listed = shape if is_shape(shape) and prod(i for i in shape if i) * itemsize(dtype) < MAX_BYTES else ()
    return PickledTensor(listed, dtype, Refused(FormatError(source.name, what)), encoding=encoding)


def is_shape(value: Pickled) -> TypeGuard[tuple[int, ...]]:
    """Whether a value is a tuple of non-negative integers, with no more axes than NumPy allows.

    >>> is_shape((2, 3)), is_shape((2, -1)), is_shape((True,))
    (True, False, False)
    """
    return type(value) is tuple and len(value) <= limits.RANK and all(type(i) is int and 0 <= i < 1 << 63 for i in value)


def type_code(descr: str) -> tuple[str, str] | None:
    """Return byte order and dtype of a type code such as "<f4" or "f4"; None for a type that is not numeric.

    >>> type_code(">f4"), type_code("|b1"), type_code("O8")
    (('>', 'float32'), ('<', 'bool'), None)
    """
    order, code = (descr[0], descr[1:]) if descr[:1] in ("<", ">", "|", "=") else ("<", descr)
    kind, size = code[:1], code[1:]
    if kind not in _KINDS or not size.isascii() or not size.isdigit() or len(size) > 2:
        return None
    word = "bool" if (kind, size) == ("b", "1") else f"{_KINDS[kind]}{int(size) * 8}"
    return (">" if order == ">" else "<", word) if word in ITEMSIZES and word != "float128" else None


def text_or(descr: str) -> str:
    """Return "text" for the type code of texts, and any other code unchanged.

    >>> text_or("<U5"), text_or("|S3"), text_or("|V8")
    ('text', 'text', '|V8')
    """
    return "text" if descr.lstrip("<>|=")[:1] in ("U", "S") else descr


def by_columns(flat: Reader, shape: tuple[int, ...]) -> Reader:
    """Read a column-major array."""
    return ByColumns(flat, shape) if len(shape) > 1 else flat


def numbers(source: Source, shape: Pickled, dtype: tuple[str, str] | None, *, fortran: bool, encoding: str = "") -> PickledTensor:
    """Return the array whose bytes are all of `source`; an array of another size is listed and refused."""
    if not is_shape(shape):
        return refused(source, f"has an invalid shape: {printable(shape, 80)}")
    if dtype is None:
        kind = text_or(encoding)
        return refused(source, f"holds {printable(encoding) or 'objects'}, not numbers", shape, encoding=kind)
    order, word = dtype
    size = prod(shape) * itemsize(word)
    if prod(i for i in shape if i) * itemsize(word) >= MAX_BYTES or size != source.size:
        return refused(source, f"shape {list(shape)} of {word} takes {size:,} bytes, but there are {source.size:,}", shape, word)
    read: Reader = source.numbers(0, word, order)
    return PickledTensor(shape, word, by_columns(read, shape) if fortran else read, encoding=encoding)


def plain_number(value: float, dtype: str = "") -> PickledTensor:
    """Return a number of Python as an array without axes, of its own type unless `dtype` names another."""
    word = dtype or ("float64" if type(value) is float else "int64")

    def read(start: int, stop: int) -> Array:
        import numpy as np

        return np.array([value], word)[start:stop]

    return PickledTensor((), word, read)


def array_of(value: Pickled, source: Source) -> PickledTensor | None:
    """Return the array that a record stands for; None for any other value, and for an array of objects (`objects_of`).

    `source` is the pickle, for messages. An array that the pickle has at two places is one: both have its memory.
    """
    if not isinstance(value, Record) or not isinstance(value.args, tuple):
        return None
    array = _array_of(value, value.args, source)
    if array is not None and array.memory is None and array.shape:
        array.memory = (id(value), 0, 0, (), (), "")
    return array


def _array_of(  # noqa: PLR0911 - one for each kind of array
    value: Record, args: tuple[Pickled, ...], source: Source
) -> PickledTensor | None:
    name = value.text.replace("numpy._core.", "numpy.core.")
    if name == "numpy.core.multiarray._reconstruct":
        return _reconstructed(value, source)
    if name == "numpy.ma.core._mareconstruct":
        return _masked(value, source)
    if name in ("array._array_reconstructor", "array.array"):
        return _python_array(name, args, source)
    if name == "numpy.core.numeric._frombuffer" and len(args) == 4:
        data, dtype, shape, order = args
        return _array(source, data, dtype, shape, order == "F")
    if name == "numpy.core.multiarray.scalar" and len(args) == 2:
        return _array(source, args[1], args[0], (), False)
    if name == "jax._src.array._reconstruct_array" and len(args) >= 3:
        inner = Record(args[0], args[1])
        inner.state = args[2]
        # not by array_of: the identity of this record, which nobody keeps, would be that of another one's memory
        is_plain = isinstance(inner.call, Global) and "jax" not in inner.text
        return _array_of(inner, inner.args, source) if is_plain and isinstance(inner.args, tuple) else None
    return None


def objects_of(value: Pickled) -> tuple[tuple[int, ...], list[Pickled]] | None:
    """Return shape and members of an array of objects; None for anything else."""
    state = _state(value) if isinstance(value, Record) and value.text.endswith("multiarray._reconstruct") else None
    if state is None:
        return None
    shape, _, _, members = state
    return (shape, members) if isinstance(members, list) and is_shape(shape) and prod(shape) == len(members) else None


# The state of an array:
#   version   1; absent in pickles of NumPy before 1.0
#   shape     tuple of integers
#   dtype     a call of numpy.dtype
#   fortran   True for column-major
#   data      bytes, or a list of the members of an array of objects
def _state(record: Record) -> tuple[Pickled, ...] | None:
    """Return shape, dtype, order and data of an array."""
    state = record.state
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        return None
    return state[-4:]


def _reconstructed(record: Record, source: Source) -> PickledTensor | None:
    state = _state(record)
    if state is None:
        return refused(source, "an array has no state, and so no numbers") if record.state is not None else None
    shape, dtype, fortran, data = state
    if isinstance(data, list):
        return (
            None if objects_of(record) else refused(source, f"an array of objects of shape {printable(shape, 80)} holds others")
        )
    return _array(source, data, dtype, shape, fortran is True)


# The state of a masked array: version, shape, dtype, fortran, the bytes of the numbers, the bytes of the mask, the fill value
def _masked(record: Record, source: Source) -> PickledTensor:
    """List a masked array as unreadable: the numbers under its mask are not part of it, so it has no plain array."""
    shape, dtype = record.state[1:3] if is_args(record.state, 3) else ((), None)
    code = dtype_code(dtype)
    kind = ("<", code) if code in ITEMSIZES else type_code(code) if code else None
    what = "is a masked array, whose masked entries have no numbers; save its data and its mask as two arrays"
    return refused(source, what, shape, kind[1] if kind else UNKNOWN, "masked array")


# A call that makes an array of Python's module "array":
#   array.array                 the class, or in older pickles the call itself, with the type code and a list of numbers
#   type code                   as in the module "struct"
#   number of the format        index of _PYTHON_FORMATS
#   bytes                       the elements
def _python_array(name: str, args: tuple[Pickled, ...], source: Source) -> PickledTensor:
    what = "is an array of Python whose type is not known"
    if name == "array.array":
        held = args[1] if len(args) > 1 else []
        shape = (len(held),) if isinstance(held, (list, bytes, Blob)) else ()
        return refused(source, "is an array of Python that an old pickle holds as a list; save it as an array of NumPy", shape)
    number, data = args[2:] if len(args) == 4 else (None, None)
    known = type(number) is int and 0 <= number < len(_PYTHON_FORMATS)
    content, kind = as_source(data, source), type_code(_PYTHON_FORMATS[number]) if known else None  # type: ignore[index]
    if content is None or kind is None:
        return refused(source, what)
    return numbers(content, (content.size // itemsize(kind[1]),), kind, fortran=False)


def _array(source: Source, data: Pickled, dtype: Pickled, shape: Pickled, fortran: bool) -> PickledTensor:
    content = as_source(data, source)
    if content is None:
        return refused(source, "the numbers of an array are computed by a call, which is not made")
    code = dtype_code(dtype)
    if code is not None and code in ITEMSIZES:  # a type of ml_dtypes is known by its word
        return numbers(content, shape, ("<", code), fortran=fortran)
    kind = type_code(code) if code else None
    return numbers(content, shape, kind, fortran=fortran, encoding="" if kind else code or "")


def dtype_code(dtype: Pickled) -> str | None:
    """Return the code of a pickled dtype, such as ">f4"; None for any other value."""
    if not isinstance(dtype, Record) or dtype.text != "numpy.dtype" or not is_args(dtype.args):
        return None
    code = dtype.args[0]
    if isinstance(code, Global):
        return code.name if code.module.partition(".")[0] == "ml_dtypes" and code.name in ITEMSIZES else None
    order = dtype.state[1] if is_args(dtype.state, 2) else ""
    if type(code) is not str:
        return None
    return f"{order}{code}" if order in ("<", ">") else code
