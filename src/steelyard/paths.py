"""Expand the paths given to a command: to a file, the weight files of a folder, or those that match a pattern."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from steelyard.errors import SteelyardError

FoundIn = Callable[[str], list[str]]
"""Returns the models in a file whose suffix alone does not tell."""

_STREAMS = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Suffixes of compressed files, before which a weight file has its own: others, such as tables, are not opened."""
_BY_CONTENT = (".model", ".kv")
"""Suffixes that gensim's files share with tokenizers and others."""
LEFT_OUT = frozenset((".git", "__pycache__"))
"""Folders that belong to tools, not to models."""
PIPELINES = ("model_index.json", "modules.json")
"""The indexes of pipelines of diffusers and sentence-transformers, whose components are folders."""


def expanded(paths: Iterable[str]) -> list[str]:
    """Expand paths to files, in their order.

    A folder that a format reads as one model is kept; any other folder becomes the weight files in it,
    by name. A pattern ("run*/*.pt") that the shell did not expand becomes the files that match it. A missing path
    is passed through; opening it raises the error.
    """
    return [file for path in paths for file in _expanded(path)]


def is_spread(source: object, *asked: object) -> bool:
    """Whether a call is for an engine: it names one, or its source is a pattern of paths."""
    return any(each is not None for each in asked) or (isinstance(source, str) and is_pattern(source))


def is_pattern(path: str) -> bool:
    """Whether this is a pattern such as "run*/*.pt", and not a path that has such characters; a URL may have a "?".

    >>> is_pattern("run*/*.pt"), is_pattern("model.pt"), is_pattern("https://host/model.pt?a=1"), is_pattern("s3://bucket/*.pt")
    (True, False, False, True)
    """
    if "://" in path:
        return not path.lower().startswith(("http:", "https:")) and any(mark in path for mark in "*[")
    return any(mark in path for mark in "*?[") and not os.path.lexists(path)


def _expanded(path: str) -> list[str]:
    if os.path.isdir(path):
        return _in_folder(path)
    if "://" in path:
        return _at_urls(path)
    if not is_pattern(path):
        return [path]
    from glob import glob

    return [file for match in sorted(glob(path, recursive=True)) for file in _expanded(match)] or [path]


def _at_urls(pattern: str) -> list[str]:
    """Return the URLs that match a pattern in a store; HTTP has no folders, and such marks are part of its addresses."""
    if not any(mark in pattern for mark in "*["):
        return [pattern]
    from steelyard.storage.remote.addresses import WEB, real, scheme_of

    if scheme_of(pattern) in WEB:
        return [pattern]
    from steelyard.storage.remote.stores import matching

    return matching(real(pattern)) or [pattern]


def below(paths: Iterable[str], *, models: bool = True) -> dict[str, bool]:
    """Expand paths to all files in them and in their folders, whatever these hold; true for those that a path itself names.

    A folder that is one model stands for its files; an index stands for its shards; the models of an archive of several follow
    it. Without `models`, each file is one.
    """
    return _all_below(paths, _found_in if models else None)


def _all_below(paths: Iterable[str], found_in: FoundIn | None) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for path in paths:
        for file in _expanded_to(path):
            if os.path.isdir(file):
                found.update(_below(file, found_in))
            else:
                found[file] = found.get(file, False) or file == path
    return found


def models_below(paths: Iterable[str]) -> tuple[list[str], int]:
    """Expand paths to the weight files and models in them and in their folders, and count the links that are left out.

    A link is not followed to a folder, nor to a file outside of the path, unless a path itself is one.
    """
    found: dict[str, bool] = {}
    links = 0
    found_in = cache(_found_in)  # an archive is opened once, to expand it and to see whether it is a model itself
    for path in paths:
        inside = f"{os.path.realpath(path)}{os.sep}"
        for file, is_named in _all_below([path], found_in).items():
            hidden = os.path.basename(file).startswith(".")
            is_model = is_named or os.path.isdir(file) or (file.lower().endswith(_suffixes()) and not hidden)
            if models := [file] if is_model else found_in(file):
                is_out = not is_named and os.path.islink(file) and not os.path.realpath(file).startswith(inside)
                links += is_out
                found |= {} if is_out else dict.fromkeys(models, True)
    return list(found), links


def passed_over(paths: Iterable[str], files: Iterable[str], *, deep: bool) -> list[str]:
    """Return the archives in folders of which no file is a model: they hold data, are damaged, or only their beginning was seen.

    `files` are the models that were found; with `deep` the folders in folders count too.
    """
    from steelyard.codecs.archive import archive_of
    from steelyard.formats import ARCHIVES

    known = set(map(archive_of, files))
    folders = [path for path in paths if os.path.isdir(path) and path not in known]
    found = (os.path.join(at, name) for folder in folders for at, names in _names_in(folder, deep=deep) for name in sorted(names))
    is_archive = (path for path in found if path.lower().endswith(ARCHIVES) and not os.path.basename(path).startswith("."))
    return [path for path in is_archive if path not in known]


