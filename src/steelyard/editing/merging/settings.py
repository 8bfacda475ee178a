"""The parameters of a merge, which may differ between weights: a number, a gradient over layers, or numbers by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, TypeGuard

from steelyard.core.patterns import fits
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    Setting = float | Sequence[float] | Mapping[str, float | Sequence[float]]
    """A number; several, from the first layer to the last, between which others are interpolated; or one of these by patterns
    of names, of which the first that matches counts."""

_SHARES = ("density", "gamma")
_NUMBERED = re.compile(r"(.*?)(?:^|(?<=[._/]))(\d+)(?=[._/]|$)")


def depths(names: Iterable[str]) -> dict[str, float]:
    """Return the depth of each weight in its stack of layers, from 0 to 1, by the first number in its name.

    Weights without a number are at 0 before the first one that has a number, and at 1 after it.

    >>> depths(["embed", "layers.0.fc", "layers.1.fc", "layers.2.fc", "head"])
    {'embed': 0.0, 'layers.0.fc': 0.0, 'layers.1.fc': 0.5, 'layers.2.fc': 1.0, 'head': 1.0}
    """
    found = {name: _NUMBERED.match(name) for name in names}
    last: dict[str, int] = {}
    for match in found.values():
        if match:
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    made: dict[str, float] = {}
    is_after = False
    for name, match in found.items():
        is_after = is_after or match is not None
        made[name] = float(is_after) if match is None else int(match[2]) / (last[match[1]] or 1)
    return made


def count_of_layers(names: Iterable[str]) -> int:
    """Return the number of layers in the longest stack."""
    return 1 + max((int(match[2]) for name in names if (match := _NUMBERED.match(name))), default=-1)


def number_at(setting: Setting, name: str, depth: float, default: float) -> float:
    """Return the number of a setting for a weight.

    >>> number_at([0.0, 1.0, 0.0], "layers.1.fc", 0.25, 9.0), number_at({"*bias": 0.5}, "fc.bias", 0.0, 1.0)
    (0.5, 0.5)
    """
    if isinstance(setting, Mapping):
        fitting = (value for pattern, value in setting.items() if fits(name, pattern))
        return number_at(next(fitting, default), name, depth, default)
    if isinstance(setting, (int, float)):
        return float(setting)
    place = depth * (len(setting) - 1)
    below = min(int(place), len(setting) - 1)
    above = min(below + 1, len(setting) - 1)
    return float(setting[below] + (place - below) * (setting[above] - setting[below]))


def checked(setting: object, what: str) -> Setting:
    """Return a setting; raises `ShapeError` for anything else, and for a share that is not from 0 to 1."""
    if _is_number(setting):
        if what in _SHARES and not 0 <= setting <= 1:
            raise ShapeError(f"{what} is {setting:g}; it is a share, from 0 to 1")
        return float(setting)
    if isinstance(setting, Mapping) and setting:
        values = {str(pattern): checked(value, what) for pattern, value in setting.items()}
        if not any(isinstance(value, Mapping) for value in values.values()):
            return values  # type: ignore[return-value]
    elif isinstance(setting, Iterable) and not isinstance(setting, str) and (setting := list(setting)):
        numbers = [checked(value, what) for value in setting]
        if all(isinstance(value, float) for value in numbers):
            return numbers  # type: ignore[return-value]
    raise ShapeError(f"{what} is {quoted(setting)}; it must be a number, a list of numbers, or such by patterns of names")


def _is_number(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


def of_models(given: object, count: int, what: str) -> list[Setting]:
    """Return the setting of each model: one for all, or a list of as many as there are models."""
    if isinstance(given, (Real, Mapping)):
        return [checked(given, what)] * count
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ShapeError(f"{what} is {quoted(given)}; it must be a number for all models, or a list of one for each")
    listed = [checked(each, what) for each in given]
    if len(listed) != count:
        raise ShapeError(f"{what} has {len(listed)} entries for {count} model{'s' * (count != 1)}; there must be one for each")
    return listed
