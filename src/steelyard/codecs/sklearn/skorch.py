"""skorch nets: their modules lie inside them as bytes, a pickle or a file of torch, and are put back among their attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from steelyard.codecs.pickle.audit import calls
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, Record, as_source
from steelyard.codecs.torch.archive import is_stream, nested_reader, unpack
from steelyard.codecs.torch.tensors import Tensors
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.storage.source import Source

_KEPT = "__cuda_dependent_attributes__"
"""The attribute that keeps what may lie on a graphics card."""


def open_nets(records: Iterable[Record], name: str, steps: int | None = None) -> list[str]:
    """Put the modules of every net among `records` back, and return what unpickling them would have run.

    `steps` is what is left of the budget for pickles.
    """
    code: dict[str, None] = {}
    for record in list(records):
        value = record.attributes.get(_KEPT)
        data = as_source(value, name) if isinstance(value, (bytes, Blob)) else None
        if data is None:
            continue
        if data.head(1) != b"\x80" or is_stream(data):
            inner, found = unpack(data)
        else:
            machine = Machine(data, steps=steps)
            inner, steps = machine.load(), machine.steps
            found = calls(machine)
        code |= dict.fromkeys(found)
        if type(inner) is dict:
            record.built({**inner, _KEPT: None})
    return list(code)


def tensors_of(source: Source) -> Tensors:
    """Return what tells the tensors of such pickles, which have no storages beside them but files of torch inside."""

    def no_storage(key: Any, word: str, count: int) -> Source:
        raise FormatError(source.name, "its storage lies in no file of torch")

    return Tensors(source, no_storage, nested=nested_reader())
