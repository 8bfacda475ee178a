"""What a path given to a command stands for: a file, the weight files of a folder, or those of a pattern."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.core.source import Source

_ALONGSIDE = (".data-00000-of-00001",)
"""Suffixes of files that are read through another one, which is listed."""


def expanded(paths: Iterable[str]) -> list[str]:
    """Return the files that paths stand for, in their order.

    A folder that a format reads as one model stands for itself, another one for the weight files that lie in it,
    by name. A pattern ("run*/*.pt") that the shell left as it is stands for what it matches. What there is not
    stays as it is: opening it says so.
    """
    return [file for path in paths for file in _expanded(path)]


def _expanded(path: str) -> list[str]:
    if os.path.isdir(path):
        return _in_folder(path)
    if "://" in path or os.path.lexists(path) or not any(mark in path for mark in "*?["):
        return [path]
    from glob import glob

    return [file for found in sorted(glob(path, recursive=True)) for file in _expanded(found)] or [path]


def _in_folder(folder: str) -> list[str]:
    """Return the folder itself where it is one model, else its weight files; itself again where there are none."""
    from steelyard.core.source import open_path

    if _is_model(open_path(folder)):
        return [folder]
    found = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _is_weight_file(folder, name)]
    return found or [folder]


def _is_model(source: Source) -> bool:
    from steelyard.formats import format_of

    try:
        format_of(source)
    except FormatError:
        return False
    return True


def _is_weight_file(folder: str, name: str) -> bool:
    """Tell by its name whether a file is one; it is opened only later."""
    from steelyard.formats import SUFFIXES

    known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes if suffix not in _ALONGSIDE)
    return not name.startswith(".") and name.lower().endswith(known) and os.path.isfile(os.path.join(folder, name))
