"""NumPy arrays as pickles speak of them: a type, a shape, and bytes that stay where they are."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Global, Record, as_source
from steelyard.core.readers import ByColumns, refusing
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

SIZE = 1 << 62
"""Bytes that no array reaches; beyond that NumPy cannot even say the shape of an empty one."""

_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


class Found:
    """Numbers that were found: their shape, type and reader. `place` is equal for two that share one memory."""

    __slots__ = ("dtype", "encoding", "place", "read", "shape", "trainable")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str,
        read: Reader,
        place: Any = None,
        encoding: str = "",
        trainable: bool | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.read = read
        self.place = place
        self.encoding = encoding
        self.trainable = trainable


def refused(source: Source, what: str, shape: Any = (), dtype: str = "object", encoding: str = "") -> Found:
    """List what must not or cannot be read, with the reason."""
    known = is_shape(shape) and prod(i for i in shape if i) * itemsize(dtype) < SIZE
    return Found(shape if known else (), dtype, refusing(FormatError(source.name, what)), encoding=encoding)


def is_shape(value: Any) -> bool:
    """Tell whether a value is a tuple of whole numbers from 0 on, of no more axes than NumPy has.

    >>> is_shape((2, 3)), is_shape((2, -1)), is_shape((True,))
    (True, False, False)
    """
    return type(value) is tuple and len(value) <= limits.RANK and all(type(i) is int and 0 <= i < 1 << 63 for i in value)


def type_code(descr: str) -> tuple[str, str] | None:
    """Return byte order and word of a type code such as "<f4" or "f4"; None for what holds no numbers.

    >>> type_code(">f4"), type_code("|b1"), type_code("O8")
    (('>', 'float32'), ('<', 'bool'), None)
    """
    order, code = (descr[0], descr[1:]) if descr[:1] in ("<", ">", "|", "=") else ("<", descr)
    kind, size = code[:1], code[1:]
    if kind not in _KINDS or not size.isascii() or not size.isdigit() or len(size) > 2:
        return None
    word = "bool" if (kind, size) == ("b", "1") else f"{_KINDS[kind]}{int(size) * 8}"
    return (">" if order == ">" else "<", word) if word in ITEMSIZES and word != "float128" else None


def by_columns(flat: Reader, shape: tuple[int, ...]) -> Reader:
    """Read an array that lies column by column."""
    return ByColumns(flat, shape) if len(shape) > 1 else flat


def numbers(source: Source, shape: Any, dtype: tuple[str, str] | None, *, fortran: bool, encoding: str = "") -> Found:
    """Return the array whose bytes are all of `source`; what does not fit is listed and refused."""
    if not is_shape(shape):
        return refused(source, f"has a shape that makes no sense: {printable(shape, 80)}")
    if dtype is None:
        return refused(source, f"holds {printable(encoding) or 'objects'}, not numbers", shape)
    order, word = dtype
    size = prod(shape) * itemsize(word)
    if prod(i for i in shape if i) * itemsize(word) >= SIZE or size != source.size:
        return refused(source, f"shape {list(shape)} of {word} takes {size:,} bytes, but there are {source.size:,}", shape, word)
    read: Reader = source.numbers(0, word, order)
    return Found(shape, word, by_columns(read, shape) if fortran else read, encoding=encoding)


def array_of(value: Any, source: Source) -> Found | None:
    """Return the array that a record stands for, or None when it stands for something else.

    `source` is the pickle, for messages. An array of objects is no array of numbers: see `objects_of`.
    """
    if not isinstance(value, Record) or type(value.args) is not tuple:
        return None
    name = value.text.replace("numpy._core.", "numpy.core.")
    if name == "numpy.core.multiarray._reconstruct":
        return _reconstructed(value, source)
    if name == "numpy.core.numeric._frombuffer" and len(value.args) == 4:
        data, dtype, shape, order = value.args
        return _array(source, data, dtype, shape, order == "F")
    if name == "numpy.core.multiarray.scalar" and len(value.args) == 2:
        return _array(source, value.args[1], value.args[0], (), False)
    if name == "jax._src.array._reconstruct_array" and len(value.args) >= 3:
        inner = Record(value.args[0], value.args[1])
        inner.state = value.args[2]
        return array_of(inner, source) if isinstance(inner.call, Global) and "jax" not in inner.text else None
    return None


def objects_of(value: Any) -> tuple[tuple[int, ...], list[Any]] | None:
    """Return shape and members of an array of objects; None for anything else."""
    parts = _state(value) if isinstance(value, Record) and value.text.endswith("multiarray._reconstruct") else None
    if parts is None or type(parts[3]) is not list or not is_shape(parts[0]) or prod(parts[0]) != len(parts[3]):
        return None
    return parts[0], parts[3]


def _state(record: Record) -> tuple[Any, ...] | None:
    """Return shape, type, order and data; the oldest pickles have no version before them."""
    state = record.state
    if type(state) is not tuple or len(state) not in (4, 5):
        return None
    return state[-4:]


def _reconstructed(record: Record, source: Source) -> Found | None:
    parts = _state(record)
    if parts is None:
        return refused(source, "an array without a state has no numbers") if record.state is not None else None
    shape, dtype, fortran, data = parts
    if type(data) is list:
        return (
            None if objects_of(record) else refused(source, f"an array of objects of shape {printable(shape, 80)} holds others")
        )
    return _array(source, data, dtype, shape, fortran is True)


def _array(source: Source, data: Any, dtype: Any, shape: Any, fortran: bool) -> Found:
    content = as_source(data, source.name)
    if content is None:
        return refused(source, "the numbers of an array are computed by a call, which is not made")
    code = dtype_code(dtype)
    if code is not None and code in ITEMSIZES:  # a type of ml_dtypes is known by its word
        return numbers(content, shape, ("<", code), fortran=fortran)
    kind = type_code(code) if code else None
    return numbers(content, shape, kind, fortran=fortran, encoding="" if kind else code or "")


def dtype_code(dtype: Any) -> str | None:
    """Return the code of a pickled dtype, such as ">f4"; None when it is no dtype of numbers."""
    if not isinstance(dtype, Record) or dtype.text != "numpy.dtype" or type(dtype.args) is not tuple or not dtype.args:
        return None
    code = dtype.args[0]
    if isinstance(code, Global):
        return code.name if code.module.partition(".")[0] == "ml_dtypes" and code.name in ITEMSIZES else None
    order = dtype.state[1] if type(dtype.state) is tuple and len(dtype.state) > 1 else ""
    if type(code) is not str:
        return None
    return f"{order}{code}" if order in ("<", ">") else code
