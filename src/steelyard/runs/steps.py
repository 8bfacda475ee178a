"""The checkpoints of a training as a pile of files: which step each is of, by its name, and what else its name tells.

checkpoint-500/                      a folder of transformers, which also keeps losses in trainer_state.json
epoch=3-step=1000-val_loss=0.25.ckpt Lightning
weights.03-0.25.keras                ModelCheckpoint of Keras
1000/                                a step of Orbax
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from steelyard.errors import AmbiguityError, FileMissingError, FormatError, printable, quoted
from steelyard.storage.source import open_regular

_LABELLED = re.compile(r"([A-Za-z_]\w*)=(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")
"""A label and a number, as Lightning writes them."""
_WORDS = ("step", "steps", "iter", "iteration", "checkpoint", "ckpt", "epoch")
"""The words before the number of a step, the best first."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SUFFIXES = re.compile(r"(?:\.[A-Za-z]\w*)+$")
_FOLDER = re.compile(r"(?:[A-Za-z_.]*[-_])?\d+")
"""The name of a folder that is a checkpoint: a number, after a word or not."""
_BEGUN = ".orbax-checkpoint-tmp"
"""What the name of a save of Orbax holds that was not finished."""
STATE = "trainer_state.json"
MOST_STATE = 1 << 26
"""The bytes of a state of transformers up to which it is read."""


class Checkpoint(NamedTuple):
    """A checkpoint: what `steelyard.weights` takes, its step, and what its name tells of the epoch and of metrics."""

    source: Any
    step: int
    epoch: float | None
    metrics: Mapping[str, float]


class Pile(NamedTuple):
    """The checkpoints by ascending steps; `origin` says where these are from, and `left_out` names files without a step."""

    checkpoints: tuple[Checkpoint, ...]
    origin: str
    left_out: tuple[str, ...] = ()


def in_folder(folder: str) -> Pile:
    """Return the checkpoints in a folder; raises `FormatError` if there are none, and `AmbiguityError` as `by_names` does."""
    from steelyard.formats import is_model, weight_files
    from steelyard.storage.source import open_path

    if not os.path.isdir(folder):
        raise FileMissingError(f"{printable(folder)} is neither a folder of a run nor one of checkpoints")
    entries = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    folders = [name for name in entries if _FOLDER.fullmatch(name)]
    files = weight_files(folder)
    named = folders or [name for name in files if _NUMBER.search(_stem(name))]
    if not named and is_model(open_path(folder)):
        return by_names([folder])
    if not named:
        runs = [entry.name for entry in os.scandir(folder) if os.path.exists(os.path.join(entry.path, "run.json"))]
        hint = f"; it holds runs, such as {printable(min(runs))}: pass one of them" if runs else ""
        raise FormatError(folder, f"holds no recorded run, and no checkpoints with a number in their names{hint}")
    left_out = [name for name in files if name not in named] + [name for name in entries if _BEGUN in name]
    pile = by_names([os.path.join(folder, name) for name in named])
    return pile._replace(left_out=tuple(sorted(left_out)))


def by_steps(sources: Mapping[int, Any]) -> Pile:
    """Return checkpoints whose steps are given."""
    listed = [Checkpoint(source, int(step), None, {}) for step, source in sorted(sources.items(), key=lambda item: int(item[0]))]
    return Pile(tuple(listed), "steps are as given")


def by_names(paths: Sequence[str]) -> Pile:
    """Return checkpoints whose steps are in their names.

    A single one without a number is step 0. Raises `AmbiguityError` if names do not tell which number is the step, or two have
    the same.

    >>> by_names(["a/epoch=1-step=20.ckpt", "a/epoch=0-step=10.ckpt"]).checkpoints[0][1:]
    (10, 0.0, {})
    >>> by_names(["w.10-0.5.keras", "w.9-0.25.keras"]).origin
    "steps are the numbers in the names, such as 9 in 'w.9-0.25.keras'"
    """
    stems = _stems(paths)
    if len(paths) == 1 and not _NUMBER.search(stems[0]):
        return Pile((Checkpoint(paths[0], 0, None, {}),), f"{quoted(stems[0])} has no number, and is step 0")
    labels = [_labels(stem) for stem in stems]
    steps, words = _steps(stems, labels)
    first = min(range(len(paths)), key=steps.__getitem__)
    name = os.path.basename(os.path.normpath(paths[first]))
    origin = f"steps are the numbers {words} the names, such as {steps[first]} in {quoted(name)}"
    made = sorted(
        (Checkpoint(*each) for each in zip(paths, steps, map(_epoch, labels), map(_metrics, labels), strict=True)),
        key=lambda each: each.step,
    )
    for one, other in pairwise(made):
        if one.step == other.step:
            both = " and ".join(printable(each.source) for each in (one, other))
            raise AmbiguityError(f"step {one.step:,} is in two names, {both}; pass a mapping of steps to files")
    return Pile(tuple(_with_states(made)), origin)


