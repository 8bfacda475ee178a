"""A journal of finished work, so that a run that was ended goes on where it was: a line of JSON for each part.

A line has the `key` of the work (what was measured, with which options, of which version of which file, and which runs of
it) and what was `found`. A line is written when its part is done; one that a kill left unfinished is left out. Nothing of a
journal is run: it is read as JSON, and only the classes of `plain.CLASSES` are made of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from steelyard.codecs import limits
from steelyard.codecs.budget import json_cost
from steelyard.engines.plain import back, plain
from steelyard.engines.tasks import Failure
from steelyard.errors import FormatError
from steelyard.numerics.fast import as_asked, kernels_name
from steelyard.numerics.weight_stats import Subject, WeightStats

if TYPE_CHECKING:
    from steelyard.engines import Engine
    from steelyard.engines.tasks import Found

RECORDED_BADLY = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What may happen with numbers that are none, in a record that someone else wrote."""
HEAD = {"steelyard": "journal", "version": 1}


class Journal:
    """The journal in a file, which is made if it is missing; `used` counts what it knew.

    Raises `FormatError` for a file that is something else, and for a record that no measurement wrote.
    """

    __slots__ = ("_file", "_places", "used")

    def __init__(self, path: str) -> None:
        self._file = open(path, "a+b")  # noqa: SIM115 - it is open until `close`
        self._places: dict[str, int] = {}
        self.used = 0
        if os.fstat(self._file.fileno()).st_size == 0:
            self._write(HEAD)
            return
        try:
            self._read(path)
        except BaseException:
            self._file.close()
            raise

    def _read(self, path: str) -> None:
        self._file.seek(0)
        at = end = 0
        budget = limits.MEMORY + limits.MEMORY_PER_BYTE * os.fstat(self._file.fileno()).st_size
        for line in self._file:
            if json_cost(line) > budget:
                raise FormatError(path, "has a record of too many values; refused, see steelyard.limits", at)
            record = _parsed(line)
            if at == 0 and record != HEAD:
                raise FormatError(path, "is not a journal of Steelyard; pass another file, or one that is not there yet")
            if record is not None:
                end = at + len(line)
                if "key" in record:
                    self._places[str(record["key"])] = at
            at += len(line)
        if end != at:
            self._file.truncate(end)  # the line that a kill left unfinished, so that the next one begins a line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def known(self, *work: object) -> Any:
        """Return what was found by this work before; None if it was not done."""
        place = self._places.get(key_of(*work))
        if place is None:
            return None
        self._file.seek(place)
        self.used += 1
        try:
            held = json.loads(self._file.readline())["found"]
            _prove(back(held))
            return back(held)
        except RECORDED_BADLY as error:
            raise self.refusal(error) from None

    def refusal(self, error: BaseException) -> FormatError:
        """Return the error of a record that no measurement wrote, of which `error` came."""
        if isinstance(error, FormatError):
            return FormatError(self._file.name, f"{str(error).partition(': ')[2]}; delete the journal")
        return FormatError(self._file.name, f"holds what no measurement wrote ({type(error).__name__}); delete the journal")

    def keep(self, *work: object, found: Any) -> None:
        """Write what was found by this work."""
        key = key_of(*work)
        if key not in self._places:
            self._file.seek(0, os.SEEK_END)
            self._places[key] = self._file.tell()
            self._write({"key": key, "found": plain(found)})

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def remembered(engine: Engine, function: Callable[[Any], Any], tasks: Iterable[Any], journal: Journal | None) -> Iterator[Found]:
    """Map tasks as the engine does, without those that the journal knows; what succeeds is written into it."""
    function = partial(as_asked, kernels_name(), function)
    if journal is None:
        yield from engine.map_unordered(function, tasks)
        return
    done: list[Found] = []
    given: list[tuple[int, Any]] = []

    def new() -> Iterator[Any]:
        for place, task in enumerate(tasks):
            found = journal.known(function, task)
            if found is None:
                given.append((place, task))
                yield task
            else:
                done.append((place, found))

    for nth, found in engine.map_unordered(function, new()):
        yield from done
        done.clear()
        place, task = given[nth]
        if not isinstance(found, Failure):
            journal.keep(function, task, found=found)
        yield place, found
    yield from done


def key_of(*work: object) -> str:
    """Return a short text that is equal for equal work."""
    return hashlib.sha256(repr([_spelled(each) for each in work]).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _spelled(value: object) -> object:
    """Return plain values for a function, with its arguments, and for others in it."""
    if isinstance(value, partial):
        return [_spelled(value.func), _spelled(value.args), sorted((key, _spelled(each)) for key, each in value.keywords.items())]
    if isinstance(value, (tuple, list)):
        return [_spelled(each) for each in value]
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value  # type: ignore[attr-defined]


def _prove(found: Any) -> None:
    """Compute what would be shown of a result, which fails for one of other types than its own; it may change the result."""
    if isinstance(found, (list, tuple)):
        for each in found:
            _prove(each)
    elif type(found).__name__ == "Summary":
        WeightStats(Subject(), summary=found).to_dict()
    elif hasattr(found, "to_dict"):
        found.to_dict()


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
