"""What the loading of a file would run, as text."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.errors import first_of, printable

_RAN = "would have run "
_SHOWN = 160
"""Maximum characters of a call that are shown."""


def code_line(file: str, ran: Sequence[str]) -> str:
    """Name the first call among findings about what loading a file would run, and count the others.

    >>> code_line("a.pt", ["names os.path near damage", "would have run os.system('ls')"])
    "loading a.pt with its own library would run os.system('ls') and 1 more; see steelyard check"
    """
    calls = [what.removeprefix(_RAN) for what in ran if what.startswith(_RAN)]
    first = (
        f"run {printable(calls[0], _SHOWN)}" if calls else f"run code or reach out of the file, which {printable(ran[0], _SHOWN)}"
    )
    return f"loading {printable(file)} with its own library would {first_of([first, *ran[1:]], 1, str)}; see steelyard check"
