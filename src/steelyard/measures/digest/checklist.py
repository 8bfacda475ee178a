"""Verify a saved list of digests, the output of `steelyard digest`, as sha256sum does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import FormatError, SteelyardError, printable
from steelyard.measures.digest import ALGORITHMS
from steelyard.storage.remote.addresses import is_url
from steelyard.text.escaping import unescaped_path

if TYPE_CHECKING:
    from steelyard.measures.digest import Algorithm, Digest, Layout

    Again = Callable[[str, Algorithm, Layout], Digest]
    """Digests a file again, with the algorithm and the layout of the list."""

LIMIT = 1 << 28
"""Maximum size of a list in bytes."""
_WHOLE = re.compile(r"(\\?)([0-9a-f]{32}|[0-9a-f]{64})  (.+) \((canonical )?(blake3|sha256|xxh3) of [0-9,]+ weights?\)")
_OWN = re.compile(r"([0-9a-f]{32}|[0-9a-f]{64})  (.+)")


class Listed(NamedTuple):
    """One file of a list; `weights` are the digests of some of its weights, by name."""

    file: str
    algorithm: Algorithm
    layout: Layout
    digest: str
    weights: Mapping[str, str]


class LineResult(NamedTuple):
    """The result of one line: "OK", "FAILED", "FAILED open or read" or "not a line of a digest list"."""

    what: str
    verdict: str
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether the digest is as listed."""
        return self.verdict == "OK"

    def __str__(self) -> str:
        return f"{self.what}: {self.verdict}{f' ({self.why})' if self.why else ''}"


def verify(path: str, again: Again, *, anywhere: bool = False) -> Iterator[LineResult]:
    """Yield a result for each file of a list, each weight that differs, and each line that is not a digest.

    `again` digests a file. A list is a file of somebody too: files outside its folder are not opened unless `anywhere`, and
    URLs never. Raises `FormatError` for a list without a file, and the errors of opening it.
    """
    any_file = False
    for entry in _entries(path):
        if isinstance(entry, LineResult):
            yield entry
            continue
        any_file = True
        if why := _outside(entry.file, path, anywhere=anywhere):
            yield LineResult(printable(entry.file), "FAILED open or read", why)
            continue
        yield from _verdicts(entry, again)
    if not any_file:
        raise FormatError(path, "no line is the digest of a file; pass a file with the output of steelyard digest")


def _outside(file: str, path: str, *, anywhere: bool) -> str:
    """Return why a file that a list names is not opened; blank where it may be."""
    if is_url(file):
        return "a list of digests may not name a URL; download the file, or digest the URL itself"
    home = os.path.realpath(os.path.dirname(path) or ".")
    if anywhere or os.path.realpath(file).startswith(home.rstrip(os.sep) + os.sep):
        return ""
    return "it is outside the folder of the list; pass --anywhere if you trust the list"


def _verdicts(listed: Listed, again: Again) -> Iterator[LineResult]:
    try:
        fresh = again(listed.file, listed.algorithm, listed.layout)
    except (SteelyardError, OSError) as error:
        yield LineResult(printable(listed.file), "FAILED open or read", printable(error, 600))
        return
    good = fresh.whole == listed.digest
    for name, digest in listed.weights.items():
        now = {printable(known, 1000) or "(unnamed)": each for known, each in fresh.weights.items()}.get(name)
        if now != digest:
            good = False
            yield LineResult(f"{printable(listed.file)}: {name}", "FAILED", "it is missing" if now is None else "")
    yield LineResult(printable(listed.file), "OK" if good else "FAILED")


def _entries(path: str) -> Iterator[Listed | LineResult]:
    """Yield each file of a list with the weights listed before it, and a result for each other line."""
    weights: dict[str, str] = {}
    last = 0
    for number, line in enumerate(_lines(path), 1):
        if whole := _WHOLE.fullmatch(line):
            mark, digest, file, layout, word = whole.groups()
            file = unescaped_path(file) if mark else file
            algorithm = next(each for each in ALGORITHMS if each == word)
            yield Listed(file, algorithm, "canonical" if layout else "own", digest, weights)
            weights = {}
        elif own := _OWN.fullmatch(line):
            weights[own[2]], last = own[1], number
        elif line.strip():
            yield LineResult(f"{printable(path)}: line {number}", "not a line of a digest list")
    if weights:
        yield LineResult(
            f"{printable(path)}: line {last}", "FAILED", "the digest of the file is missing after those of its weights"
        )


def _lines(path: str) -> list[str]:
    from steelyard.storage.source import open_path

    source = open_path(path)
    if source.is_folder or source.size > LIMIT:
        raise FormatError(path, f"is too large for a list of digests, which has at most {LIMIT:,} bytes")
    text = source.read(0, source.size).decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in text.split("\n")]  # not splitlines: a path may have a line separator of Unicode
