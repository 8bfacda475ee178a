"""The results of one measurement of many files."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.engines.tasks import Failure
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.errors import SteelyardError


class ByFile:
    """What a measurement says of each file, by path in the given order; `failed` has the `Failure` of each other file.

    `found[path]` raises the error of a file that failed.
    """

    __slots__ = ("_found", "failed")

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = {file: each for file, each in found.items() if not isinstance(each, Failure)}
        self.failed = {file: each for file, each in found.items() if isinstance(each, Failure)}

    def __getitem__(self, file: str) -> Any:
        if file in self.failed:
            error: SteelyardError = self.failed[file].error()
            raise error
        return self._found[file]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def items(self) -> ItemsView[str, Any]:
        """Return the paths of the files that did not fail, each with what was found."""
        return self._found.items()

    def __repr__(self) -> str:
        shown = [f"{printable(file)}\n{each!r}" for file, each in self._found.items()]
        return "\n\n".join([*shown, *(f"error: {each.text}" for each in self.failed.values())])

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON: the record of each file, or its error."""
        found = {file: each.to_dict() for file, each in self._found.items()}
        return found | {file: each.to_dict() for file, each in self.failed.items()}
