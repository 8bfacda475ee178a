"""Weight files: one file a format, found by content.

A format is a module with `SUFFIXES`, `sniff` and `read`, and `write` if it can. Those whose suffix fits are
asked first, so that opening one file does not import them all; the rest only when none of them knows the bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from steelyard.core.gc_pause import uncollected
from steelyard.core.plugins import load, names
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.core.protocols import Format, Scope, Writer
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

SUFFIXES = {
    "flax": (".msgpack",),
    "gguf": (".gguf",),
    "hdf5": (".h5", ".hdf5"),
    "keras": (".keras",),
    "numpy": (".npz", ".npy"),
    "onnx": (".onnx",),
    "r": (".rds", ".rdata", ".rda"),
    "safetensors": (".safetensors",),
    "sharded": (".index.json",),
    "sklearn": (".pkl", ".pickle", ".joblib", ".sav", ".pdparams", ".pkl.gz", ".lz4"),
    "skops": (".skops",),
    "tensorflow": (".index", ".data-00000-of-00001", "saved_model.pb", "checkpoint"),
    "tflite": (".tflite", ".lite"),
    "torch": (".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".jit", ".ptl"),
}
"""Which suffixes each format of the folder claims, without importing it; a test keeps this true."""

ALONGSIDE = (".data-00000-of-00001",)
"""Suffixes of files that are read through another one that lies beside them."""
_SHARD = r"-[0-9]+-of-[0-9]+(?=\.\w+$)"


def weights_in(source: Source, scope: Scope = "model") -> Weights:
    """Return the weights of a source. Raises `FormatError` when no format knows it."""
    with uncollected():
        return format_of(source).read(source, scope)


def format_of(source: Source) -> Format:
    """Return the format that knows the bytes of `source`, those of its suffix first."""
    asked = []
    for name in _likely_first(source.name):
        found = cast("Format", load("formats", name))
        if found.sniff(source):
            return found
        asked.append(name)
    raise FormatError(source.name, f"{_guess(source)}; known formats are {', '.join(asked)}")


def writer_of(path: Path) -> Writer:
    """Return the format that writes files with this suffix. Raises `FormatError` when there is none."""
    for name in _by_suffix(path.name) or names("formats"):
        found = load("formats", name)
        if hasattr(found, "write") and path.name.lower().endswith(found.SUFFIXES):
            return cast("Writer", found)
    raise FormatError(
        str(path), f"no format writes {path.suffix or 'a name without a suffix'!r}; use one of {', '.join(_writable())}"
    )


def check_names(weights: Weights, path: str | os.PathLike[str]) -> None:
    """See that every name is text, since no format can write another; raises `FormatError` with the first that is not."""
    for name in weights:
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise FormatError(
                    os.fspath(path), f"the name {printable(name)} is no Unicode text and cannot be written; rename it"
                ) from None


def weight_files(folder: str) -> list[str]:
    """Return the names of a folder's files that are weight files by their suffix, an index instead of its shards."""
    known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes if suffix not in ALONGSIDE)
    files = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)) and not name.startswith(".")]
    found = sorted(name for name in files if name.lower().endswith(known))
    return [name for name in found if f"{re.sub(_SHARD, '', name)}.index.json" not in found or not re.search(_SHARD, name)]


def _likely_first(name: str) -> Iterator[str]:
    """Yield the formats whose suffix fits; then the others, for which entry points have to be looked up."""
    likely = _by_suffix(name)
    yield from likely
    yield from (other for other in names("formats") if other not in likely)


def _by_suffix(name: str) -> list[str]:
    return [module for module, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)]


def _writable() -> Iterator[str]:
    for name in names("formats"):
        found = load("formats", name)
        if hasattr(found, "write"):
            yield from found.SUFFIXES


def _guess(source: Source) -> str:
    """Say what a file of no known format may be."""
    if source.path is not None and source.is_folder:
        found = weight_files(source.path)
        several = " and ".join(printable(name) for name in found[:5]) + (" and others" if len(found) > 5 else "")
        return f"a folder with several models: {several}; give the file of one" if found else "a folder without weight files"
    head = source.head(256)
    if not head:
        return "the file is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not a weight file; a download answered with a web page"
    return f"no weight file that Steelyard knows; it begins with {printable(head[:16])}"
