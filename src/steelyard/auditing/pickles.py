"""Pickles: what each call, name and state would do; bytes in them, and after them, are looked into.

The machine that reads weights runs the pickle without importing or calling anything, and keeps a log for the audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from steelyard.auditing.calls import found_at, judged, remarks
from steelyard.auditing.findings import AuditFinding, Inside, Place, reason
from steelyard.auditing.opcodes import names_in
from steelyard.codecs.budget import Budget
from steelyard.codecs.compression import is_compressed
from steelyard.codecs.pickle.joblib import after_build
from steelyard.codecs.pickle.machine import Log, Machine
from steelyard.codecs.pickle.opcodes import HANDLERS, unknown
from steelyard.codecs.pickle.values import NESTED_THRESHOLD, Blob
from steelyard.codecs.torch.archive import is_stream, places
from steelyard.codecs.zip import is_zip
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.auditing.findings import Remark
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.storage.source import Source

_SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".pdparams", ".pdopt", ".dill", ".p", ".model")
_PACKED = re.compile(r"\.(gz|bz2|xz|lzma|zst|lz4|z|zlib)\Z")
_OPCODES = frozenset(code for code, handler in enumerate(HANDLERS) if handler is not unknown)
_TAKING = frozenset(b".012QRabdeghijlostu\x81\x85\x86\x87\x90\x91\x92\x93\x94\x98")
"""The opcodes that take an object from the stack or the memo, so that no pickle begins with them."""
_MAY_END = re.compile(rb"[.ci\x93]")
"""The opcodes that a short pickle needs: STOP ends it, and the others name something: without these, it is refused anyway."""
_TRIED = (1 << 12, 1 << 20)  # bytes of a source that is probably not a pickle which are run first
_TRIAL = 2  # times what a trial or a guess spends is charged, so that many parts of a file cannot be tried for long
_SEARCHED = 1 << 20  # bytes after a pickle in which further pickles are searched
_BEGINNINGS = 1000  # of such pickles
_FOLLOWING_COST = 1024  # bytes of memory that the next pickle after a guess is charged as, for the time to begin: 20 microseconds
_MAGIC = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")
_OLD_MEMBER = re.compile(r":(storages|tensors)\Z")  # in the tar archives of PyTorch 0.1, whose pickles numbers follow
_NAME = re.compile(r"[\w.]+\Z")


def recognises(source: Source) -> bool:
    """Whether the first byte is an opcode; most such sources are not pickles, which running a few opcodes shows."""
    head = source.head(4)
    return bool(head) and head[0] in _OPCODES and head != b"PK\3\4"


def findings(source: Source, place: Place, listed: Judged | None = None) -> Iterator[AuditFinding | Inside]:
    """Judge the calls and names of a pickle and of those that follow it, then look into bytes in it and after it.

    A pickle that was judged when its reader `listed` what it holds is not run again.
    """
    known = listed if listed is not None and listed.is_of(source) and _is_certain(source, place) else None
    run = run_of(source, place) if known is None else None
    if known is not None:
        yield from known.found_in(source, place)
    elif run is not None:
        yield from run.found()
    if (seen := known or run) and seen.has_side_arrays:  # a loader that is not joblib runs the bytes of its arrays as opcodes
        plain = Run(source, place, skips_arrays=False)
        plain.through()
        yield from judged(plain.log, plain.machine, place)


def run_of(source: Source, place: Place) -> Run | None:
    """Run the pickles of a source, and return how that went; None for a source that is not a pickle."""
    certain = _is_certain(source, place)
    if not certain and not _may_be(source):
        return None
    run = Run(source, place)
    run.through()
    return run if certain or run.is_pickle or Budget(source).is_used_up else None


def _is_certain(source: Source, place: Place) -> bool:
    head = source.head(2)
    by_magic = head[:1] == b"\x80" and len(head) == 2 and 2 <= head[1] <= 5
    by_name = _PACKED.sub("", source.name.lower()).endswith(_SUFFIXES) and not begins_as_another(source)
    return not place.is_guess and (by_name or (by_magic and not re.search(r"/data/[^/]*$", source.name)))


def begins_as_another(source: Source) -> bool:
    """Whether the source is compressed or an archive, whatever its name says."""
    return is_compressed(source) or source.head(2) == b"ZF" or source.head(6) == b"\x93NUMPY" or is_zip(source)


def _may_be(source: Source) -> bool:
    """Run the first opcodes: whether they run to the end of the trial, or name something."""
    if source.head(1)[0] in _TAKING or (source.size <= _TRIED[0] and not _MAY_END.search(source.head(source.size))):
        return False
    for length in _TRIED:
        head = from_bytes(source.head(length), source.name)  # with a budget of its own: for the source, it may be too long
        Budget(source).spend(head.size)
        machine = Machine(head, after_build, log=Log())
        try:
            machine.load()
        except FormatError as error:
            if _names(machine):
                return True
            if source.size <= length or machine.globals or not _reaches_on(machine, error):
                return False  # where a loader finds no module of an odd name, it stops
        else:
            return True
        finally:
            Budget(source).owe(_TRIAL * head.spent)  # its memory is free again, but not the time
    return True


def _reaches_on(machine: Machine, error: FormatError) -> bool:
    """Whether a trial ended where its bytes did, or at a text or byte string that is longer."""
    size = machine.stream.source.size
    reached = machine.stream.offset >= size - 64 or "announced" in str(error)
    return reached or (size < _TRIED[-1] and any(word in str(error) for word in ("are left", "are needed", "does not end")))


def _names(machine: Machine) -> list[tuple[str, str]]:
    return [key for key in machine.globals if all(map(_NAME.match, key))]


def _has_side_arrays(machine: Machine) -> bool:
    return any(module.endswith("joblib.numpy_pickle") for module, _ in machine.globals)


def _bytes_in(data: bytes | Source, offset: int, source: Source, place: Place) -> Inside:
    """Return the bytes that a pickle holds, which may be anything."""
    content = from_bytes(data, "bytes", within=source) if isinstance(data, bytes) else data
    return Inside(content, Place(f"bytes at {offset:,}", place, is_guess=True))


class Judged(NamedTuple):
    """What is to be said of the one pickle of a reader, the byte strings in it, and what running it has `spent`."""

    remarks: list[tuple[Remark, int | None]]
    held: list[tuple[bytes | Blob, int]]
    spent: int
    size: int
    has_side_arrays: bool

    def is_of(self, source: Source) -> bool:
        """Whether a source may be the one that was judged, and its audit may spend what the run has spent."""
        return source.size == self.size and Budget(source).left >= self.spent

    def found_in(self, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        """Yield what running the pickle of this source would find; what the run has spent is charged."""
        Budget(source).owe(self.spent)
        for remark, at in self.remarks:
            yield found_at(place, remark, at)
        for data, offset in self.held:
            yield _bytes_in(source.part(data.offset, data.length) if isinstance(data, Blob) else data, offset, source, place)


def judge(machine: Machine, spent: int) -> Judged | None:
    """Judge the pickle that a reader has run; None for one that an audit must run itself.

    That is one which something follows, or which has long bytes in another within itself, whose places count from there.
    """
    source, log = machine.stream.source, machine.log
    held = [(data, at) for data, at in log.held if len(data) >= NESTED_THRESHOLD] if log is not None else []
    if log is None or machine.offset != source.size:
        return None
    if any(isinstance(data, Blob) and data.source is not source for data, _ in held):
        return None
    return Judged([*remarks(log, machine)], held, spent, source.size, _has_side_arrays(machine))


class Run:
    """Runs all pickles that follow each other in a source."""

    __slots__ = ("broken", "count", "end", "has_side_arrays", "log", "machine", "place", "root", "source")

    def __init__(self, source: Source, place: Place, *, skips_arrays: bool = True) -> None:
        self.source = source
        self.place = place
        self.log = Log()
        self.machine = Machine(source, after_build if skips_arrays else None, self.log, outlines=True)
        self.machine.origin = place.origin
        self.broken: FormatError | None = None
        self.count = self.end = 0
        self.root: Pickled = None
        self.has_side_arrays = False

    def through(self) -> None:
        """Run pickle after pickle; the first that is damaged is the last."""
        machine, offset, whole = self.machine, 0, self.source.whole
        spent = whole.spent
        while offset < self.source.size and (self.count == 0 or self._follows(offset)):
            try:
                self.root = machine.load(offset)
            except FormatError as error:
                self.broken = error
                break
            self.count += 1
            offset = self.end = machine.offset
        if self.place.is_guess:
            Budget(self.source).owe((_TRIAL - 1) * (whole.spent - spent))
        self.has_side_arrays = _has_side_arrays(machine)

    def _follows(self, offset: int) -> bool:
        """Whether another pickle seems to begin here.

        Guesses are charged, since each of a thousand may run through all pickles after it.
        """
        if self.place.is_guess:
            Budget(self.source).spend(_FOLLOWING_COST)
        rest = self.source.part(offset, self.source.size - offset)
        return recognises(rest) and (rest.head(1) == b"\x80" or _may_be(rest))

    @property
    def is_pickle(self) -> bool:
        """Whether the bytes are a pickle beyond doubt, although neither magic number nor suffix shows it."""
        return bool(_names(self.machine)) and (self.count > 0 or bool(self.log.calls))

    def found(self) -> Iterator[AuditFinding | Inside]:
        """Yield what would run, then the damage, then byte strings and the bytes after the end."""
        yield from judged(self.log, self.machine, self.place)
        if self.broken is not None and self.count == 0:
            yield from names_in(self.source, self.place, set(self.machine.globals))
        yield from self._damage()
        for data, offset in self.log.held:
            if len(data) >= NESTED_THRESHOLD:
                yield _bytes_in(data.part() if isinstance(data, Blob) else data, offset, self.source, self.place)
        yield from self._after()

    def _damage(self) -> Iterator[AuditFinding]:
        error = self.broken
        if error is None or self.count:
            return
        rule = "pickle-outside" if isinstance(error, UnsafeFileError) else "pickle-damaged"
        rule = rule if not self.machine.stream.budget.is_used_up else "not-looked-into"
        yield AuditFinding(rule, self.place.at(error.offset or self.machine.stream.offset), reason(error, self.source.name))

    def _after(self) -> Iterator[AuditFinding | Inside]:
        """Look into what follows the last pickle; storages of torch before 1.6 are described by its references."""
        end, size = self.end, self.source.size
        if not self.count or end >= size:
            return
        if is_stream(self.source):
            end = self._end_of_storages()
        if end < size and self.source.read(end, min(size - end, 64)).strip(b"\0\r\n "):
            what = f"{size - end:,} bytes follow the pickle, and nothing describes them"
            if not _OLD_MEMBER.search(self.source.name):
                yield AuditFinding("trailing-bytes", self.place.at(end), what, {"bytes": size - end})
            for begin in self._beginnings(end):
                rest = self.source.part(begin, size - begin)
                yield Inside(rest, Place(self.place.name, self.place.inside, self.place.origin + begin, is_guess=True))

    def _beginnings(self, end: int) -> Iterator[int]:
        """Yield the bytes after the end at which something may begin: the first, and the magic numbers of pickles."""
        yield end
        block = self.source.read(end, min(self.source.size - end, _SEARCHED))
        for match in islice(_MAGIC.finditer(block, 1), _BEGINNINGS):
            yield end + match.start()

    def _end_of_storages(self) -> int:
        try:
            held = places(self.source, self.machine, self.root, self.end)
        except FormatError:
            return self.end
        return max((offset + length for offset, length in held.values()), default=self.end)
