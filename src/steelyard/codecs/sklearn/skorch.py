"""skorch nets: a net contains its modules as bytes, a pickle or a file of torch; they are decoded into its attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, Record, as_source
from steelyard.codecs.torch.archive import is_stream, nested_reader, unpack
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_KEPT = "__cuda_dependent_attributes__"
"""The attribute with all objects that may be on a GPU."""


def open_nets(records: Iterable[Record], source: Source) -> None:
    """Decode the modules of every net among `records` into its attributes."""
    for record in list(records):
        value = record.attributes.get(_KEPT)
        data = as_source(value, source) if isinstance(value, (bytes, Blob)) else None
        if data is None:
            continue
        is_file = data.head(1) != b"\x80" or is_stream(data)
        inner = unpack(data) if is_file else Machine(data).load()
        if isinstance(inner, dict):
            record.built({**inner, _KEPT: None})


def decoder_of(source: Source) -> TensorDecoder:
    """Return a decoder for a pickle that is not in a file of torch, but may contain such files."""

    def no_storage(key: str | int, word: str, count: int) -> Source:
        raise FormatError(source.name, "its storage is not in a file of torch")

    return TensorDecoder(source, no_storage, nested=nested_reader())
