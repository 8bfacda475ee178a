"""R's own files: what R evaluates when an object is loaded or used, and calls that reach out. Nothing is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, reason
from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import is_compressed
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.codecs.r.stream import Contents
    from steelyard.storage.source import Source


def recognises(source: Source) -> bool:
    """Recognise an uncompressed serialization; compressed streams are opened by their own auditor."""
    if source.head(1) not in (b"X", b"B", b"A", b"R") or is_compressed(source):
        return False
    from steelyard.codecs.r.stream import is_r

    return is_r(source)


def findings(source: Source, place: Place, listed: Contents | None = None) -> Iterator[AuditFinding | Inside]:
    """Judge all objects, in their order, then the damage; a file that was `listed` is not parsed again."""
    from steelyard.auditing.r_objects import RUNS, ObjectWalk, masks
    from steelyard.codecs.r.stream import holds_session, read_symbols

    root, symbols, broken = read_symbols(source) if listed is None else (*listed, None)
    walk = ObjectWalk(symbols)
    found = dict.fromkeys((*(masks(root) if holds_session(source) else ()), *walk.through(root)))
    for rule, what in [*found][: limits.FINDINGS]:
        yield AuditFinding(rule, str(place), what)
    if broken is not None:
        for name in sorted(symbols & RUNS):
            yield AuditFinding("r-call", str(place), f"names {printable(name)} before it is damaged")
        rule = "not-looked-into" if Budget(source).is_used_up else "damaged"
        yield AuditFinding(rule, str(place), reason(broken, source.name))
