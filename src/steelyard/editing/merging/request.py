"""What a merge is asked for: the method, and its parameters for each weight, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.patterns import fits
from steelyard.editing.merging.inputs import Options
from steelyard.editing.merging.methods import ALIASES, METHODS, Method, check_count, method_of
from steelyard.editing.merging.settings import checked, number_at, of_models
from steelyard.errors import ShapeError, meant, printable, quoted

if TYPE_CHECKING:
    from steelyard.editing.merging.settings import Setting

CHOICES: dict[str, tuple[Any, ...]] = {
    "rescale": ("norm", "density", False),
    "majority": ("total", "frequency"),
    "divide": ("weights", "count", False),
    "scope": ("weight", "model"),
    "along": ("weight", "row", "column"),
    "missing": ("error", "base", "skip"),
    "rows": ("error", "base"),
}
_PLAIN = {"scale": 1.0, "gamma": 0.01, "seed": 0, "scope": "weight", "along": "weight", "majority": "total", "masks": ()}
PER = ("weights", "density", "t")
"""What may differ between weights."""


class Request(NamedTuple):
    """A method by its own `name`, the number of models that it merges, and what it was given."""

    name: str
    method: Method
    has_base: bool
    models: int
    given: Mapping[str, Any]
    weights: Sequence[Setting]
    density: Sequence[Setting]
    per: Sequence[tuple[str, Mapping[str, Any]]]

    def value(self, key: str) -> Any:
        """Return a parameter, or what the method takes without it."""
        if key in self.given:
            return self.given[key]
        return getattr(self.method, key) if key in ("rescale", "divide") else _PLAIN[key]

    def options(self, name: str, depth: float) -> Options:
        """Return the options of a weight, given how deep in the net it is."""
        own = next((values for pattern, values in self.per if fits(name, pattern)), {})

        def numbers(key: str, usual: Sequence[Setting]) -> tuple[float, ...]:
            settings = of_models(own[key], self.models, key) if key in own else usual
            return tuple(number_at(setting, name, depth, 1.0) for setting in settings)

        t = number_at(own.get("t", self.given.get("t", 0.0)), name, depth, 0.0)
        chosen = {key: self.value(key) for key in ("rescale", "majority", "divide", "scale", "gamma", "along", "seed", "masks")}
        return Options(numbers("weights", self.weights), numbers("density", self.density), t=t, **chosen)


def request(method: str, count: int, *, has_first: bool, given: Mapping[str, Any], per: object) -> Request:
    """Return a checked request for `count` models; `has_first` if the first of them is given as the base.

    Raises `ShapeError` for an unknown method or value, and for a parameter that the method does not take.
    """
    found = method_of(method)
    name = ALIASES.get(method, method)
    has_base = has_first and (found.base == "delta" or (found.base == "either" and count > (found.most or 0)))
    if found.base == "delta" and not has_first:
        raise ShapeError(f"{method} adds to a base, and there is none; pass it as the first model")
    models = count - has_base
    check_count(name, found, models)
    named = {key: value for key, value in given.items() if value is not None}
    for key in named:
        if key not in found.takes:
            takers = ", ".join(other for other, each in METHODS.items() if key in each.takes)
            raise ShapeError(f"{method} takes no {key}; it is a parameter of {takers}")
    for key in named.keys() & CHOICES.keys():
        check_choice(key, named[key])
    pers = _per(per, found)
    if "t" in found.takes and "t" not in named and not any("t" in values for _, values in pers):
        raise ShapeError(f"{method} needs t, the place between the first model, 0, and the second, 1")
    weights = of_models(named.get("weights", 1.0), models, "weights")
    density = of_models(named.get("density", 1.0), models, "density")
    return Request(name, found, has_base, models, named | _numbers(named, models), weights, density, pers)


def check_choice(key: str, value: object) -> None:
    """Raise `ShapeError` unless a parameter has one of its values."""
    choices = CHOICES[key]
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        words = ", ".join(str(choice) if choice is False else f'"{choice}"' for choice in choices)
        raise ShapeError(f"{key} is {quoted(value)}; it must be one of {words}{meant(value, map(str, choices))}")


def _numbers(named: Mapping[str, Any], models: int) -> dict[str, Any]:
    """Return the parameters that are numbers, checked, as plain Python, so that a recipe can have them."""
    made: dict[str, Any] = {key: checked(named[key], key) for key in ("scale", "gamma", "t") if key in named}
    for key in ("scale", "gamma"):
        if not isinstance(made.get(key, 1.0), float):
            raise ShapeError(f"{key} is {quoted(named[key])}; it must be a number")
    if not isinstance(named.get("seed", 0), Integral):
        raise ShapeError(f"seed is {quoted(named['seed'])}; it must be a whole number")
    if len(named.get("masks", ())) not in (0, models):
        raise ShapeError(f"masks has {len(named['masks'])} entries for {models} models; there must be one for each")
    return made | ({"seed": int(named["seed"])} if "seed" in named else {})


def _per(per: object, method: Method) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the parameters that patterns of names have; a plain number is the one that the method has first."""
    if per is None:
        return []
    if not isinstance(per, Mapping):
        raise ShapeError(f"per is {quoted(per)}; it must map patterns of names to numbers")
    main = "t" if "t" in method.takes else "weights"
    made: list[tuple[str, Mapping[str, Any]]] = []
    for pattern, value in per.items():
        given = value if isinstance(value, Mapping) else {main: value}
        for key in given:
            if key not in PER or key not in method.takes:
                raise ShapeError(f"per has {quoted(key)} for {quoted(pattern)}, which this method does not take")
        what = f"per of {printable(pattern)}"
        own = {key: [checked(e, what) for e in each] if _is_list(each) else checked(each, what) for key, each in given.items()}
        made.append((str(pattern), own))
    return made


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, Mapping))
