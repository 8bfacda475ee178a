"""Expand the paths given to a command: to a file, the weight files of a folder, or those that match a pattern."""

from __future__ import annotations

import os
from collections.abc import Iterable


def expanded(paths: Iterable[str]) -> list[str]:
    """Expand paths to files, in their order.

    A folder that a format reads as one model is kept; any other folder becomes the weight files in it,
    by name. A pattern ("run*/*.pt") that the shell did not expand becomes the files that match it. A missing path
    is passed through; opening it raises the error.
    """
    return [file for path in paths for file in _expanded(path)]


def _expanded(path: str) -> list[str]:
    if os.path.isdir(path):
        return _in_folder(path)
    if "://" in path or os.path.lexists(path) or not any(mark in path for mark in "*?["):
        return [path]
    from glob import glob

    return [file for match in sorted(glob(path, recursive=True)) for file in _expanded(match)] or [path]


def _in_folder(folder: str) -> list[str]:
    """Return the folder itself if it is one model or has no weight files, otherwise its weight files."""
    from steelyard.formats import is_model, weight_files
    from steelyard.storage.source import open_path

    if is_model(open_path(folder)):
        return [folder]
    return [os.path.join(folder, name) for name in weight_files(folder)] or [folder]
