"""Every class and function that the pickles of a file name, expected or not; unpickling imports each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from steelyard.auditing import pickles
from steelyard.auditing.candidates import Auditors
from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.auditing.folders import parts
from steelyard.auditing.walk import Walk
from steelyard.storage.opening import open_source

if TYPE_CHECKING:
    from steelyard.auditing.findings import Auditor
    from steelyard.storage.source import Source


def imports(path: str | os.PathLike[str]) -> dict[str, int]:
    r"""Return module and name of each class or function that the pickles of a file name, and how often they do, by name.

    Archives, compressed streams and pickles in the file are opened. Raises `FileMissingError` for a missing file.

    Examples:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "model.pkl")
        >>> with open(path, "wb") as file:
        ...     _ = file.write(b"cos\nsystem\n(Vls\ntR.")
        >>> imports(path)
        {'os.system': 1}
    """
    pickled = _Pickles()
    known = Auditors({"pickles": cast("Auditor", pickled)})
    for part in parts(open_source(os.fspath(path))):
        if isinstance(part, Inside):
            Walk(known).through(part)
    return dict(sorted(pickled.counts.items()))


class _Pickles:
    """The auditor of pickles, which counts what they name."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def recognises(self, source: Source) -> bool:
        return pickles.recognises(source)

    def findings(self, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        run = pickles.run_of(source, place)
        if run is not None:
            self.counts.update({f"{module}.{name}": count for (module, name), count in run.log.uses.items()})
            yield from run.found()
