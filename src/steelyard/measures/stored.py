"""The bytes of weights as they are stored, and as int8, for a view that needs no more of `measures.size`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.subbyte import BITS, bytes_of
from steelyard.dtypes import is_floating
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Weight


def stored_bytes(weight: Weight) -> int:
    """Return the bytes of a weight as its file or its memory has it, before any compression of the file.

    Those of GGML's block quantisations are whole blocks; types of less than a byte are packed in files.
    """
    if isinstance(weight.read, Stored) or not weight.encoding:
        return weight.nbytes
    if weight.dtype in BITS:
        return bytes_of(weight.size, weight.dtype)
    from steelyard.formats.gguf.quantisation import QUANTS

    block = QUANTS.get(weight.encoding)
    if block is None or weight.dtype == "uint8":  # bytes that Steelyard quantised are listed as they are
        return weight.nbytes
    return -(-weight.size // block[0]) * block[1]


def is_matrix(weight: Weight, is_parameter: bool | None) -> bool:
    """Whether quantisers store a weight in fewer bits: a matrix of real numbers that is not a buffer."""
    return is_parameter is not False and len(weight.shape) > 1 and is_floating(weight.dtype)


def matrix_in_int8(weight: Weight) -> int:
    """Return the bytes of a matrix as int8: one for each number, and a float32 scale for each output."""
    return weight.size + 4 * _outputs(weight)


def in_int8(weight: Weight, *, is_parameter: bool | None) -> int:
    """Return the bytes that a weight takes where its net is stored as int8."""
    return matrix_in_int8(weight) if is_matrix(weight, is_parameter) else weight.nbytes


def _outputs(weight: Weight) -> int:
    """Return the length of the axis of outputs, or of the words of an embedding; that of the first axis where it is not known."""
    words = [axis.split("*") for axis in weight.axes.split()]
    found = [length for length, axis in zip(weight.shape, words, strict=False) if {"out", "vocab"} & set(axis)]
    return found[0] if found else weight.shape[0]
