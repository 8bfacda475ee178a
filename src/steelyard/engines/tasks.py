"""Tasks: how one is run wherever it is, and what stands for one that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.threads import with_threads
from steelyard.errors import FormatError, SteelyardError, printable

if TYPE_CHECKING:
    Function = Callable[[Any], Any]
    Found = tuple[int, Any]

AHEAD = 4
"""Tasks that are submitted for each worker, so that none waits for the next."""


class Failure(NamedTuple):
    """A task that failed: the `kind` of the error, as "FormatError", and its `text` on one line."""

    kind: str
    text: str

    def error(self) -> SteelyardError:
        """Return the error, to be raised by a call that has one task; of its own class, if that is one of Steelyard's."""
        from steelyard import errors

        own: Any = getattr(errors, self.kind, None)
        if not isinstance(own, type) or not issubclass(own, SteelyardError):
            return SteelyardError(f"{self.kind}: {self.text}")
        made: Any = own
        error: SteelyardError = made.__new__(made, self.text)  # without the arguments of which it makes its text
        if isinstance(error, FormatError):
            error.file, error.offset, error.audit = "", None, None
        return error

    def to_dict(self) -> dict[str, str]:
        """Return it as plain Python, as the record of a file that cannot be read."""
        return {"error": self.text, "kind": self.kind}


def tried(function: Function, task: Any) -> Any:
    """Return what the function returns for a task, or a `Failure`; it starts no threads."""
    try:
        with with_threads(1):
            return function(task)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a task is its row, and the others go on
        return failure(error)


def failure(error: BaseException) -> Failure:
    """Return the row of an error."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return Failure(type(error).__name__, printable(text, 2000))