def _names_in(folder: str, *, deep: bool) -> Iterator[tuple[str, list[str]]]:
    for at, folders, names in os.walk(folder):
        yield at, names
        folders[:] = [name for name in folders if name not in LEFT_OUT] if deep else []


def _expanded_to(path: str) -> list[str]:
    if "://" in path:
        return _at_urls(path)
    if not is_pattern(path):
        return [path]
    from glob import glob

    return sorted(glob(path, recursive=True)) or [path]


def _below(folder: str, found_in: FoundIn | None) -> Iterator[tuple[str, bool]]:
    """Yield a folder that is one model; or all files in it, without the shards of an index, and those in its folders.

    `found_in` returns the models in a file; without it, each file is one.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        yield folder, False  # opening it reports the error, and the others are found
        return
    if found_in and _is_one_model(folder):
        yield folder, True
        return
    folders, files = [], []
    for entry in entries:
        path = entry.name if folder == os.curdir else entry.path
        if entry.is_dir(follow_symlinks=False):
            folders += [path] if entry.name not in LEFT_OUT else []
        elif not os.path.isdir(path):  # entry.is_dir() would raise an error for a link to itself
            files.append(path)
    left_out = _read_through_others(folder, {os.path.basename(path) for path in files}) if found_in else set()
    for path in files:
        if os.path.basename(path) not in left_out:
            inside = found_in(path) if found_in else []
            yield from ((name, False) for name in dict.fromkeys([path, *inside]))
    for path in folders:
        yield from _below(path, found_in)


def _is_one_model(folder: str) -> bool:
    """Whether a format reads a folder as one model, and uses all weight files in it and in its folders."""
    from steelyard.formats import is_model
    from steelyard.formats.wrapped import has_models
    from steelyard.io import files_of
    from steelyard.storage.source import open_path

    if not is_model(open_path(folder)):
        return False
    held = {
        os.path.realpath(os.path.join(path, name))
        for path, _, files in os.walk(folder)
        if LEFT_OUT.isdisjoint(path.split(os.sep))
        for name in files
        if name.lower().endswith(_suffixes()) or has_models(os.path.join(path, name))
    }
    try:
        return held <= files_of(folder)
    except SteelyardError:  # it is damaged, or lacks a file
        return {os.path.dirname(path) for path in held} <= {os.path.realpath(folder)}


def _read_through_others(folder: str, files: set[str]) -> set[str]:
    """Return the files of a folder that are read through an index."""
    from steelyard.formats import ALONGSIDE, weight_files

    weights = {name for name in files if name.lower().endswith(_suffixes()) and not name.startswith(".")}
    weights = {name for name in weights if os.path.isfile(os.path.join(folder, name))}  # a broken link is an error of its own
    parts = {name for name in files if name.endswith(ALONGSIDE) and f"{name.partition('.data-')[0]}.index" in files}
    return (weights - set(weight_files(folder))) | parts


def _suffixes() -> tuple[str, ...]:
    from steelyard.formats import ALONGSIDE, SUFFIXES

    return tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes if suffix not in ALONGSIDE)


def _in_folder(folder: str) -> list[str]:
    """Return the folder itself if it is one model or has no weight files, otherwise its weight files."""
    from steelyard.formats import is_model, weight_files
    from steelyard.storage.source import open_path

    if is_model(open_path(folder)):
        return [folder]
    own = {name: [os.path.join(folder, name)] for name in weight_files(folder)}
    others = {name: _found_in(os.path.join(folder, name)) for name in os.listdir(folder) if name not in own}
    return [path for _, models in sorted({**own, **others}.items()) for path in models] or [folder]


def _found_in(path: str) -> list[str]:
    """Return the models in a file of a folder whose suffix alone does not tell: itself if it is one model."""
    from steelyard.formats import ARCHIVES, is_model

    name = os.path.basename(path).lower()
    is_likely = name.endswith((*ARCHIVES, *_BY_CONTENT)) or (
        name.endswith(_STREAMS) and name.rpartition(".")[0].endswith(_suffixes())
    )
    if not is_likely or name.startswith(".") or not os.path.isfile(path):
        return []
    from steelyard.codecs.archive import MARK
    from steelyard.formats.wrapped import models_in
    from steelyard.storage.source import open_path

    try:
        source = open_path(path)
        if path.lower().endswith(_BY_CONTENT):
            return [path] if is_model(source) else []
        return [f"{path}{MARK}{name}" if name else path for name in models_in(source)]
    except (SteelyardError, OSError):
        return []
