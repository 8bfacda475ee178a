"""Programs of Paddle, as protocol buffers or as JSON: operators that call Python, or read and write files.

ProgramDesc  1: blocks      BlockDesc  4: operators      OpDesc  3: type
JSON of Paddle 3: {"base_code": {"magic": "pir", ...}, "program": {... {"#": "1.matmul", ...}}}, where 1 is Paddle's own dialect
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.names import words
from steelyard.codecs import limits
from steelyard.codecs.protobuf import BYTES, message
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.storage.source import Source

_PYTHON = words("py_func py_layer pylayer")
_OUTSIDE = words(
    """
    load load_combine save save_combine read_file listen_and_serv send recv fetch_barrier send_barrier heter_listen_and_serv
    distributed_lookup_table push_sparse pull_sparse
    """
)
_MAGIC = re.compile(rb'"magic"\s*:\s*"pir"')
_OPERATOR = re.compile(rb'"#"\s*:\s*"(?:\d+|pd_op|custom_op)\.(\w+)"')


def recognises(source: Source) -> bool:
    """Recognise a program by its name, and one in JSON by its magic word."""
    name = source.name.lower()
    if name.endswith((".pdmodel", "__model__")):
        return not source.is_folder
    return name.endswith(".json") and source.size <= limits.JSON and _MAGIC.search(source.head(256)) is not None


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name each operator that reaches out of the program. Raises `FormatError` for a damaged one."""
    for kind in dict.fromkeys(_operators(source)):
        shown = printable(kind, 200)
        if kind in _PYTHON:
            yield AuditFinding(
                "paddle-python", str(place), f"has the operator {shown}: it calls a function of Python, by its number"
            )
        elif kind in _OUTSIDE:
            yield AuditFinding("paddle-outside", str(place), f"has the operator {shown}: it reaches files or the network")


def _operators(source: Source) -> Iterator[str]:
    if source.head(1) == b"{":
        yield from (name.decode() for name in _OPERATOR.findall(source.read(0, source.size)))
        return
    for block in message(source):
        if block.number == 1 and block.wire == BYTES:
            for operator in block.message():
                if operator.number == 4 and operator.wire == BYTES:
                    yield from (field.text() for field in operator.message() if field.number == 3 and field.wire == BYTES)
