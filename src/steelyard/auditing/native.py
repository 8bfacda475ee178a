"""Compiled programs and libraries, which a loader of exported models runs: ELF, Mach-O and Windows.

7F 45 4C 46 ("ELF")    FE ED FA CE, FE ED FA CF, CE FA ED FE, CF FA ED FE (Mach-O)    4D 5A ... 50 45 0 0 (MZ ... PE)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.storage.source import Source

_MAGICS = (b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")


def recognises(source: Source) -> bool:
    """Recognise the first bytes of a program."""
    head = source.head(64)
    return head.startswith(_MAGICS) or (head[:2] == b"MZ" and _is_windows(source, head))


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name the program."""
    what = f"contains a compiled program or library of {source.size:,} bytes, which a loader of exported models runs"
    yield AuditFinding("native-code", str(place), what, {"bytes": source.size})


def _is_windows(source: Source, head: bytes) -> bool:
    at = int.from_bytes(head[60:64], "little")
    return len(head) == 64 and at + 4 <= source.size and source.read(at, 4) == b"PE\0\0"
