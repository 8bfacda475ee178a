"""NumPy's `.npy`: a header, then the numbers. Such a file may be a member of an archive."""

from __future__ import annotations

import ast
import re
import struct
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import PickledTensor, array_of, is_shape, numbers, refused, text_or, type_code
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Record
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import FormatError, cut_off, printable

if TYPE_CHECKING:
    from steelyard.storage.source import Source

MAGIC = b"\x93NUMPY"

_HEAD = 128  # bytes: NumPy pads the header of nearly every array to this length
_NUMBER = rb"(?:0|[1-9][0-9]{0,17})"
_PLAIN = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z][0-9]{0,6})', 'fortran_order': (False|True), "
    rb"'shape': \(((?:%b(?:,|(?:, %b)+))?)\), \} *\n?\Z" % (_NUMBER, _NUMBER)
)
"""The text as NumPy writes it, which is read faster than any other."""


def array_in(source: Source, dtype: str | None = None) -> list[PickledTensor]:
    """Return the array of a `.npy` file; an array of objects is walked, not unpickled.

    `dtype` is the type of numbers that NumPy stores as raw bytes. Raises `FormatError` for a damaged file.
    """
    tensor = numbers_in(source, dtype)
    if tensor is not None:
        return [tensor]
    offset, descr, _, shape = header(source)
    if "O" in descr:
        return _objects_in(source, offset, shape)
    return [refused(source, f"holds {descr}, not numbers", shape, encoding=text_or(descr))]


def numbers_in(source: Source, dtype: str | None = None) -> PickledTensor | None:
    """Return the array of a `.npy` file that holds numbers, which fill it; None for an array of anything else.

    Raises as `array_in` does.
    """
    offset, descr, fortran, shape = header(source)
    code = type_code(descr)
    if dtype in ITEMSIZES and descr[1:2] == "V" and descr[2:] == str(itemsize(dtype)):
        code = "<", dtype
    if code is None:
        return None
    size = prod(shape) * itemsize(code[1])
    if offset + size > source.size:
        raise cut_off(source.name, source.size, offset + size)
    if offset + size != source.size:
        raise FormatError(
            source.name, f"shape {list(shape)} of {descr} takes {size:,} bytes, but {source.size - offset:,} follow the header"
        )
    return numbers(source.part(offset, size), shape, code, fortran=fortran, encoding=descr)


def _objects_in(source: Source, offset: int, shape: tuple[int, ...]) -> list[PickledTensor]:
    """Walk the pickle that follows the header; without an array in it, list the objects as refused."""
    nothing = refused(source, "holds objects, not numbers; an array of Python objects is never unpickled", shape)
    machine = Machine(source)
    try:
        root = machine.load(offset)
        walk = TensorWalk(source, lambda value: array_of(value, source)).through(root if isinstance(root, Record) else [root])
    except FormatError as error:
        return [refused(source, str(error), shape)]
    return walk.tensors or [nothing]


# The header of a .npy file, little-endian:
#   offset   size     field
#   0        6        magic, 93 "NUMPY"
#   6        2        version, 1.0 to 3.0
#   8        2 or 4   length n of the text; 4 bytes since version 2
#   10 or 12  n       a Python dict of descr, fortran_order and shape, padded with spaces; UTF-8 in version 3, else Latin-1
def header(source: Source) -> tuple[int, str, bool, tuple[int, ...]]:
    """Return the offset of the numbers, their type code, whether they are column-major, and the shape."""
    head = source.head(_HEAD)
    if len(head) < 12:
        head = source.read(0, 12)  # raises
    if head[:6] != MAGIC or head[6] not in (1, 2, 3):
        raise FormatError(source.name, "is not a .npy file of version 1 to 3", 0)
    wide = head[6] > 1
    begin = 12 if wide else 10
    (length,) = struct.unpack("<L" if wide else "<H", head[8:begin])
    if length > limits.NPY_HEADER:
        raise FormatError(
            source.name, f"the header claims {length:,} bytes, more than the {limits.NPY_HEADER:,} that are allowed", 8
        )
    end = begin + length
    text = head[begin:end] if end <= len(head) else source.read(begin, length)
    try:
        descr, fortran, shape = _facts(text, head[6] == 3)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise FormatError(
            source.name, f"the header is not a dictionary of descr, fortran_order and shape: {error}", begin
        ) from None
    if type(fortran) is not bool or not is_shape(shape):
        what = f"the header has an invalid shape or order: {printable(shape)}, {printable(fortran)}"
        raise FormatError(source.name, what, begin)
    return end, descr, fortran, shape


@lru_cache(64)  # most arrays of an archive have one of a few shapes
def _facts(text: bytes, is_utf8: bool) -> tuple[str, bool, tuple[int, ...]]:
    """Return type code, order and shape, of which only the first is checked."""
    if plain := _PLAIN.match(text):
        descr, fortran, shape = plain.groups()
        return descr.decode(), fortran == b"True", tuple(map(int, filter(None, shape.split(b","))))
    fact = ast.literal_eval(text.decode("utf-8" if is_utf8 else "latin-1").strip())
    return _descr(fact["descr"]), fact["fortran_order"], fact["shape"]


def _descr(descr: object) -> str:
    """Return a type code; a record of one numeric field has the code of the field."""
    if isinstance(descr, list) and len(descr) == 1 and len(descr[0]) == 2 and isinstance(descr[0][1], str):
        return descr[0][1]
    if not isinstance(descr, (str, list)):
        raise TypeError(f"descr is {printable(repr(descr))}, not a type code")
    return descr if isinstance(descr, str) else printable(repr(descr))
