"""Pickles and joblib's files of any object: scikit-learn, skorch, whole modules, dicts of arrays; nothing is unpickled.

A joblib file may be compressed by zlib, gzip, bz2, lzma, xz or lz4. The names are those of the live objects.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from steelyard.codecs.arrays import Found
from steelyard.codecs.code import calls
from steelyard.codecs.compressed import begins, plain
from steelyard.codecs.estimators import estimator_entries
from steelyard.codecs.found import Walk
from steelyard.codecs.inert import Blob, Record, as_source
from steelyard.codecs.joblib_arrays import after_build, companion
from steelyard.codecs.listing import listed
from steelyard.codecs.pickle import Machine
from steelyard.codecs.torch_archives import is_stream, nested_reader, unpack
from steelyard.codecs.torch_tensors import Tensors
from steelyard.core.weights import Weights
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.core.source import Source

SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".pdparams", ".pkl.gz", ".lz4")

_TEXT = re.compile(rb"\(d|\(l|\}[q\x94(u.]|\][q\x94(e.]|c[\w.]+\r?\n[\w.]+\r?\n|\(c[\w.]+\r?\n|\(i[\w.]+\r?\n|ccopy_reg")
_TORCH = "__cuda_dependent_attributes__"
"""Where skorch keeps its modules: as the bytes of a file of torch."""


def sniff(source: Source) -> bool:
    """The first opcode of a pickle, also inside a compressed stream; the text protocols only where they are plain."""
    head = begins(source)
    if head[:1] == b"\x80":
        return 2 <= head[1] <= 5 if len(head) > 1 else False
    return bool(_TEXT.match(head)) and (source.name.lower().endswith(SUFFIXES) or source.read(source.size - 1, 1) == b".")


def read(source: Source, part: str) -> Weights:
    """By the names of the live objects, in the order of the pickle; with part "all" every array by its full path."""
    content = plain(source)
    if is_stream(content):
        raise FormatError(source.name, "is a stream of torch inside a compressed file; unpack it first")
    machine = Machine(content, after_build)
    root = machine.load()
    _open_nets(machine)
    code = calls(machine)
    look = _look(content)
    walk = Walk(content, look).through(root)
    own = estimator_entries(root, look, content) if part != "all" else None
    return listed(source, root, walk, part, {"format": "pickle"}, code, own)


def _open_nets(machine: Machine) -> None:
    """Put what skorch kept as bytes, a pickle or a file of torch, back among the attributes of its nets."""
    for record in list(machine.records):
        held = record.attributes
        inner = _opened(machine, held[_TORCH]) if _TORCH in held else None
        if type(inner) is dict:
            record.built({**inner, _TORCH: None})


def _opened(machine: Machine, value: Any) -> Any:
    data = as_source(value, machine.source.name) if isinstance(value, (bytes, Blob)) else None
    if data is None or data.head(1) != b"\x80" or is_stream(data):
        return unpack(value, machine.source.name)
    inner = Machine(data, steps=machine.steps)
    root = inner.load()
    machine.steps = inner.steps
    machine.records += inner.records
    machine.globals |= inner.globals
    return root


def _look(source: Source) -> Any:
    def no_storage(key: Any, word: str, count: int) -> Source:
        raise FormatError(source.name, "its storage lies in no file of torch")

    tensors = Tensors(source, no_storage, nested=nested_reader())

    def look(value: Any) -> Found | None:
        found = companion(value, source) if isinstance(value, Record) else None
        return found or tensors.found(value)

    return look