def _stems(paths: Sequence[str]) -> list[str]:
    """Return what differs among the paths: their names without suffixes, or the folders that hold files of one name."""
    parts = [os.path.normpath(path).split(os.sep) for path in paths]
    while len({each[-1] for each in parts}) == 1 and all(len(each) > 1 for each in parts) and len(parts) > 1:
        parts = [each[:-1] for each in parts]
    return [_stem(each[-1]) for each in parts]


def _stem(name: str) -> str:
    return _SUFFIXES.sub("", name) or name


def _labels(stem: str) -> dict[str, float]:
    return {label: float(number) for label, number in _LABELLED.findall(stem)}


def _epoch(labels: Mapping[str, float]) -> float | None:
    return labels.get("epoch")


def _metrics(labels: Mapping[str, float]) -> dict[str, float]:
    return {label: value for label, value in labels.items() if label not in ("epoch", *_WORDS)}


def _steps(stems: Sequence[str], labels: Sequence[Mapping[str, float]]) -> tuple[list[int], str]:
    """Return the step of each name, and in words where it is."""
    for word in ("step", "epoch"):
        if all(word in each and each[word] == int(each[word]) >= 0 for each in labels):
            return [int(each[word]) for each in labels], f"after '{word}=' in"
    for word in _WORDS:
        after = re.compile(rf"{word}[-_ .]?(\d+)(?!\.?\d)", re.IGNORECASE)
        found = [after.search(stem) for stem in stems]
        if all(found):
            return [_step(match[1]) for match in found if match], f"after {word!r} in"
    return [_step(each) for each in _varying(stems)], "in"


def _step(text: str) -> int:
    if len(text) > 18:
        raise AmbiguityError(f"{printable(text, 40)} is too large for a step; pass a mapping of steps to files")
    return int(text)


def _varying(stems: Sequence[str]) -> list[str]:
    """Return the only whole number that differs among names that are alike otherwise."""
    numbers = [_NUMBER.findall(stem) for stem in stems]
    columns = list(zip(*numbers, strict=False))
    alike = len({(_NUMBER.sub("0", stem), len(each)) for stem, each in zip(stems, numbers, strict=True)}) == 1
    whole = [column for column in columns if not any("." in number for number in column)]
    varying = whole if len(stems) == 1 else [column for column in whole if len(set(column)) > 1]
    if not alike or len(varying) != 1:
        names = ", ".join(quoted(stem, 60) for stem in sorted(stems)[:2])
        what = "are not alike" if not alike else "have no whole number" if not varying else "have more than one number"
        raise AmbiguityError(f"names such as {names} {what}; pass a mapping of steps to files, as {{1000: 'a.pt'}}")
    return list(varying[0])


def _with_states(made: Sequence[Checkpoint]) -> Iterable[Checkpoint]:
    """Add the epochs and metrics that the last checkpoint of transformers has for each step."""
    logged = _logged(os.path.join(made[-1].source, STATE))
    for each in made:
        found = logged.get(each.step, {})
        metrics = {name: value for name, value in found.items() if name not in ("step", "epoch")}
        yield each._replace(epoch=found.get("epoch", each.epoch), metrics={**each.metrics, **metrics})


def _logged(path: str) -> dict[int, dict[str, float]]:
    """Return the numbers that a state of transformers has of each step; none for a file that is not one."""
    logged: dict[int, dict[str, float]] = {}
    try:
        if os.path.getsize(path) > MOST_STATE:
            return {}
        with open_regular(path) as file:
            entries = json.load(file)["log_history"]
        for entry in entries:
            numbers = {str(key): float(value) for key, value in entry.items() if type(value) in (int, float)}
            logged.setdefault(int(entry["step"]), {}).update(numbers)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return logged
