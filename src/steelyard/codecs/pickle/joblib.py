"""joblib's pickles: the bytes of each array follow the BUILD opcode of its wrapper, in the middle of the stream."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import PickledTensor, dtype_code, is_shape, refused, type_code
from steelyard.codecs.pickle.gensim import GENSIM
from steelyard.codecs.pickle.values import Blob, Global, Record
from steelyard.dtypes import itemsize
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.storage.source import Source


_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"
_COMPANIONS = ("joblib.numpy_pickle.NDArrayWrapper", "joblib.numpy_pickle_compat.NDArrayWrapper")
_PACKED = ("joblib.numpy_pickle.ZNDArrayWrapper", "joblib.numpy_pickle_compat.ZNDArrayWrapper")


# After the BUILD opcode of a NumpyArrayWrapper:
#   size   field
#   1      padding, n; only if the state has numpy_array_alignment_bytes
#   n      padding
#   ...    the elements; or, of an array of objects, a pickle of its own
def after_build(machine: Machine, record: Record) -> Pickled:
    """Return the array of a wrapper whose state is set, and continue after the array's bytes."""
    if record.text.removeprefix("sklearn.externals.") != _ARRAY:
        return record
    held, stream = record.attributes, machine.stream
    shape, dtype = held.get("shape"), held.get("dtype")
    code = dtype_code(dtype)
    if code is None and isinstance(dtype, Record) and "O" in str(dtype.args):
        return _objects(machine)
    kind = type_code(code) if code else None
    size = itemsize(kind[1]) if kind else _width(code)
    if not is_shape(shape) or size is None:
        what = f"an array of shape {printable(shape, 80)} and type {printable(code, 40)} follows, whose length is not known"
        raise stream.error(what)
    if code and "O" in code:
        return _objects(machine)
    if held.get("numpy_array_alignment_bytes") is not None:
        stream.take(stream.number(1))
    length = prod(shape) * size
    offset = stream.offset
    if offset + length > stream.source.size:
        left = stream.source.size - offset
        raise stream.error(f"an array of {length:,} bytes follows, but {left:,} are left (partial download?)")
    stream.skip_to(offset + length)
    array = Record(Global("numpy.core.multiarray", "_reconstruct"), ())
    array.state = (1, shape, dtype, held.get("order") == "F", Blob(stream.source, offset, length))
    return array


def _width(code: str | None) -> int | None:
    """Return the size in bytes of an element that is not a number: text, dates, raw bytes; 0 for an object."""
    if code is None:
        return None
    kind, digits = code.lstrip("<>|=")[:1], code.lstrip("<>|=")[1:]
    if kind == "O":
        return 0
    if kind in ("M", "m"):
        return 8
    if kind in ("S", "V", "U", "f", "c") and digits.isascii() and digits.isdigit() and len(digits) < 9:
        return int(digits) * (4 if kind == "U" else 1)
    return None


def _objects(machine: Machine) -> Pickled:
    """Load an array of objects, which is a pickle of its own."""
    if machine.depth >= limits.NESTED_PICKLES:
        raise machine.stream.error(f"more than {limits.NESTED_PICKLES} levels of nested pickles")
    offset = machine.stream.offset
    inner = machine.nested(offset)
    value = inner.load()
    machine.resume(inner, offset)
    return value


def companion(value: Pickled, source: Source, missing: dict[str, str]) -> PickledTensor | None:
    """Return an array that joblib before 0.10, or gensim, wrote to a file of its own; None for any other value.

    The name of a file that does not exist is added to `missing`, with the name of its library.
    """
    if not isinstance(value, Record):
        return None
    name = value.text.removeprefix("sklearn.externals.")
    if name in _PACKED:
        return refused(source, "an array that joblib before 0.10 compressed into a file of its own, in a way that is not read")
    if name not in _COMPANIONS and name != GENSIM:
        return None
    file = value.attributes.get("filename")
    try:
        if type(file) is not str:
            raise FormatError(source.name, "an array in a file without a name")
        from steelyard.codecs.pickle.npy import array_in

        return array_in(source.beside(file))[0]
    except FileMissingError:
        missing[str(file)] = "gensim" if name == GENSIM else "joblib"
        return refused(source, f"its numbers are in {quoted(file)}, which is missing")
    except SteelyardError as error:
        return refused(source, str(error).removeprefix(f"{printable(source.name)}: "))
