"""The recipe of a merge as its result keeps it: in the words of mergekit, which `recipes` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.editing.merging.request import Request

_NAMES = {"task": "task_arithmetic", "dare": "dare_linear"}
_OWN_WAYS = ("weights", "density", "masks", "scale")


def recipe_of(asked: Request, labels: Sequence[str], *, missing: str, rows: str, dtype: str | None) -> dict[str, Any]:
    """Return the recipe of a merge that can be written as JSON; masks are left out."""
    method = _NAMES.get(asked.name, asked.name)
    given = {key: value for key, value in asked.given.items() if key not in _OWN_WAYS}
    shared = {key: _written(value) for key, value in given.items()}
    if "scale" in asked.given:
        shared["scale" if asked.name in ("linear", "passthrough") else "lambda"] = asked.given["scale"]
    own: list[dict[str, Any]] = [{} for _ in range(asked.models)]
    for key, word in (("weights", "weight"), ("density", "density")):
        if key in asked.given:
            for entry, setting in zip(own, getattr(asked, key), strict=True):
                entry[word] = _written(setting)
    is_first_base = asked.has_base or asked.name == "slerp"
    entries = zip(labels[asked.has_base :], own, strict=True)
    listed = [{"model": name, **({"parameters": entry} if entry else {})} for name, entry in entries]
    recipe: dict[str, Any] = {"merge_method": method, **({"base_model": labels[0]} if is_first_base else {}), "models": listed}
    if "divide" in shared and shared["divide"] != "count":
        shared["normalize"] = shared.pop("divide") == "weights"
    extras = {"parameters": shared, "per": dict(asked.per), "dtype": dtype}
    recipe |= {key: value for key, value in extras.items() if value}
    return recipe | {key: value for key, value in (("missing", missing), ("rows", rows)) if value != "error"}


def _written(setting: object) -> Any:
    """Return a setting as a recipe has it."""
    if isinstance(setting, Mapping):
        return [{"pattern": pattern, "value": _written(value)} for pattern, value in setting.items()]
    return list(setting) if isinstance(setting, (list, tuple)) else setting
