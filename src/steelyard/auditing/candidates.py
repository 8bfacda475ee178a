"""The auditors that may know a source, by its first bytes and the end of its name; only these are imported, and asked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from steelyard.codecs.compression import is_compressed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.auditing.findings import AuditFinding, Auditor, Inside, Place, TakingFound
    from steelyard.core.net_facts import Found
    from steelyard.storage.source import Source

AUDITORS = (
    *("archives", "arrays", "native", "pickles", "shards", "skops", "streams", "tars"),
    *("configs", "hdf5", "metadata", "onnx", "programs", "python_sources", "r", "template_files", "tensorflow_graphs", "tflite"),
    *("yaml_tags", "paddle", "coreml"),
)
"""The modules of this package that each audit one kind of content, in the order of their findings."""
_ALWAYS = ("pickles",)  # nearly every byte is an opcode
_FIRST_BYTES = {
    "archives": b"P",
    "arrays": b"\x93",
    "native": b"\x7f\xfe\xce\xcfM",
    "streams": b"\x1fB\xfd\x28]\x04xZ",
    "tars": bytes(range(1, 256)),
    "configs": b"{[ \n",
    "hdf5": b"\x89",
    "metadata": b"G",
    "onnx": b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca\xd2",
}
_FIRST = [frozenset((*_ALWAYS, *(name for name, first in _FIRST_BYTES.items() if byte in first))) for byte in range(256)]
_ENDINGS: tuple[tuple[str | tuple[str, ...], tuple[str, ...]], ...] = (
    ((".json", ".jsonl", ".zarray", ".zmetadata"), ("configs", "shards", "skops", "paddle")),
    (".safetensors", ("metadata",)),
    ((".h5", ".hdf5", ".keras", ".he5", ".hdf"), ("hdf5",)),
    ((".py", ".pyc", "bytecode.pkl"), ("programs", "python_sources")),
    ((".jinja", ".jinja2", ".j2"), ("template_files",)),
    ((".pb", ".pbtxt", ".meta", ".graphdef"), ("tensorflow_graphs",)),
    ((".yaml", ".yml", "mlmodel"), ("yaml_tags", "coreml")),
    ((".pdmodel", "__model__"), ("paddle",)),
)
_MARKS = {b"ORTM": "onnx", b"TFL3": "tflite"}  # the identifiers of FlatBuffers, after 4 bytes
_OF_R = (b"X\n", b"A\n", b"B\n", b"RD")
_BLOCK = 512  # bytes of the smallest tar archive


class Auditors:
    """The auditors of this package, each imported when a source needs it; some may be replaced `instead`, by name."""

    __slots__ = ("_imported",)

    def __init__(self, instead: Mapping[str, Auditor] | None = None) -> None:
        self._imported: dict[str, Auditor] = dict(instead or {})

    def of(self, source: Source) -> list[Auditor]:
        """Return the auditors that may know a source, in the order of their findings."""
        found = candidates(source)
        return [self._module(name) for name in AUDITORS if name in found]

    def _module(self, name: str) -> Auditor:
        if name not in self._imported:
            self._imported[name] = auditor(name)
        return self._imported[name]


def taking(found: Found | None) -> Auditors:
    """Return the auditors, of which one takes what the reader of the file `found` in it."""
    return Auditors(None if found is None else {found.auditor: cast("Auditor", _Listed(found))})


class _Listed:
    """An auditor, for a file whose reader has found its contents."""

    __slots__ = ("_auditor", "_contents", "_file", "_is_stream")

    def __init__(self, found: Found) -> None:
        self._auditor = cast("TakingFound", auditor(found.auditor))
        self._contents = found.contents
        self._file = found.file
        self._is_stream = found.auditor in ("r", "pickles")

    def recognises(self, source: Source) -> bool:
        """Recognise what the auditor recognises."""
        return self._auditor.recognises(source)

    def findings(self, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
        """Look into the source; the contents of the file itself are known, those of files inside it or beside it are not."""
        return self._auditor.findings(source, place, self._contents if self._is_known(source, place) else None)

    def _is_known(self, source: Source, place: Place) -> bool:
        """Whether this is the file, or for R and pickles the one stream of which the file is the compressed form."""
        is_stream = self._is_stream and place.depth == 1 and is_compressed(source.whole)
        return (source.is_file or is_stream) and source.whole.name == self._file


def auditor(name: str) -> Auditor:
    """Return the auditor of this name."""
    return cast("Auditor", import_module(f"steelyard.auditing.{name}"))


def candidates(source: Source) -> frozenset[str]:
    """Return the names of the auditors that may know a source: all those that recognise it, and few others."""
    head = source.head(20)
    found = _FIRST[head[0]] if head else frozenset(_ALWAYS)
    if source.is_file:
        found |= {"archives"}  # bytes may precede an archive
    if head[4:8] in _MARKS:
        found |= {_MARKS[head[4:8]]}
    if head[:2] in _OF_R:
        found |= {"r"}
    if b'{"' in head[8:]:
        found |= {"metadata"}
    name = source.name.lower()
    for endings, names in _ENDINGS:
        if name.endswith(endings):
            found |= frozenset(names)
    return found - {"tars"} if source.size < _BLOCK else found
