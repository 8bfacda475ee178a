"""What may follow on a command line: commands, options, their choices, files by suffix, and names of weights.

Nothing is run, and no file is opened but the one whose weights are named; URLs are not asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from steelyard.command_line import ALONE, parser_of
from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    import argparse

    from steelyard.command_line import Load

MANY = 100
"""Of more names, the parts up to the next separator are offered first, as folders are of files."""
NAMES = ("name", "select")
"""The arguments that take names of weights."""


def candidates(words: Sequence[str], names: Sequence[str], load: Load) -> list[str]:
    """Return what may stand in the place of the last word, which may be empty or unfinished, after the others.

    `names` are those of the commands, and `load` returns the module of one.
    """
    *before, word = words or [""]
    if not before:
        found: Iterable[str] = (*names, *ALONE, *_paths(word)) if word else names
    elif before[0] == "help":
        found = names
    else:
        name, given = (before[0], before[1:]) if before[0] in names else ("ls", before)
        found = _arguments(parser_of(name, load(name)), given, word)
    return sorted({each for each in found if each.startswith(word) and each.isprintable()})


def _arguments(parser: argparse.ArgumentParser, given: Sequence[str], word: str) -> Iterable[str]:
    """Return the options, or the values of the argument whose turn it is."""
    options = parser._option_string_actions
    given = [each for each in given if each != "="]  # which bash cuts from --option=value
    option, equals, value = word.partition("=")
    if equals and option in options:
        return (f"{option}={each}" for each in _values(options[option], value, _files(parser, given)))
    if word.startswith("-"):
        return options
    last = options.get(given[-1]) if given else None
    if last is not None and last.nargs != 0:
        return _values(last, word, _files(parser, given))
    places = [action for action in parser._get_positional_actions() if action.help != "==SUPPRESS=="]
    place = len(_files(parser, given))
    if not places or (place >= len(places) and places[-1].nargs not in ("+", "*")):
        return ()
    return _values(places[min(place, len(places) - 1)], word, _files(parser, given))


def _files(parser: argparse.ArgumentParser, given: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor their values."""
    options = parser._option_string_actions
    left, taken = [], False
    for word in given:
        action = options.get(word)
        if action is None and not taken and not word.startswith("-"):
            left.append(word)
        taken = action is not None and action.nargs != 0
    return left


def _values(action: argparse.Action, word: str, files: Sequence[str]) -> Iterable[str]:
    """Return the values of one argument: its choices, types of numbers, names of weights or files."""
    if action.choices is not None:
        return map(str, action.choices)
    if action.dest == "dtype":
        from steelyard.dtypes import FLOATS

        return FLOATS
    if action.dest in NAMES:
        return _shortened(list(_weights(files[0], layers=not action.option_strings)), word) if files else ()
    return _paths(word, all_files=bool(action.option_strings))


def _weights(file: str, *, layers: bool) -> Iterator[str]:
    """Yield the names of a file's weights, and of its layers."""
    from steelyard.io import weights

    if "://" in file:
        return
    try:
        listed = weights(file)
    except (SteelyardError, OSError):
        return
    yield from listed
    if layers:
        yield from {weight.layer for weight in listed.values() if weight.layer}


def _shortened(names: Sequence[str], word: str) -> list[str]:
    """Return the names that begin with a word; if they are many, their parts up to the next separator.

    >>> _shortened(["fc.weight", "fc.bias", "out"], "fc")
    ['fc.weight', 'fc.bias']
    >>> _shortened([f"h.{i}.weight" for i in range(200)] + ["out"], "")
    ['h.', 'out']
    """
    found = [name for name in names if name.startswith(word)]
    if len(found) <= MANY:
        return found
    ends = (
        (name, min((at + 1 for mark in "./" if (at := name.find(mark, len(word))) >= 0), default=len(name))) for name in found
    )
    return list(dict.fromkeys(name[:end] for name, end in ends))


def _paths(word: str, *, all_files: bool = False) -> Iterator[str]:
    """Yield the folders and the weight files, by their suffixes, whose paths begin with a word."""
    from steelyard.formats import SUFFIXES

    suffixes = tuple(suffix for each in SUFFIXES.values() for suffix in each)
    folder, name = os.path.split(word)
    try:
        entries = list(os.scandir(os.path.expanduser(folder) or os.curdir))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            if os.path.isdir(entry.path):  # entry.is_dir() would raise an error for a link to itself
                yield os.path.join(folder, entry.name, "")
            elif all_files or entry.name.lower().endswith(suffixes):
                yield os.path.join(folder, entry.name)
